//! An event's own word on whether it is finished, for work that ends in another order than it began.

use std::sync::Arc;

use weir_wire::ids::{Offset, PartitionId};

use super::progress::{Progress, Reading};

/// What has to be handed back before commits go past the event it came with. It may travel to
/// another task and outlive the consumer, and then means nothing.
///
/// Dropped without [`done`](Self::done) it says that the event was not finished: commits stop before
/// it for as long as this consumer reads the partition, and whoever reads it next gets it again.
#[derive(Debug)]
#[must_use = "without done(), the group comes no further than this event"]
pub struct Receipt {
    progress: Arc<Progress>,
    of: (PartitionId, Reading),
    offset: Offset,
    is_done: bool,
}

impl Receipt {
    pub(super) fn new(progress: Arc<Progress>, of: (PartitionId, Reading), offset: Offset) -> Self {
        Self { progress, of, offset, is_done: false }
    }

    /// The work on the event is finished. The next commit, of the caller's or an automatic one, goes
    /// past it as soon as everything before it in its partition is finished too.
    pub fn done(mut self) {
        self.is_done = true;
    }

    /// The event's partition.
    pub fn partition(&self) -> PartitionId {
        self.of.0
    }

    /// The event's place there.
    pub fn offset(&self) -> Offset {
        self.offset
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.progress.hand_back(self.of, self.offset, self.is_done);
    }
}
