//! What a restart brings back: with a checkpoint, without one, and with one that lies.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use weir_log::PartitionLog;
use weir_log::commit::Kind;
use weir_wire::ids::Position;

use crate::counting::{ASK, EMIT, REFUSE, counting};
use crate::daily::daily;
use crate::house::{Ground, House, numbered, soon, unnumbered};
use crate::model::DAY_MS;
use crate::outbox::ordinals;

/// What can be seen of a partition: a retry of everything, the state, the outbox.
async fn look(house: &House) -> Vec<String> {
    let mut seen = vec![
        house.publish(numbered(7, 0), &["one", REFUSE, "two"]).await,
        house.publish(numbered(7, 3), &[EMIT, EMIT]).await,
        house.publish(numbered(8, 0), &[REFUSE]).await,
        house.publish(numbered(7, 9), &["gap"]).await,
        house.publish(unnumbered(), &[ASK]).await,
    ];
    let outbox = house.partition.outbox(0).await.unwrap();
    seen.extend(outbox.iter().map(|side| format!("#{} hop {}", side.ordinal, side.hops)));
    let now = house.snapshot();
    seen.push(format!(
        "time {} chain {} outbox {} next {} relayed {}",
        now.time, now.chain, now.outbox_pending, now.next_ordinal, now.relayed
    ));
    seen
}

/// A partition with some history.
async fn lived_in(ground: &Ground) -> House {
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one", REFUSE, "two"]).await;
    house.publish(numbered(7, 3), &[EMIT, EMIT]).await;
    house.partition.relayed(1).await;
    house.publish(numbered(8, 0), &[REFUSE]).await;
    house
}

async fn look_and_crash(ground: Ground) -> (Vec<String>, Ground) {
    let house = ground.open(counting(1, "a")).await;
    let seen = look(&house).await;
    house.crash().await;
    (seen, ground.after_a_crash())
}

#[tokio::test]
async fn a_reopened_partition_is_the_same_with_and_without_its_checkpoint() {
    let ground = Ground::new();
    let house = lived_in(&ground).await;
    let before = look(&house).await;
    assert_eq!(
        before,
        [
            "@0, refused 2, @1 again",
            "@2, @3 again",
            "refused 6 again",
            "out-of-order-sequence",
            "asked 6",
            "#0 hop 1",
            "#1 hop 1",
            "time 1000 chain 1 outbox 1 next 2 relayed 1",
        ]
    );
    house.crash().await;
    let (after_a_crash, ground) = look_and_crash(ground.after_a_crash()).await;
    assert_eq!(after_a_crash, before, "after a crash");

    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(9, 0), &["saved on close"]).await;
    let before = look(&house).await;
    house.close().await;
    let (with_checkpoint, ground) = look_and_crash(ground.after_a_crash()).await;
    assert_eq!(with_checkpoint, before, "with a checkpoint");
    let (without, ground) = look_and_crash(ground.without_checkpoints()).await;
    assert_eq!(without, before, "without a checkpoint");

    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(numbered(7, 5), &["three"]).await, "@5");
    assert_eq!(ground.stored().await[5], "three a8");
}

#[tokio::test]
async fn a_checkpoint_and_the_commits_behind_it_make_one_view() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one", REFUSE, "two"]).await;
    house.close().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 3), &[EMIT, EMIT]).await;
    house.publish(numbered(8, 0), &[REFUSE]).await;
    let before = look(&house).await;
    house.crash().await;
    let (after, _ground) = look_and_crash(ground.after_a_crash()).await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn what_was_not_durable_was_never_judged() {
    let ground = Ground::new();
    let house = lived_in(&ground).await;
    ground.log.hold_durability();
    let mut lost = house.submit(numbered(7, 5), &[EMIT]).await;
    house.all_is_appended().await;
    lost.is_still_waiting();
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 6");
    assert_eq!(house.publish(numbered(7, 5), &[EMIT]).await, "@4");
    assert_eq!(house.partition.outbox(2).await.unwrap()[0].ordinal, 2);
}

#[tokio::test]
async fn a_checkpoint_ahead_of_the_log_is_not_believed() {
    let ground = Ground::new().with_os_durability();
    lived_in(&ground).await.close().await;
    let ground = ground.with_an_empty_log();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 0");
    assert_eq!(house.publish(numbered(7, 0), &["another"]).await, "@0");
}

#[tokio::test]
async fn a_checkpoint_ahead_of_the_log_is_not_believed_later_either() {
    let ground = Ground::new().with_os_durability();
    lived_in(&ground).await.close().await;
    let ground = ground.with_an_empty_log();
    let house = ground.open(counting(1, "a")).await;
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    for number in 0..20 {
        house.publish(numbered(7, number), &["another"]).await;
    }
    house.crash().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 20");
    assert_eq!(house.publish(numbered(7, 19), &["another"]).await, "@19 again");
}

#[tokio::test]
async fn a_durable_log_shorter_than_its_checkpoint_is_refused() {
    let ground = Ground::new();
    lived_in(&ground).await.close().await;
    let end = ground.after_a_crash();
    let position = end.log.tail().borrow().position;
    let ground = end.with_an_empty_log();
    for _ in 0..2 {
        let error = ground.try_open(counting(1, "a")).await.map(drop).unwrap_err();
        let sentence = format!(
            "positions 1 to {position} were durable and are missing at the end of the log: \
             restore the log from a copy; if this directory is a copy taken while a broker ran, or \
             the log was put back to an older state on purpose, delete views/ and start again"
        );
        assert_eq!(error.to_string(), sentence);
        assert_eq!(ground.log.tail().borrow().position, Position(1), "nothing was written");
    }
    let ground = ground.without_checkpoints();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(numbered(7, 0), &["one"]).await, "@0", "the operator has decided");
}

#[tokio::test]
async fn a_day_does_not_open_again_when_the_clock_is_set_back_across_a_restart() {
    let ground = Ground::new();
    let noon = 10 * DAY_MS + DAY_MS / 2;
    ground.clock_ms.store(noon, Ordering::Relaxed);
    let house = ground.open(daily(1)).await;
    let told = house.publish(numbered(7, 0), &["a", "b", "c", "d"]).await;
    assert_eq!(told, "@0, @1, @2, limit 3");
    house.crash().await;
    let mut ground = ground.after_a_crash().without_checkpoints();
    for (restart, clock) in [noon - DAY_MS, noon - 10 * DAY_MS, noon].into_iter().enumerate() {
        ground.clock_ms.store(clock, Ordering::Relaxed);
        let house = ground.open(daily(1)).await;
        let told = house.publish(numbered(7, 4 + restart as u32), &["e"]).await;
        assert_eq!(told, "limit 3", "with the clock at {clock}");
        assert_eq!(house.snapshot().time.0, noon);
        assert_eq!(ordinals(&house, 0).await, [0], "one notice a day");
        house.close().await;
        ground = ground.after_a_crash();
    }
    ground.clock_ms.store(noon + DAY_MS, Ordering::Relaxed);
    let house = ground.open(daily(1)).await;
    assert_eq!(house.publish(numbered(7, 7), &["f"]).await, "@3", "the next day does");
}

#[tokio::test]
async fn a_partition_opened_at_a_full_disk_serves_readers_and_records_the_chain_later() {
    let ground = Ground::new();
    lived_in(&ground).await.close().await;
    let ground = ground.after_a_crash();
    ground.log.set_full(true);
    let house = ground.open(counting(5, "b")).await;
    assert_eq!(ground.stored().await.len(), 4, "readers are served");
    assert_eq!(ordinals(&house, 1).await, [1]);
    assert_eq!(house.publish(numbered(8, 1), &["one"]).await, "storage-full");
    let change = soon(house.partition.change_chain(counting(6, "c"), Bytes::new())).await;
    assert_eq!(change.unwrap_err().code.as_str(), "storage-full");
    assert_eq!((house.snapshot().chain.0, house.snapshot().stopped), (1, None));

    // Room for the question, none for the answer.
    ground.log.set_full(false);
    ground.log.refuse_next_group();
    assert_eq!(house.publish(numbered(8, 1), &["one"]).await, "storage-full");
    assert_eq!(house.publish(numbered(8, 1), &["one"]).await, "@4");
    assert_eq!(ground.stored().await[4], "one c7", "by the catalog's last chain");
    assert_eq!(house.snapshot().chain.0, 6);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_waited_for_room_is_recorded_though_nobody_publishes() {
    let ground = Ground::new();
    lived_in(&ground).await.close().await;
    let ground = ground.after_a_crash();
    ground.log.set_full(true);
    let house = ground.open(counting(5, "b")).await;
    ground.log.set_full(false);
    let mut snapshot = house.partition.snapshot();
    let recorded = async { snapshot.wait_for(|now| now.chain.0 == 5).await.map(drop) };
    tokio::time::timeout(Duration::from_secs(11), recorded).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_partition_behind_the_catalog_records_the_chain_when_it_is_opened() {
    let ground = Ground::new();
    lived_in(&ground).await.close().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(5, "b")).await;
    let answer = house.submit(unnumbered(), &["judged by b"]).await.answer().await.unwrap();
    assert_eq!((answer.first_offset.0, answer.chain.0), (4, 5));
    let changes: Vec<_> = ground
        .commits()
        .await
        .into_iter()
        .filter(|commit| commit.kind == Kind::Chain)
        .map(|commit| {
            let note: serde_json::Value = serde_json::from_slice(&commit.note).unwrap();
            let since = &note["since"]["counting"];
            let [revision, version, offset] =
                [&note["revision"], &since["version"], &since["offset"]]
                    .map(|number| number.as_u64().unwrap());
            assert_eq!((commit.chain.0, commit.first_offset.0), (revision, offset));
            (version, offset)
        })
        .collect();
    assert_eq!(changes, [(1, 0), (5, 4)], "recorded once each, where they took effect");
    assert_eq!(ground.stored().await[4], "judged by b b7", "the state goes on");
}

#[tokio::test]
async fn a_catalog_older_than_the_log_is_not_believed() {
    let ground = Ground::new();
    ground.open(counting(3, "c")).await.close().await;
    let ground = ground.after_a_crash();
    let error = ground.try_open(counting(2, "b")).await.map(drop).unwrap_err();
    assert_eq!(error.to_string(), "chain 3 was at work here, and the catalog knows only of 2");
}

#[tokio::test]
async fn opening_with_the_same_chain_records_nothing() {
    let ground = Ground::new();
    lived_in(&ground).await.close().await;
    let ground = ground.after_a_crash();
    let commits = ground.commits().await.len();
    let house = ground.open(counting(1, "a")).await;
    house.all_is_appended().await;
    assert_eq!(ground.commits().await.len(), commits);
}

async fn kinds(ground: &Ground) -> Vec<Kind> {
    let commits = ground.log.read(Position(0), usize::MAX).await.unwrap();
    commits.iter().map(|stored| stored.commit.kind).collect()
}

#[tokio::test]
async fn closing_leaves_one_proof_behind_the_last_events_and_none_without_news() {
    let ground = Ground::new();
    let house = lived_in(&ground).await;
    house.partition.close().await;
    let ground = ground.after_a_crash();
    let proven = kinds(&ground).await;
    assert_eq!(proven[proven.len() - 2..], [Kind::Batch, Kind::Mark]);

    ground.open(counting(1, "a")).await.partition.close().await;
    let ground = ground.after_a_crash();
    assert_eq!(kinds(&ground).await, proven, "nothing new to prove");
}
