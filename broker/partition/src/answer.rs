//! What a publisher hears of a batch.

use weir_wire::ids::{ChainRevision, Offset, Timestamp};
use weir_wire::verdict::Verdicts;

/// The verdicts of a batch, and where its accepted events stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The offset of the first accepted event; the others follow densely.
    pub first_offset: Offset,
    /// One per event judged.
    pub verdicts: Verdicts,
    /// The partition time at which they were judged.
    pub time: Timestamp,
    /// The chain that judged.
    pub chain: ChainRevision,
    /// What the batch consumed is committed with it.
    pub consumed: bool,
    /// The batch was judged before, and this is what was recorded then.
    pub duplicate: bool,
}
