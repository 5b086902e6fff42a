//! What was delivered while the broker could not be told: when it gives such an event again, to
//! whichever worker, it is not delivered again.
//!
//! Invariant: at most one event per partition, since a worker begins none before the last is
//! committed. It is in memory only: after a crash that one event is delivered once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_wire::ids::{Offset, PartitionId};

/// The last delivered offset of each partition whose commit was not heard of.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed(Mutex<BTreeMap<PartitionId, Offset>>);

impl Unconfirmed {
    pub(crate) fn note(&self, partition: PartitionId, offset: Offset) {
        self.lock().insert(partition, offset);
    }

    /// Whether it was delivered already. An offset of its own, not a mark below which all is done:
    /// when an operator has put the group back, everything but this one is to be delivered again.
    pub(crate) fn has(&self, partition: PartitionId, offset: Offset) -> bool {
        self.lock().get(&partition) == Some(&offset)
    }

    pub(crate) fn confirm(&self, partition: PartitionId) {
        self.lock().remove(&partition);
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    // Nothing is left half done by whoever panics with the lock.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PartitionId, Offset>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_event_is_passed_over_and_only_until_it_is_confirmed() {
        let (unconfirmed, partition) = (Unconfirmed::default(), PartitionId(1));
        unconfirmed.note(partition, Offset(7));
        let passed = |offset| unconfirmed.has(partition, Offset(offset));
        assert_eq!([6, 7, 8].map(passed), [false, true, false]);
        assert!(!unconfirmed.has(PartitionId(2), Offset(7)));
        unconfirmed.note(partition, Offset(8));
        assert_eq!([7, 8].map(passed), [false, true]);
        unconfirmed.confirm(partition);
        assert!(!passed(8));
        assert_eq!(unconfirmed.count(), 0);
    }
}
