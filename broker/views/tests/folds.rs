//! A view restored from a checkpoint and given the rest of the log equals one that was given all
//! of it, wherever the checkpoint was taken and whatever happened to the folder.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use proptest::prelude::*;
use weir_log::Commit;
use weir_log::commit::{
    Consumed, KeyspaceChange, KeyspaceFate, Kind, Produced, SideEvent, StateChange, StateChanges,
    StateValue,
};
use weir_views::ViewError;
use weir_views::partition::PartitionView;
use weir_views::producers::Arrival;
use weir_views::store::{PartitionFold, Store};
use weir_wire::ids::{
    ChainRevision, GroupName, Offset, PartitionId, PluginName, Position, ProducerEpoch, ProducerId,
    ResetEpoch, Sequence, Timestamp, TopicId, TopicName,
};
use weir_wire::keyspace::{Keyspace, Schema};
use weir_wire::record_batch::Event;
use weir_wire::verdict::{Verdict, Verdicts};

/// Which of two plugins, which key, and its value with the time to live; `None` deletes.
type KeyDeed = (bool, u8, Option<(u8, Option<u64>)>);

/// What one commit does, as chance has it.
#[derive(Debug, Clone)]
struct Deed {
    kind: u8,
    /// Time passes by this many minutes, squared: seldom days.
    minutes: u64,
    producer: u64,
    new_life: bool,
    sent: u32,
    refused: bool,
    state: Vec<KeyDeed>,
    side_events: usize,
    relayed: u64,
}

fn deed() -> impl Strategy<Value = Deed> {
    let value = proptest::option::weighted(0.8, (any::<u8>(), proptest::option::of(0u64..300)));
    let state = proptest::collection::vec((any::<bool>(), 0u8..12, value), 0..5);
    let producer = (0u64..4, proptest::bool::weighted(0.1), 1u32..5, any::<bool>());
    (0u8..6, 0u64..60, producer, state, 0usize..3, 0u64..4).prop_map(
        |(kind, minutes, (producer, new_life, sent, refused), state, side_events, relayed)| Deed {
            kind,
            minutes,
            producer,
            new_life,
            sent,
            refused,
            state,
            side_events,
            relayed,
        },
    )
}

/// The commit that a partition with this view would write.
fn commit(view: &PartitionView, deed: &Deed) -> Commit {
    let time = Timestamp(view.time().0 + deed.minutes * deed.minutes * 60_000 / 2);
    let relayed = (view.relayed() + deed.relayed).min(view.next_ordinal());
    let mark = Commit {
        kind: Kind::Mark,
        time,
        chain: view.chain(),
        first_offset: view.next_offset(),
        events: 0,
        max_timestamp: Timestamp(0),
        producer: None,
        consumed: None,
        relayed,
        verdicts: Verdicts::default(),
        keyspaces: Vec::new(),
        state: StateChanges::default(),
        outbox: Vec::new(),
        note: Bytes::new(),
        data: Bytes::new(),
    };
    match deed.kind {
        0 => mark,
        1 => Commit {
            kind: Kind::Chain,
            chain: ChainRevision(view.chain().0 + 1),
            note: Bytes::from(format!("{{\"revision\":{}}}", view.chain().0 + 1)),
            keyspaces: keyspaces(view, deed),
            ..mark
        },
        _ => {
            let mut verdicts = Verdicts::all_accepted(deed.sent - u32::from(deed.refused));
            if deed.refused {
                verdicts.push(Verdict::Aborted);
            }
            Commit {
                kind: Kind::Batch,
                events: verdicts.accepted(),
                producer: Some(produced(view, deed, time)),
                consumed: (deed.producer == 1).then(|| consumed(deed)),
                state: deed.state.iter().map(|change| state_change(view, change, time)).collect(),
                outbox: (0..deed.side_events as u64)
                    .map(|index| side_event(view.next_ordinal() + index))
                    .collect(),
                verdicts,
                ..mark
            }
        }
    }
}

/// What producer 1 made its events of.
fn consumed(deed: &Deed) -> Consumed {
    Consumed {
        group: GroupName::parse("counters").unwrap(),
        topic: TopicId(16),
        partition: PartitionId(deed.sent),
        epoch: ResetEpoch(u32::from(deed.new_life)),
        from: Offset(0),
        to: Offset(deed.minutes),
    }
}

/// The numbers of producer 0 are a relay's; the others count in lives of their own.
fn produced(view: &PartitionView, deed: &Deed, now: Timestamp) -> Produced {
    let numbered = |id, epoch, first: Sequence| {
        let last = first.plus(deed.sent - 1);
        Produced { id, epoch: ProducerEpoch(epoch), first, last }
    };
    if deed.producer == 0 {
        let first = Sequence::new(u32::try_from(view.next().0).unwrap() * 10);
        return numbered(ProducerId::relay(TopicId(3), PartitionId(0)), 0, first);
    }
    for id in (deed.producer..).step_by(4).map(ProducerId) {
        for epoch in u16::from(deed.new_life).. {
            match view.producers().admit(id, ProducerEpoch(epoch), Sequence::ZERO, 1, now) {
                Arrival::New { .. } => return numbered(id, epoch, Sequence::ZERO),
                Arrival::Fenced { .. } => continue,
                Arrival::Duplicate | Arrival::Expired if deed.new_life => continue,
                _ => {}
            }
            let far = Sequence::new(1 << 29);
            match view.producers().admit(id, ProducerEpoch(epoch), far, 1, now) {
                Arrival::OutOfOrder { expected } => return numbered(id, epoch, expected),
                other => panic!("{other:?}"),
            }
        }
    }
    unreachable!("there is always another producer");
}

/// The state of `limit` moves to a new keyspace, or back to the last one, which may be cleared.
fn keyspaces(view: &PartitionView, deed: &Deed) -> Vec<KeyspaceChange> {
    let plugin = PluginName::parse("limit").unwrap();
    let fate = |keyspace: &Keyspace, fate| KeyspaceChange {
        plugin: plugin.clone(),
        keyspace: keyspace.clone(),
        fate,
    };
    let known = view.keyspaces(&plugin);
    let new = Keyspace::new(Schema::default(), ChainRevision(view.chain().0 + 1));
    match (deed.sent % 4, known.before()) {
        (1, Some(before)) => vec![fate(before, KeyspaceFate::AtWork)],
        (2, Some(before)) => vec![fate(before, KeyspaceFate::Cleared)],
        (0 | 1, _) => vec![fate(&new, KeyspaceFate::AtWork)],
        _ => vec![],
    }
}

fn state_change(
    view: &PartitionView,
    (plugin, key, value): &KeyDeed,
    time: Timestamp,
) -> StateChange {
    let value = value.map(|(bytes, expires_in)| StateValue {
        bytes: Bytes::from(vec![bytes; usize::from(bytes) % 9]),
        expires_at: expires_in.map(|minutes| Timestamp(time.0 + minutes * 45_000)),
    });
    let plugin = PluginName::parse(if *plugin { "limit" } else { "dedup" }).unwrap();
    let keyspace = view.keyspaces(&plugin).at_work().clone();
    StateChange { plugin, keyspace, key: Bytes::from(vec![*key; usize::from(*key)]), value }
}

fn side_event(ordinal: u64) -> SideEvent {
    SideEvent {
        ordinal,
        plugin: PluginName::parse("limit").unwrap(),
        topic: TopicName::parse("notices").unwrap(),
        hops: 1,
        event: Event::default(),
    }
}

/// The log of these deeds, and the view after all of it.
fn log_of(deeds: &[Deed]) -> (Vec<Commit>, PartitionView) {
    let mut view = PartitionView::restore(None);
    let mut log = Vec::new();
    for deed in deeds {
        let commit = commit(&view, deed);
        view.apply(view.next(), &commit);
        log.push(commit);
    }
    (log, view)
}

fn replay(view: &mut PartitionView, log: &[Commit], to: usize) {
    let from = usize::try_from(view.next().0).unwrap();
    log[from..to].iter().for_each(|commit| view.apply(view.next(), commit));
}

/// Equal in what is stored, and in the indexes that are not.
fn assert_equal(view: &PartitionView, other: &PartitionView) {
    assert_eq!(view.dump(), other.dump());
    assert_eq!(view.digest(), other.digest());
    assert_eq!(view.chain_note(), other.chain_note());
    assert_eq!(view.producers(), other.producers());
    assert_eq!(view.outbox(), other.outbox());
    assert!(view.states().eq(other.states()), "{view:?}\n{other:?}");
}

fn fold(store: &Store, partition: u32) -> PartitionFold {
    store.partition(TopicId(16), PartitionId(partition))
}

#[test]
fn a_checkpoint_and_the_rest_of_the_log_are_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("views")).unwrap();
    let cases = AtomicU32::new(0);
    let input = (proptest::collection::vec(deed(), 1..60), any::<[prop::sample::Index; 3]>());
    proptest!(ProptestConfig::with_cases(96), |((deeds, splits) in input)| {
        let partition = cases.fetch_add(1, Ordering::Relaxed);
        let (log, whole) = log_of(&deeds);
        let mut splits = splits.map(|split| split.index(log.len() + 1));
        splits.sort_unstable();

        // Three checkpoints, the first from nothing, the last after a restart.
        let mut view = PartitionView::restore(None);
        for split in splits {
            replay(&mut view, &log, split);
            fold(&store, partition).save(view.take_changes()).unwrap();
            let restored = PartitionView::restore(fold(&store, partition).load());
            assert_equal(&restored, &view);
            if split == splits[1] {
                view = restored;
            }
        }
        let mut view = PartitionView::restore(fold(&store, partition).load());
        prop_assert_eq!(view.next(), Position(splits[2] as u64));
        replay(&mut view, &log, log.len());
        assert_equal(&view, &whole);
    });
}

/// Some log that has everything in it.
fn some_log() -> (Vec<Commit>, PartitionView) {
    let deeds: Vec<Deed> = (0..250u8)
        .map(|n| Deed {
            kind: n % 6,
            minutes: u64::from(n % 5),
            producer: u64::from(n % 4),
            new_life: n % 50 == 49,
            sent: 1 + u32::from(n % 4),
            refused: n % 3 == 0,
            state: (0..3)
                .map(|m| (n % 2 == 0, (n + m) % 200, Some((n, (n % 4 == 0).then_some(90)))))
                .collect(),
            side_events: usize::from(n % 3),
            relayed: 1,
        })
        .collect();
    log_of(&deeds)
}

#[test]
fn changes_that_do_not_follow_are_refused_and_starting_over_heals() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("views")).unwrap();
    let (log, whole) = some_log();
    let mut view = PartitionView::restore(None);
    replay(&mut view, &log, 100);
    fold(&store, 0).save(view.take_changes()).unwrap();
    replay(&mut view, &log, 104);
    drop(view.take_changes());
    replay(&mut view, &log, 108);
    let gap = fold(&store, 0).save(view.take_changes()).unwrap_err();
    assert_eq!(gap, ViewError::Gap { stored: Some(Position(100)), base: Position(104) });
    replay(&mut view, &log, log.len());
    view.start_over();
    fold(&store, 0).save(view.take_changes()).unwrap();
    assert_equal(&PartitionView::restore(fold(&store, 0).load()), &whole);
}

#[test]
fn a_deleted_folder_and_a_deleted_topic_leave_no_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("views");
    let (_, mut whole) = some_log();
    whole.start_over();
    let changes = |view: &mut PartitionView| {
        view.start_over();
        view.take_changes()
    };
    let store = Store::open(&path).unwrap();
    let other = store.partition(TopicId(17), PartitionId(0));
    fold(&store, 0).save(changes(&mut whole)).unwrap();
    other.save(changes(&mut whole)).unwrap();
    store.forget(TopicId(16)).unwrap();
    assert!(fold(&store, 0).load().is_none());
    assert_eq!(other.load().unwrap().position(), whole.next());
    drop((store, other));

    std::fs::remove_dir_all(&path).unwrap();
    let store = Store::open(&path).unwrap();
    assert!(store.partition(TopicId(17), PartitionId(0)).load().is_none());
}

#[test]
fn a_folder_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("views");
    let store = Store::open(&path).unwrap();
    assert_eq!(Store::open(&path).unwrap_err(), ViewError::Busy(path.clone()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(store);
}

#[test]
fn a_damaged_folder_gives_the_view_as_it_was_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good");
    let (log, whole) = some_log();
    let store = Store::open(&good).unwrap();
    let mut view = PartitionView::restore(None);
    replay(&mut view, &log, log.len() / 2);
    fold(&store, 0).save(view.take_changes()).unwrap();
    replay(&mut view, &log, log.len());
    fold(&store, 0).save(view.take_changes()).unwrap();
    drop(store);

    let (mut kept, mut lost) = (0, 0);
    for file in ["db", "conf"] {
        let bytes = std::fs::read(good.join(file)).unwrap();
        for place in 0..16 {
            let path = dir.path().join(format!("{file}-{place}"));
            std::fs::create_dir(&path).unwrap();
            for entry in std::fs::read_dir(&good).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    std::fs::copy(entry.path(), path.join(entry.file_name())).unwrap();
                }
            }
            let mut damaged = bytes.clone();
            let at = bytes.len() * place / 16;
            let to = bytes.len().min(at + 40);
            damaged[at..to].iter_mut().for_each(|byte| *byte ^= 0xFF);
            std::fs::write(path.join(file), damaged).unwrap();

            let store = Store::open(&path).unwrap();
            let mut view = PartitionView::restore(fold(&store, 0).load());
            let replayed = log.len() - usize::try_from(view.next().0).unwrap();
            *(if replayed == log.len() { &mut lost } else { &mut kept }) += 1;
            replay(&mut view, &log, log.len());
            assert_equal(&view, &whole);
        }
    }
    assert!(0 < kept && 0 < lost, "{kept} kept, {lost} lost: the damage tests nothing");
}

#[test]
fn a_folder_that_does_not_open_is_moved_aside_and_not_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("views");
    for number in 1..3 {
        drop(Store::open(&path).unwrap());
        std::fs::write(path.join("conf"), b"neither sled nor ours").unwrap();
        assert!(fold(&Store::open(&path).unwrap(), 0).load().is_none());
        let aside = dir.path().join(format!("views.broken-{number}"));
        assert_eq!(std::fs::read(aside.join("conf")).unwrap(), b"neither sled nor ours");
    }
}
