//! Cleaning a partition at work: what its state, its producers and its relay need is there without
//! the events; compaction leaves each key its last.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use weir_log::PartitionLog;
use weir_partition::{Chain, TOMBSTONE_MS, When};
use weir_wire::ids::{ChainRevision, Offset};
use weir_wire::record_batch::{BatchLimits, Event, RecordBatch};
use weir_wire::retention::{Cleanup, Retention};

use crate::counting::{ASK, EMIT, REFUSE, counting};
use crate::house::{Ground, House, batch_of, numbered, soon, unnumbered};

const NOTHING_STAYS: Retention =
    Retention { cleanup: Cleanup::Delete, ms: None, bytes: Some(0), segment_bytes: None };

/// Everything that outlives the events.
async fn look(house: &House) -> Vec<String> {
    let mut seen = vec![
        house.publish(numbered(7, 0), &["one", REFUSE, "two"]).await,
        house.publish(numbered(7, 3), &[EMIT, EMIT]).await,
        house.publish(numbered(8, 0), &[REFUSE]).await,
        house.publish(numbered(7, 2), &["two"]).await,
        house.publish(unnumbered(), &[ASK]).await,
    ];
    let outbox = house.partition.outbox(1).await.unwrap();
    seen.extend(outbox.iter().map(|side| format!("#{} {}", side.ordinal, side.topic)));
    seen
}

#[tokio::test]
async fn retries_state_and_side_events_do_not_need_the_events() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one", REFUSE, "two"]).await;
    house.publish(numbered(7, 3), &[EMIT, EMIT]).await;
    house.partition.relayed(1).await;
    house.publish(numbered(8, 0), &[REFUSE]).await;
    house.publish(unnumbered(), &["the last one stays"]).await;
    let before = look(&house).await;
    assert_eq!(before[0], "@0, refused 2, @1 again");
    assert_eq!(before[5], "#1 notices");
    for round in 0..2 {
        let cleaned = house.partition.clean(&NOTHING_STAYS, When::Due).await.unwrap();
        assert_eq!(cleaned.is_some(), round == 0, "the second time there is nothing to do");
        let start = ground.log.earliest().1;
        assert!(Offset(4) <= start, "{start}");
        assert!(ground.log.fetch(Offset(0), 1).await.is_err());
        assert_eq!(look(&house).await, before);
    }
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(look(&house).await, before, "after a crash");
    house.close().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(look(&house).await, before, "with a checkpoint");
    house.close().await;
    let ground = ground.after_a_crash().without_checkpoints();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(look(&house).await, before, "without one, from the snapshot");
    assert_eq!(house.publish(numbered(7, 5), &["goes on"]).await, "@5");
}

#[tokio::test]
async fn what_nobody_may_ask_for_any_more_goes_with_the_next_cleaning() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one", REFUSE]).await;
    house.publish(unnumbered(), &["x"]).await;
    house.partition.clean(&NOTHING_STAYS, When::Due).await.unwrap().unwrap();
    let left = |ground: &Ground| ground.log.stretches().iter().filter(|of| of.is_clean).count();
    assert_eq!(left(&ground), 1, "a verdict that may be asked for");
    ground.clock_ms.fetch_add(25 * 60 * 60 * 1_000, Ordering::Relaxed);
    for value in ["y", "z"] {
        house.publish(unnumbered(), &[value]).await;
    }
    house.partition.clean(&NOTHING_STAYS, When::Due).await.unwrap().unwrap();
    assert_eq!(left(&ground), 0, "past the horizon it is forgotten");
    assert_eq!(house.publish(numbered(7, 0), &["one", REFUSE]).await, "expired");
}

/// Events that are stored, by offset: key and value.
async fn stored(ground: &Ground) -> Vec<(u64, Option<String>, Option<String>)> {
    let fetched = ground.log.fetch(Offset(0), usize::MAX).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut all = Vec::new();
    for bytes in fetched.batches {
        let batch = RecordBatch::parse(bytes).unwrap();
        let base = batch.header().base_offset as u64;
        for record in batch.open_stored(&BatchLimits::default()).unwrap().iter() {
            let offset = base + u64::from(record.offset_delta);
            all.push((offset, record.key.map(text), record.value.map(text)));
        }
    }
    all
}

async fn put(house: &House, events: &[(Option<&str>, Option<&str>)]) {
    let bytes = |text: &Option<&str>| text.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let event = |(key, value): &(Option<&str>, Option<&str>)| Event {
        key: bytes(key),
        value: bytes(value),
        ..Event::default()
    };
    let events: Vec<_> = events.iter().map(event).collect();
    let pending = house.partition.submit(batch_of(unnumbered(), &events)).await.unwrap();
    soon(pending.answer()).await.unwrap();
}

#[tokio::test]
async fn compaction_leaves_each_key_its_last_event_at_its_old_offset() {
    let ground = Ground::new();
    let no_rules = Chain { revision: ChainRevision(1), links: Vec::new() };
    let house = ground.open(no_rules).await;
    let compact = Retention { cleanup: Cleanup::Compact, ..Retention::default() };
    let mut dice = fastrand_like(0x5eed);
    let mut last = BTreeMap::new();
    let (mut without_key, mut offset) = (Vec::new(), 0);
    let mut cleanings = 0;
    for round in 0..60 {
        let mut events = Vec::new();
        for _ in 0..1 + dice() % 5 {
            let key = ["a", "b", "c", "d", "e", "f"][dice() as usize % 6];
            let value = format!("{offset}");
            match dice() % 10 {
                0 => {
                    without_key.push((offset, None, Some(value.clone())));
                    events.push((None, Some(value)));
                }
                1 => {
                    last.insert(key, (offset, None));
                    events.push((Some(key), None));
                }
                _ => {
                    last.insert(key, (offset, Some(value.clone())));
                    events.push((Some(key), Some(value)));
                }
            }
            offset += 1;
        }
        let events: Vec<_> = events.iter().map(|(key, value)| (*key, value.as_deref())).collect();
        put(&house, &events).await;
        let cleaned = house.partition.clean(&compact, When::Due).await.unwrap();
        cleanings += u32::from(cleaned.is_some());
        let found = stored(&ground).await;
        // Everything that must be there is, in order; what is there beyond is old or not clean yet.
        assert!(found.windows(2).all(|two| two[0].0 < two[1].0), "round {round}");
        for (key, (offset, value)) in &last {
            let whole = (*offset, Some((*key).to_owned()), value.clone());
            assert!(found.contains(&whole), "round {round}: the last of {key} is gone");
        }
        for event in &without_key {
            assert!(found.contains(event), "round {round}: an event without a key is gone");
        }
    }
    assert!(4 < cleanings, "{cleanings}");
    // All but a few are the last of their key: the log is as small as its keys are few.
    let superseded = stored(&ground).await.len() - last.len() - without_key.len();
    assert!(superseded < offset as usize / 2, "{superseded} of {offset}");
    assert_eq!(ground.log.earliest().1, Offset(0), "compaction moves no start");
}

#[tokio::test]
async fn a_tombstone_outlives_what_it_buried_by_a_day() {
    let ground = Ground::new();
    let house = ground.open(Chain { revision: ChainRevision(1), links: Vec::new() }).await;
    let compact = Retention { cleanup: Cleanup::Compact, ..Retention::default() };
    let filler = |n: u64| vec![(Some("filler"), Some(if n == 0 { "x" } else { "y" })); 40];
    put(&house, &[(Some("dead"), Some("alive"))]).await;
    put(&house, &[(Some("dead"), None)]).await;
    put(&house, &filler(0)).await;
    house.partition.clean(&compact, When::Due).await.unwrap().unwrap();
    let of_dead = |all: Vec<(u64, Option<String>, Option<String>)>| -> Vec<_> {
        all.into_iter().filter(|(_, key, _)| key.as_deref() == Some("dead")).collect()
    };
    let tombstone = vec![(1, Some("dead".to_owned()), None)];
    assert_eq!(of_dead(stored(&ground).await), tombstone);
    // Cleaned again before the day is over, it stays.
    ground.clock_ms.fetch_add(TOMBSTONE_MS - 1, Ordering::Relaxed);
    put(&house, &filler(1)).await;
    put(&house, &filler(0)).await;
    house.partition.clean(&compact, When::Due).await.unwrap().unwrap();
    assert_eq!(of_dead(stored(&ground).await), tombstone);
    ground.clock_ms.fetch_add(1, Ordering::Relaxed);
    put(&house, &filler(1)).await;
    put(&house, &filler(0)).await;
    house.partition.clean(&compact, When::Due).await.unwrap().unwrap();
    assert_eq!(of_dead(stored(&ground).await), vec![], "and then goes");
}

/// Numbers that look like chance and are the same every time.
fn fastrand_like(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}
