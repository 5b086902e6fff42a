//! A chain changes between two batches, at the offset that is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::watch;
use weir_partition::Snapshot;
use weir_wire::ids::Offset;

use crate::counting::counting;
use crate::house::{Ground, Waiting, batch, numbered, soon, unnumbered};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_event_is_judged_by_the_wrong_chain() {
    const PUBLISHERS: u64 = 8;
    const MARKS: [&str; 5] = ["a", "b", "c", "d", "e"];
    let ground = Ground::new();
    let house = Arc::new(ground.open(counting(1, MARKS[0])).await);
    let enough = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = (1..=PUBLISHERS)
        .map(|id| {
            let (door, enough) = (house.partition.clone(), Arc::clone(&enough));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for number in (0..).take_while(|_| !enough.load(Ordering::Relaxed)) {
                    let sent = batch(numbered(id, number * 3), &["x", "y", "z"]);
                    let pending = door.submit(sent).await.unwrap();
                    answers.push(Waiting::new(pending).answer().await.unwrap());
                }
                answers
            })
        })
        .collect();
    let mut since = vec![Offset(0)];
    let mut snapshot = house.partition.snapshot();
    for (revision, mark) in (2..).zip(&MARKS[1..]) {
        a_few_more(&mut snapshot).await;
        let changed = house.partition.change_chain(counting(revision, mark), Bytes::new());
        since.push(soon(changed).await.unwrap());
    }
    a_few_more(&mut snapshot).await;
    enough.store(true, Ordering::Relaxed);
    let mut answers = Vec::new();
    for publisher in publishers {
        answers.extend(soon(publisher).await.unwrap());
    }
    let stored = ground.stored().await;
    assert_eq!(stored.len(), answers.len() * 3);
    let chain_at = |offset: Offset| since.iter().filter(|first| **first <= offset).count();
    for (offset, value) in (0..).map(Offset).zip(&stored) {
        let mark = MARKS[chain_at(offset) - 1];
        let expected = format!("{mark}{}", offset.0 + 1);
        assert_eq!(value.split(' ').nth(1), Some(expected.as_str()), "offset {offset}: {since:?}");
    }
    for answer in answers {
        assert_eq!(answer.chain.0 as usize, chain_at(answer.first_offset), "{since:?}");
    }
}

/// Events are accepted meanwhile.
async fn a_few_more(snapshot: &mut watch::Receiver<Snapshot>) {
    let seen = snapshot.borrow().counts.accepted;
    soon(snapshot.wait_for(|now| now.counts.accepted > seen + 50)).await.unwrap();
}

#[tokio::test]
async fn a_change_is_answered_when_it_is_durable() {
    let ground = Ground::new();
    let house = ground.open(counting(1, "a")).await;
    house.publish(unnumbered(), &["one", "two"]).await;
    ground.log.hold_durability();
    let door = house.partition.clone();
    let change =
        tokio::spawn(async move { door.change_chain(counting(2, "b"), Bytes::new()).await });
    let mut snapshot = house.partition.snapshot();
    soon(snapshot.wait_for(|now| now.chain.0 == 2)).await.unwrap();
    let mut three = house.submit(unnumbered(), &["three"]).await;
    house.all_is_appended().await;
    three.is_still_waiting();
    assert!(!change.is_finished());
    ground.log.release_durability();
    assert_eq!(soon(change).await.unwrap(), Ok(Offset(2)));
    assert_eq!(three.answer().await.unwrap().chain.0, 2);
    assert_eq!(ground.stored().await, ["one a1", "two a2", "three b3"]);
}

#[tokio::test]
async fn a_chain_older_than_the_one_at_work_is_refused_and_harms_nobody() {
    let ground = Ground::new();
    let house = ground.open(counting(3, "c")).await;
    let change = soon(house.partition.change_chain(counting(2, "b"), Bytes::new())).await;
    assert_eq!(change.unwrap_err().code.as_str(), "invalid-request");
    house.publish(unnumbered(), &["one"]).await;
    assert_eq!(ground.stored().await, ["one c1"]);
}
