//! How far a consumer is in each partition it reads: shared by its caller's side, which is given
//! events, by what commits, and by its membership, which takes partitions in and lets go of them.
//!
//! Invariants: an event is given only while its partition is read and is not leaving; a partition
//! that is leaving goes when all that was given of it is committed, or when its time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use weir_wire::ids::{MemberId, Offset, PartitionId};

use super::bookmark::{Bookmark, Handing};

/// One reading of a partition: what an earlier one still had ready is not the later one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Reading(u64);

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Progress {
    inner: Mutex<Inner>,
    /// Something was committed.
    committed: Notify,
    /// Something should be committed soon, since others wait for it.
    due: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    partitions: BTreeMap<PartitionId, Partition>,
    /// Whose events the caller has in hand.
    in_hand: Option<PartitionId>,
    member: Option<MemberId>,
    readings: u64,
    /// Whether any partition was to go since one last went.
    is_any_leaving: bool,
    skipped: u64,
}

#[derive(Debug)]
struct Partition {
    reading: Reading,
    mark: Bookmark,
    /// Until when it may be committed, if it is another member's soon.
    leaving: Option<Instant>,
}

impl Inner {
    fn read(&mut self, partition: PartitionId, reading: Reading) -> Option<&mut Partition> {
        self.partitions.get_mut(&partition).filter(|one| one.reading == reading)
    }

    fn put_down(&mut self) {
        let of = self.in_hand.take().and_then(|of| self.partitions.get_mut(&of));
        if let Some(one) = of {
            one.mark.put_down();
        }
    }

    /// Whether others wait for what could be committed.
    fn is_due(&self) -> bool {
        let owes = |one: &Partition| one.leaving.is_some() && one.mark.uncommitted().is_some();
        self.partitions.values().any(owes)
    }
}

impl Progress {
    /// Reads a partition from now on.
    pub(super) fn take(&self, partition: PartitionId) -> Reading {
        let mut inner = self.lock();
        inner.readings += 1;
        let reading = Reading(inner.readings);
        let new = Partition { reading, mark: Bookmark::default(), leaving: None };
        inner.partitions.insert(partition, new);
        reading
    }

    /// Whether this reading still goes on.
    pub(super) fn is_read(&self, partition: PartitionId, reading: Reading) -> bool {
        self.lock().read(partition, reading).is_some_and(|one| one.leaving.is_none())
    }

    /// The caller is given events of this reading, from `first` on and before `next`; `false` if it
    /// must not be. What it had in hand is finished by that.
    pub(super) fn give(
        &self,
        (partition, reading): (PartitionId, Reading),
        (first, next): (Offset, Offset),
        handing: Handing,
    ) -> bool {
        let mut inner = self.lock();
        inner.put_down();
        let is_given = match inner.read(partition, reading) {
            Some(one) if one.leaving.is_none() => {
                one.mark.give(first, next, handing);
                true
            }
            _ => false,
        };
        if is_given && handing == Handing::InHand {
            inner.in_hand = Some(partition);
        }
        self.look_for_dues(inner);
        is_given
    }

    /// This reading has nothing for the caller before `next`.
    pub(super) fn pass(&self, partition: PartitionId, reading: Reading, next: Offset) {
        if let Some(one) = self.lock().read(partition, reading) {
            one.mark.pass(next);
        }
    }

    /// The caller asks for more: what it had in hand is finished.
    pub(super) fn put_down(&self) {
        let mut inner = self.lock();
        if inner.in_hand.is_some() {
            inner.put_down();
            self.look_for_dues(inner);
        }
    }

    /// What a receipt was out for is finished, or never will be.
    pub(super) fn hand_back(
        &self,
        (partition, reading): (PartitionId, Reading),
        offset: Offset,
        is_done: bool,
    ) {
        let mut inner = self.lock();
        let Some(one) = inner.read(partition, reading) else { return };
        match is_done {
            true => one.mark.done(offset),
            false => one.mark.abandon(offset),
        }
        self.look_for_dues(inner);
    }

    /// Where each partition goes on behind what the caller was given.
    pub(super) fn given(&self) -> Vec<(PartitionId, Offset)> {
        let inner = self.lock();
        inner.partitions.iter().filter_map(|(at, one)| Some((*at, one.mark.given()?))).collect()
    }

    /// What is finished and not committed.
    pub(super) fn uncommitted(&self) -> Vec<(PartitionId, Offset)> {
        let inner = self.lock();
        let all = inner.partitions.iter();
        all.filter_map(|(at, one)| Some((*at, one.mark.uncommitted()?))).collect()
    }

    /// The broker has these, but for those in `fenced`, which are another's.
    pub(super) fn has_committed(&self, offsets: &[(PartitionId, Offset)], fenced: &[PartitionId]) {
        let mut inner = self.lock();
        for (partition, offset) in offsets {
            if fenced.contains(partition) {
                inner.partitions.remove(partition);
            } else if let Some(one) = inner.partitions.get_mut(partition) {
                one.mark.has_committed(*offset);
            }
        }
        drop(inner);
        self.committed.notify_one();
    }

    /// Returns when something was committed since the last time.
    pub(super) async fn news(&self) {
        self.committed.notified().await;
    }

    /// Returns when others began to wait for what could be committed since the last time.
    pub(super) async fn due(&self) {
        self.due.notified().await;
    }

    /// What is read, or waits to be let go of.
    pub(super) fn held(&self) -> BTreeSet<PartitionId> {
        self.lock().partitions.keys().copied().collect()
    }

    /// Nothing more of these is given; they go when they are committed, at the latest at `until`.
    pub(super) fn give_up(&self, partitions: &BTreeSet<PartitionId>, until: Instant) {
        let mut inner = self.lock();
        for (partition, one) in &mut inner.partitions {
            if partitions.contains(partition) {
                one.leaving.get_or_insert(until);
            }
        }
        inner.is_any_leaving = true;
        self.look_for_dues(inner);
    }

    /// Lets go of what may go; gives when the next one has to.
    pub(super) fn let_go(&self, now: Instant) -> Option<Instant> {
        let mut inner = self.lock();
        inner
            .partitions
            .retain(|_, one| one.leaving.is_none_or(|until| now < until && !one.mark.is_settled()));
        let next = inner.partitions.values().filter_map(|one| one.leaving).min();
        inner.is_any_leaving = next.is_some();
        next
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

    /// So many offsets were passed over, since their events are gone.
    pub(super) fn skip(&self, offsets: u64) {
        self.lock().skipped += offsets;
    }

    /// How many were.
    pub(super) fn skipped(&self) -> u64 {
        self.lock().skipped
    }

    /// As whom to commit; `None`: as nobody of the group.
    pub(super) fn member(&self) -> Option<MemberId> {
        self.lock().member
    }

    /// The broker knows it by this name.
    pub(super) fn set_member(&self, member: MemberId) {
        self.lock().member = Some(member);
    }

    fn look_for_dues(&self, inner: MutexGuard<'_, Inner>) {
        // Nearly always nothing is leaving, and this is asked for every event.
        if inner.is_any_leaving && inner.is_due() {
            drop(inner);
            self.due.notify_one();
        }
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
        let give = |at, reading, next| {
            progress.give((at, reading), (Offset(next - 1), Offset(next)), Handing::InHand)
        };
        assert!(give(settled, readings[1], 3) && give(begun, readings[2], 7));
        progress.put_down();
        progress.has_committed(&[(settled, Offset(3))], &[]);
        assert_eq!(progress.uncommitted(), [(begun, Offset(7))]);

        progress.give_up(&progress.held(), later);
        assert!(!give(begun, readings[2], 8), "nothing more is given");
        assert_eq!(progress.let_go(now), Some(later));
        assert_eq!(progress.held(), BTreeSet::from([begun]));
        progress.has_committed(&[(begun, Offset(7))], &[]);
        assert_eq!(progress.let_go(now), None);
        assert!(progress.held().is_empty());

        let reading = progress.take(begun);
        assert!(give(begun, reading, 9));
        progress.give_up(&BTreeSet::from([begun]), later);
        progress.let_go(later);
        assert!(progress.held().is_empty(), "its time is over");
        assert!(!give(begun, reading, 10));
    }

    #[test]
    fn what_an_earlier_reading_had_ready_is_not_given() {
        let progress = Progress::default();
        let partition = PartitionId(0);
        let before = progress.take(partition);
        let now = progress.take(partition);
        let give = |reading, next| {
            progress.give((partition, reading), (Offset(0), Offset(next)), Handing::InHand)
        };
        assert!(!give(before, 5) && give(now, 1));
        progress.has_committed(&[(partition, Offset(1))], &[partition]);
        assert!(!progress.is_read(partition, now), "it is another member's");
    }

    /// Whether somebody who waits for dues is woken.
    fn is_due(progress: &Progress) -> bool {
        use futures::FutureExt;
        progress.due().now_or_never().is_some()
    }

    #[test]
    fn what_is_leaving_is_due_as_soon_as_it_is_finished() {
        let (progress, later) = (Progress::default(), Instant::now() + Duration::from_secs(5));
        let at = PartitionId(0);
        let reading = progress.take(at);
        for offset in 0..2 {
            let receipt = Handing::Receipt;
            progress.give((at, reading), (Offset(offset), Offset(offset + 1)), receipt);
        }
        progress.hand_back((at, reading), Offset(1), true);
        assert!(!is_due(&progress), "nobody waits");
        progress.give_up(&BTreeSet::from([at]), later);
        assert!(!is_due(&progress), "the first is unfinished");
        progress.hand_back((at, reading), Offset(0), true);
        assert!(is_due(&progress));
        assert_eq!(progress.uncommitted(), [(at, Offset(2))]);
        progress.has_committed(&[(at, Offset(2))], &[]);
        progress.let_go(Instant::now());
        assert!(progress.held().is_empty());
    }
}
