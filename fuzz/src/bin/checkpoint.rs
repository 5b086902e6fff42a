//! Rows of a checkpoint: none, or a view that answers and goes on.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use weir_fuzz::bounded;
use weir_log::Commit;
use weir_log::commit::Kind;
use weir_views::checkpoint::fuzzing;
use weir_views::partition::PartitionView;
use weir_wire::ids::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

// Each row: | key bytes u8 | value bytes u8 | key | value |. As in the store, a key stands once,
// and rows come in the order of keys. The head's count of rows is made right.
fuzz_target!(|input: &[u8]| {
    let mut rows = BTreeMap::new();
    let mut rest = input;
    while let [key_bytes, value_bytes, behind @ ..] = rest {
        let Some((key, behind)) = behind.split_at_checked((*key_bytes).into()) else { break };
        let Some((value, behind)) = behind.split_at_checked((*value_bytes).into()) else { break };
        rows.insert(key.to_vec(), value.to_vec());
        rest = behind;
    }
    let others = rows.len().saturating_sub(1) as u64;
    if let Some(head) = rows.get_mut(&[1][..])
        && let Some(count) = head.get_mut(1..9)
    {
        count.copy_from_slice(&others.to_be_bytes());
    }
    bounded(|| {
        let Some(checkpoint) = fuzzing::decode(&rows) else { return };
        ask(PartitionView::restore(Some(checkpoint)), &rows);
    });
});

fn ask(mut view: PartitionView, rows: &BTreeMap<Vec<u8>, Vec<u8>>) {
    let producers = view.producers();
    for key in rows.keys() {
        let Some(id) = key.get(1..9).and_then(|id| id.try_into().ok()) else { continue };
        let id = ProducerId(u64::from_be_bytes(id));
        for first in [0, 1, 40, 1 << 29, 1 << 30, i32::MAX as u32] {
            let first = Sequence::new(first);
            producers.admit(id, ProducerEpoch(1), first, 10, view.time());
            for piece in producers.remembered(id, first, 5).unwrap_or_default() {
                assert!(0 < piece.count, "a piece of a batch has events");
            }
            producers.relay_skip(id, ProducerEpoch(0), &[first]);
        }
    }
    assert_eq!(view.outbox().oldest().is_some(), 0 < view.outbox().pending());
    for (_, state) in view.states() {
        assert!(0 < state.keys());
        let _ = state.get(b"alice");
    }
    // Of offsets at the end of their 63 bits there is no next one.
    if view.next_offset() > Offset(i64::MAX as u64) || view.next().next() == view.next() {
        return;
    }
    for time in [view.time(), Timestamp(view.time().0.saturating_add(1 << 40)), Timestamp(u64::MAX)]
    {
        let mark = Commit {
            relayed: view.relayed(),
            ..Commit::empty(Kind::Mark, time, view.chain(), view.next_offset())
        };
        view.apply(view.next(), &mark);
        view.take_changes();
    }
    view.start_over();
    view.take_changes();
}
