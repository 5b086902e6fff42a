//! The door for `fuzz/`, in its builds only.

use weir_wire::ids::{Offset, PartitionId, Position, Timestamp, TopicId};

use super::index::Index;
use super::snapshot::Head;
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

/// Reads the head of a snapshot whose file has as many bytes as it says; what is one is written again.
///
/// # Panics
/// If it is not the same bytes then.
pub fn read_snapshot(bytes: &[u8]) {
    let field = |at: usize, count: usize| {
        let field = bytes.get(at..at + count).unwrap_or_default();
        field.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte))
    };
    let (pieces, view) = (field(64, 4), field(68, 8));
    let length = (bytes.len() as u64).saturating_add(view).saturating_add(4 * pieces + 4);
    let Ok(head) = Head::decode(bytes, length, IDENTITY) else { return };
    assert_eq!(head.encode(IDENTITY), bytes);
}
