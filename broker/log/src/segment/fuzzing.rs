//! The door for `fuzz/`, in its builds only.

use weir_wire::ids::{Offset, PartitionId, Position, Timestamp, TopicId};

use super::index::Index;
use crate::commit::Identity;

const IDENTITY: Identity = Identity { topic: TopicId(7), partition: PartitionId(3) };

/// Reads the copy of an index; what is one is asked for places, and written again.
///
/// # Panics
/// If it is not the same bytes then.
pub fn read_index(bytes: &[u8]) {
    let Some(index) = Index::decode(bytes, IDENTITY, None) else { return };
    for at in [0, 1, index.end.position.0, u64::MAX] {
        index.before_position(Position(at));
        index.before_offset(Offset(at));
        index.before_time(Timestamp(at));
    }
    assert_eq!(index.encode(IDENTITY), bytes);
}
