//! What a consumer is given.

use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::record_batch::Event;

/// One event as it was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedEvent {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// The event.
    pub event: Event,
}

/// Neighbours of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedBatch {
    /// Their partition.
    pub partition: PartitionId,
    /// Each with its offset, in rising order; at least one. Offsets in between may be missing:
    /// compaction removes events.
    pub events: Vec<(Offset, Event)>,
    /// Everything before was given, or never was the caller's to do: the group's committed offset, if
    /// what was given is committed.
    pub from: Offset,
    /// Where reading goes on behind them.
    pub next_offset: Offset,
    /// Everything below could be read when the broker sent them: the lag ends here.
    pub high_watermark: Offset,
}
