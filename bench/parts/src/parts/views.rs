//! The fold of a partition's log.

use std::hint::black_box;

use bytes::Bytes;
use weir_log::Commit;
use weir_log::commit::{Kind, StateChange, StateValue};
use weir_partition::Bench;
use weir_views::partition::PartitionView;
use weir_wire::ids::{ChainRevision, Offset, PluginName, Timestamp};
use weir_wire::keyspace::Keyspace;

use crate::count::{counted_part, warm};
use crate::events::{EVENTS, NOW, key};
use crate::judged::{REACHED_BY_THE_SECOND, commits, under_native_rule, without_rule};

/// Views that are packed, and the keys of each. Several, since a view gives its rows in the order of a
/// hash with a seed: of one view of 10,000 keys that moves the count by 3 %, as much as a change may.
const PACKED_VIEWS: u32 = 10;
const PACKED_KEYS: u32 = 1_000;
/// Keys of the view that is unpacked, whose rows come in the order of their keys.
const UNPACKED_KEYS: u32 = 10_000;

pub fn apply_accepted() {
    apply(without_rule());
}

pub fn apply_judged() {
    apply(under_native_rule(REACHED_BY_THE_SECOND));
}

fn apply(bench: Bench) {
    let commits = commits(bench, 2, EVENTS);
    let mut view = PartitionView::default();
    view.apply(view.next(), &commits[0]);
    // With a checkpoint behind it a view gathers what changes, as a worker's does.
    drop(view.take_changes());
    counted_part(&mut || view.apply(view.next(), &commits[1]));
}

pub fn pack() {
    let views: Vec<_> = (0..PACKED_VIEWS).map(|_| view_of_keys(PACKED_KEYS)).collect();
    warm(|| views.iter().for_each(|view| drop(black_box(view.pack()))));
}

pub fn unpack() {
    let pieces = view_of_keys(UNPACKED_KEYS).pack();
    warm(|| drop(black_box(PartitionView::unpack(&pieces).expect("what was packed"))));
}

fn view_of_keys(keys: u32) -> PartitionView {
    let plugin = PluginName::parse("daily-limit").expect("a name");
    let change = |user| StateChange {
        plugin: plugin.clone(),
        keyspace: Keyspace::default(),
        key: key(user),
        value: Some(StateValue {
            bytes: Bytes::copy_from_slice(&u64::from(user).to_le_bytes()),
            expires_at: Some(Timestamp(NOW.0 + 86_400_000)),
        }),
    };
    let mut commit = Commit::empty(Kind::Batch, NOW, ChainRevision(1), Offset(0));
    commit.state = (0..keys).map(change).collect();
    let mut view = PartitionView::default();
    view.apply(view.next(), &commit);
    view
}
