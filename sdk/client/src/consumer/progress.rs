//! How far a consumer is in each partition it reads: shared by its caller's side, which is given
//! events and commits, and by its membership, which takes partitions in and lets go of them.
//!
//! Invariants: an event is given only while its partition is read and is not leaving; a partition
//! that is leaving goes when all that was given of it is committed, or when its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use weir_wire::ids::{MemberId, Offset, PartitionId};

/// One reading of a partition: what an earlier one still had ready is not the later one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Reading(u64);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Progress {
    inner: Mutex<Inner>,
    /// Something was committed.
    committed: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<PartitionId, Partition>,
    member: Option<MemberId>,
    readings: u64,
}

#[derive(Debug)]
struct Partition {
    reading: Reading,
    /// Where it goes on behind what the caller was given.
    given: Option<Offset>,
    /// What the broker has of that.
    committed: Option<Offset>,
    /// Until when it may be committed, if it is another member's soon.
    leaving: Option<Instant>,
}

impl Partition {
    fn is_settled(&self) -> bool {
        self.given == self.committed
    }
}

impl Progress {
    /// Reads a partition from now on.
    pub(super) fn take(&self, partition: PartitionId) -> Reading {
        let mut inner = self.lock();
        inner.readings += 1;
        let reading = Reading(inner.readings);
        let new = Partition { reading, given: None, committed: None, leaving: None };
        inner.partitions.insert(partition, new);
        reading
    }

    /// Whether this reading still goes on.
    pub(super) fn is_read(&self, partition: PartitionId, reading: Reading) -> bool {
        let inner = self.lock();
        let of = inner.partitions.get(&partition);
        of.is_some_and(|one| one.reading == reading && one.leaving.is_none())
    }

    /// The caller is given events of this reading, up to and without `next`; `false` if it must not
    /// be.
    pub(super) fn give(&self, partition: PartitionId, reading: Reading, next: Offset) -> bool {
        let mut inner = self.lock();
        match inner.partitions.get_mut(&partition) {
            Some(one) if one.reading == reading && one.leaving.is_none() => {
                one.given = Some(next);
                true
            }
            _ => false,
        }
    }

    /// Where each partition goes on behind what the caller was given.
    pub(super) fn given(&self) -> Vec<(PartitionId, Offset)> {
        let inner = self.lock();
        inner.partitions.iter().filter_map(|(at, one)| Some((*at, one.given?))).collect()
    }

    /// What was given and is not committed.
    pub(super) fn uncommitted(&self) -> Vec<(PartitionId, Offset)> {
        let inner = self.lock();
        let unsettled = inner.partitions.iter().filter(|(_, one)| !one.is_settled());
        unsettled.filter_map(|(at, one)| Some((*at, one.given?))).collect()
    }

    /// The broker has these, but for those in `fenced`, which are another's.
    pub(super) fn has_committed(&self, offsets: &[(PartitionId, Offset)], fenced: &[PartitionId]) {
        let mut inner = self.lock();
        for (partition, offset) in offsets {
            if fenced.contains(partition) {
                inner.partitions.remove(partition);
            } else if let Some(one) = inner.partitions.get_mut(partition) {
                one.committed = Some(*offset);
            }
        }
        drop(inner);
        self.committed.notify_one();
    }

    /// Returns when something was committed since the last time.
    pub(super) async fn news(&self) {
        self.committed.notified().await;
    }

    /// What is read, or waits to be let go of.
    pub(super) fn held(&self) -> BTreeSet<PartitionId> {
        self.lock().partitions.keys().copied().collect()
    }

    /// Nothing more of these is given; they go when they are committed, at the latest at `until`.
    pub(super) fn give_up(&self, partitions: &BTreeSet<PartitionId>, until: Instant) {
        for (partition, one) in &mut self.lock().partitions {
            if partitions.contains(partition) {
                one.leaving.get_or_insert(until);
            }
        }
    }

    /// Lets go of what may go; gives when the next one has to.
    pub(super) fn let_go(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        inner
            .partitions
            .retain(|_, one| one.leaving.is_none_or(|until| now < until && !one.is_settled()));
        inner.partitions.values().filter_map(|one| one.leaving).min()
    }

    /// What is leaving.
    pub(super) fn leaving(&self) -> BTreeSet<PartitionId> {
        let inner = self.lock();
        let leaving = inner.partitions.iter().filter(|(_, one)| one.leaving.is_some());
        leaving.map(|(partition, _)| *partition).collect()
    }

    /// Lets go of everything at once: it may be others' already.
    pub(super) fn lose_all(&self) {
        self.lock().partitions.clear();
    }

    /// As whom to commit; `None`: as nobody of the group.
    pub(super) fn member(&self) -> Option<MemberId> {
        self.lock().member
    }

    /// The broker knows it by this name.
    pub(super) fn set_member(&self, member: MemberId) {
        self.lock().member = Some(member);
    }

    // Nothing is left half done by whoever panics with the lock.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_partition_leaves_when_what_was_given_is_committed_or_its_time_is_over() {
        let (progress, now) = (Progress::default(), Instant::now());
        let later = now + Duration::from_secs(5);
        let [unread, settled, begun] = [0, 1, 2].map(PartitionId);
        let readings = [unread, settled, begun].map(|at| progress.take(at));
        assert!(progress.give(settled, readings[1], Offset(3)));
        assert!(progress.give(begun, readings[2], Offset(7)));
        progress.has_committed(&[(settled, Offset(3))], &[]);
        assert_eq!(progress.uncommitted(), [(begun, Offset(7))]);

        progress.give_up(&progress.held(), later);
        assert!(!progress.give(begun, readings[2], Offset(8)), "nothing more is given");
        assert_eq!(progress.let_go(now), Some(later));
        assert_eq!(progress.held(), BTreeSet::from([begun]));
        progress.has_committed(&[(begun, Offset(7))], &[]);
        assert_eq!(progress.let_go(now), None);
        assert!(progress.held().is_empty());

        let reading = progress.take(begun);
        assert!(progress.give(begun, reading, Offset(9)));
        progress.give_up(&BTreeSet::from([begun]), later);
        progress.let_go(later);
        assert!(progress.held().is_empty(), "its time is over");
        assert!(!progress.give(begun, reading, Offset(10)));
    }

    #[test]
    fn what_an_earlier_reading_had_ready_is_not_given() {
        let progress = Progress::default();
        let partition = PartitionId(0);
        let before = progress.take(partition);
        let now = progress.take(partition);
        assert!(!progress.give(partition, before, Offset(5)));
        assert!(progress.give(partition, now, Offset(1)));
        progress.has_committed(&[(partition, Offset(1))], &[partition]);
        assert!(!progress.is_read(partition, now), "it is another member's");
    }
}
