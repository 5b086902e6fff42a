//! How far consumer groups have come in what members of them made into this partition's events: the
//! committed offsets that stand in this log's own commits, beside what was published with them.
//!
//! Promises: within one reset epoch an offset never goes back. Not here: which of several logs knows
//! a group's last word (the broker's groups compare them).

use std::collections::BTreeMap;

use weir_log::commit::Consumed;
use weir_wire::ids::{GroupName, Offset, PartitionId, ResetEpoch, TopicId};

/// Of whom: a group, in one partition of a topic that it reads.
pub type Of = (TopicId, PartitionId, GroupName);

/// How far: the later epoch counts, and in one epoch the larger offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Reached {
    /// How often the group was reset before.
    pub epoch: ResetEpoch,
    /// The offset of the next event to be read.
    pub offset: Offset,
}

/// See the module's text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumedOffsets(BTreeMap<Of, Reached>);

impl ConsumedOffsets {
    /// As a checkpoint has them.
    pub(crate) fn restore(rows: Vec<(Of, Reached)>) -> Self {
        Self(rows.into_iter().collect())
    }

    /// A commit says so. Gives the row as it is now.
    pub(crate) fn apply(&mut self, consumed: &Consumed) -> (Of, Reached) {
        let Consumed { group, topic, partition, epoch, to, .. } = consumed;
        let of = (*topic, *partition, group.clone());
        let reached = self.0.entry(of.clone()).or_default();
        *reached = (*reached).max(Reached { epoch: *epoch, offset: *to });
        (of, *reached)
    }

    /// Whether this one has a row.
    pub fn has(&self, consumed: &Consumed) -> bool {
        self.0.contains_key(&(consumed.topic, consumed.partition, consumed.group.clone()))
    }

    /// All of them, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (&Of, &Reached)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_epoch_counts_and_in_one_epoch_the_larger_offset() {
        let mut offsets = ConsumedOffsets::default();
        let consumed = |epoch, to| Consumed {
            group: GroupName::parse("counters").unwrap(),
            topic: TopicId(16),
            partition: PartitionId(1),
            epoch: ResetEpoch(epoch),
            from: Offset(0),
            to: Offset(to),
        };
        for (epoch, to, reached) in [(0, 5, (0, 5)), (0, 3, (0, 5)), (1, 2, (1, 2)), (0, 9, (1, 2))]
        {
            let (_, row) = offsets.apply(&consumed(epoch, to));
            assert_eq!((row.epoch.0, row.offset.0), reached);
        }
        assert_eq!(offsets.rows().len(), 1);
    }
}
