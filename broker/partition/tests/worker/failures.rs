//! A log that breaks, a disk that is full, another owner, a defect: nobody waits for ever, and
//! nobody hears "accepted" of what may be gone.

use bytes::Bytes;
use weir_log::commit::{Kind, StateChanges};
use weir_log::{Commit, PartitionLog};
use weir_wire::ids::{ChainRevision, Offset, Position, Timestamp};
use weir_wire::verdict::Verdicts;

use crate::counting::{ASK, DEFECT, EMIT, counting};
use crate::house::{Ground, House, batch, numbered, soon, unnumbered};

/// Two attempts and a retry wait; then the log is broken.
async fn breaks(break_log: impl AsyncFnOnce(&Ground, &House)) {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(numbered(7, 0), &["durable"]).await, "@0");
    ground.log.hold_durability();
    let one = house.submit(numbered(7, 1), &["one"]).await;
    let retry = house.submit(numbered(7, 1), &["one"]).await;
    let old_retry = house.submit(numbered(7, 0), &["durable"]).await;
    house.all_is_appended().await;
    break_log(&ground, &house).await;
    assert_eq!(one.told().await, "storage-broken");
    assert_eq!(retry.told().await, "storage-broken");
    assert_eq!(old_retry.told().await, "@0 again", "what is durable can be told");

    assert_eq!(house.publish(numbered(7, 1), &["one"]).await, "storage-broken");
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "storage-broken");
    let change = soon(house.partition.change_chain(counting(2, "b"), Bytes::new())).await;
    assert_eq!(change.unwrap_err().code.as_str(), "storage-broken");
    assert_eq!(house.snapshot().stopped.unwrap().code.as_str(), "storage-broken");
    assert_eq!(ground.stored().await, ["durable a1"], "readers go on");
    house.close().await;

    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 1");
    assert_eq!(house.publish(numbered(7, 1), &["one"]).await, "@1", "judged anew, counted once");
    assert_eq!(ground.stored().await, ["durable a1", "one a2"]);
}

#[tokio::test]
async fn after_a_failed_append_every_waiting_publisher_hears_storage_broken() {
    breaks(async |ground, house| {
        ground.log.fail_next_append();
        // The first append of all is the question whether there is room.
        assert_eq!(house.publish(numbered(8, 0), &["two"]).await, "storage-broken");
    })
    .await;
}

#[tokio::test]
async fn after_a_failed_sync_every_waiting_publisher_hears_storage_broken() {
    breaks(async |ground, _| {
        ground.log.fail_next_sync();
        ground.log.release_durability();
    })
    .await;
}

#[tokio::test]
async fn an_owner_who_was_overtaken_stops_and_lets_nobody_wait() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["durable"]).await;
    let next = ground.log.tail().borrow().position;
    ground.log.append(next, vec![mark()]).await.unwrap();
    let one = house.submit(numbered(7, 1), &["one"]).await;
    let retry = house.submit(numbered(7, 1), &["one"]).await;
    assert_eq!(one.told().await, "storage-broken");
    assert_eq!(retry.told().await, "storage-broken");
    assert_eq!(ground.stored().await, ["durable a1"]);
}

/// Another owner's commit.
fn mark() -> Commit {
    Commit {
        kind: Kind::Mark,
        time: Timestamp(1_000),
        chain: ChainRevision(1),
        first_offset: Offset(1),
        events: 0,
        max_timestamp: Timestamp(0),
        producer: None,
        consumed: None,
        relayed: 0,
        verdicts: Verdicts::default(),
        keyspaces: Vec::new(),
        state: StateChanges::default(),
        outbox: Vec::new(),
        note: Bytes::new(),
        data: Bytes::new(),
    }
}

#[tokio::test]
async fn a_full_disk_refuses_before_judging_and_accepts_again_when_there_is_room() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one"]).await;
    ground.log.set_full(true);
    let fault = house.submit(numbered(7, 1), &["two"]).await.answer().await.unwrap_err();
    assert_eq!(fault.code.as_str(), "storage-full");
    assert!(fault.retry_after_ms.is_some());
    let change = soon(house.partition.change_chain(counting(2, "b"), Bytes::new())).await;
    assert_eq!(change.unwrap_err().code.as_str(), "storage-full");
    assert_eq!(house.snapshot().stopped, None);
    assert_eq!(ground.stored().await, ["one a1"], "readers go on");
    ground.log.set_full(false);
    assert_eq!(house.publish(numbered(7, 1), &["two"]).await, "@1");
    assert_eq!(ground.stored().await, ["one a1", "two a2"], "the refused attempt was not counted");
}

/// Two batches wait to become durable, then a group of a batch, its retry, a side event, a chain and
/// a question finds no room although there was some when it was asked for.
#[tokio::test]
async fn a_judged_group_without_room_is_taken_back_and_the_partition_goes_on() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(numbered(7, 0), &["durable"]).await, "@0");
    ground.log.hold_durability();
    let appended = house.submit(numbered(7, 1), &["appended", EMIT]).await;
    house.all_is_appended().await;
    house.all_is_appended().await;

    ground.log.refuse_next_group();
    let lost = house.submit(numbered(7, 3), &["lost", EMIT]).await;
    let lost_retry = house.submit(numbered(7, 3), &["lost", EMIT]).await;
    let retry = house.submit(numbered(7, 0), &["durable"]).await;
    let retry_of_appended = house.submit(numbered(7, 1), &["appended", EMIT]).await;
    let asked = house.submit(unnumbered(), &[ASK]).await;
    let door = house.partition.clone();
    let change =
        tokio::spawn(async move { door.change_chain(counting(2, "b"), Bytes::new()).await });
    while ground.log.refuses_next_group() {
        tokio::task::yield_now().await;
    }
    ground.log.release_durability();
    assert_eq!(appended.told().await, "@1, @2", "what was stored before is not touched");
    for told in [lost.told().await, lost_retry.told().await, asked.told().await] {
        assert_eq!(told, "storage-full");
    }
    assert_eq!(retry.told().await, "@0 again");
    assert_eq!(retry_of_appended.told().await, "@1, @2 again");
    // The change may have come a group later: then it is made.
    let changed = soon(change).await.unwrap().is_ok();
    assert_eq!((house.snapshot().stopped, house.snapshot().counts.accepted), (None, 3));

    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 3", "counted once");
    assert_eq!(house.publish(numbered(7, 3), &["lost", EMIT]).await, "@3, @4");
    let mark = if changed { "b" } else { "a" };
    let stored = ground.stored().await;
    assert_eq!(stored[3..], [format!("lost {mark}4"), format!("emit {mark}5")]);
    let side_events = house.partition.outbox(0).await.unwrap();
    assert_eq!(side_events.iter().map(|side| side.ordinal).collect::<Vec<_>>(), [0, 1]);
    house.close().await;

    let ground = ground.after_a_crash();
    let house = ground.open(counting(2, "b")).await;
    assert_eq!(house.publish(unnumbered(), &[ASK]).await, "asked 5", "the checkpoint is right too");
}

#[tokio::test]
async fn a_chain_change_without_room_leaves_the_old_chain_at_work() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["one"]).await;
    ground.log.refuse_next_group();
    let change = soon(house.partition.change_chain(counting(2, "b"), Bytes::new())).await;
    assert_eq!(change.unwrap_err().code.as_str(), "storage-full");
    assert_eq!(house.snapshot().chain.0, 1);
    assert_eq!(house.publish(numbered(7, 1), &["two"]).await, "@1");
    let change = soon(house.partition.change_chain(counting(2, "b"), Bytes::new())).await;
    assert_eq!(change, Ok(Offset(2)), "the same change again");
    assert_eq!(house.publish(numbered(7, 2), &["three"]).await, "@2");
    assert_eq!(ground.stored().await, ["one a1", "two a2", "three b3"]);
}

#[tokio::test]
async fn a_log_that_breaks_while_a_group_is_taken_back_stops_the_partition() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    ground.log.hold_durability();
    let appended = house.submit(numbered(7, 0), &["appended"]).await;
    house.all_is_appended().await;
    house.all_is_appended().await;
    ground.log.refuse_next_group();
    let lost = house.submit(numbered(7, 1), &["lost"]).await;
    while ground.log.refuses_next_group() {
        tokio::task::yield_now().await;
    }
    ground.log.fail_next_sync();
    ground.log.release_durability();
    assert_eq!(appended.told().await, "storage-broken");
    assert_eq!(lost.told().await, "storage-broken");
    assert_eq!(house.publish(numbered(7, 0), &["appended"]).await, "storage-broken");
    house.close().await;
    let ground = ground.after_a_crash();
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(numbered(7, 0), &["appended"]).await, "@0");
}

#[tokio::test]
async fn closing_at_a_full_disk_answers_what_was_taken() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &[EMIT]).await;
    ground.log.hold_durability();
    let waiting = house.submit(numbered(7, 0), &["one"]).await;
    house.partition.relayed(1).await;
    house.all_is_appended().await;
    ground.log.set_full(true);
    house.close().await;
    assert_eq!(waiting.told().await, "@1");
}

#[tokio::test]
async fn a_worker_that_falls_over_a_defect_says_so() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(numbered(7, 0), &["durable"]).await;
    ground.log.hold_durability();
    let waiting = house.submit(numbered(7, 1), &["one"]).await;
    house.all_is_appended().await;
    let cause = house.submit(unnumbered(), &[DEFECT]).await;
    let behind = house.submit(unnumbered(), &["behind"]).await;
    for told in [waiting.told().await, cause.told().await, behind.told().await] {
        assert_eq!(told, "storage-broken");
    }
    let late = house.partition.submit(batch(unnumbered(), &["late"])).await.map(drop);
    assert_eq!(late.unwrap_err().code.as_str(), "storage-broken");
    let change = soon(house.partition.change_chain(counting(2, "b"), Bytes::new())).await;
    assert_eq!(change.unwrap_err().code.as_str(), "storage-broken");
    let stopped = house.snapshot().stopped.unwrap();
    assert!(stopped.message.contains("a defect of the broker"), "{stopped}");
    assert!(house.has_panicked().await);

    let ground = ground.after_a_crash();
    assert_eq!(ground.log.tail().borrow().position, Position(3), "OPEN, the chain and one batch");
    let house = ground.open(counting(1, "a")).await;
    assert_eq!(house.publish(numbered(7, 1), &["one"]).await, "@1");
}
