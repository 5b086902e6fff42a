//! What is committed for a group, when, and what never is; against a broker of paper.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::FakeBroker;
use futures::StreamExt;
use weir_client::{ClientError, Consumer, ConsumerOptions, From};
use weir_wire::ids::{GroupName, Offset, PartitionId};

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(3_600);
/// As soon as may be.
const SOON: Duration = Duration::from_millis(10);

async fn open(broker: &FakeBroker, auto_commit: Option<Duration>) -> Consumer {
    let options = ConsumerOptions {
        from: From::Committed,
        group: Some(GroupName::parse("readers").unwrap()),
        auto_commit,
        ..ConsumerOptions::default()
    };
    broker.client().await.consumer(&broker.topic(), options).await.unwrap()
}

/// Returns when the group has come so far in partition 0.
async fn committed(broker: &FakeBroker, offset: u64) {
    let patience = Duration::from_secs(30);
    let comes = async {
        while broker.shelf().committed.get(&0) != Some(&offset) {
            tokio::task::yield_now().await;
        }
    };
    let commits = || broker.shelf().commits.clone();
    tokio::time::timeout(patience, comes).await.unwrap_or_else(|_| panic!("{:?}", commits()));
}

#[tokio::test]
async fn automatic_commits_stop_before_what_is_in_hand() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a", "b", "c"]);
    let mut consumer = open(&broker, Some(SOON)).await;
    for _ in 0..2 {
        consumer.next().await.unwrap().unwrap();
    }
    committed(&broker, 1).await;
    // To wait for more is to be finished with what there was.
    consumer.next().await.unwrap().unwrap();
    assert!(tokio::time::timeout(SOON, consumer.next()).await.is_err());
    committed(&broker, 3).await;
    let commits = broker.shelf().commits.clone();
    assert!(commits.is_sorted(), "{commits:?}");
}

#[tokio::test]
async fn a_close_commits_what_is_finished_and_a_drop_nothing() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a", "b", "c", "d"]);
    let mut consumer = open(&broker, Some(NEVER)).await;
    for _ in 0..3 {
        consumer.next().await.unwrap().unwrap();
    }
    consumer.close().await.unwrap();
    assert_eq!(broker.shelf().commits, [(0, 2)], "the third is in hand");

    let mut consumer = open(&broker, Some(NEVER)).await;
    for value in ["c", "d"] {
        let event = consumer.next().await.unwrap().unwrap().event;
        assert_eq!(event.value.unwrap(), value);
    }
    drop(consumer);
    // Without automatic commits a close commits nothing either.
    let mut consumer = open(&broker, None).await;
    for value in ["c", "d"] {
        let event = consumer.next().await.unwrap().unwrap().event;
        assert_eq!(event.value.unwrap(), value);
    }
    consumer.close().await.unwrap();
    assert_eq!(broker.shelf().commits, [(0, 2)]);
}

#[tokio::test]
async fn work_that_ends_out_of_order_is_committed_as_far_as_it_is_whole() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a", "b", "c", "d"]);
    let mut consumer = open(&broker, None).await;
    let mut receipts = Vec::new();
    for _ in 0..4 {
        receipts.push(consumer.next_tracked().await.unwrap().unwrap().1);
    }
    let [a, b, c, d] = receipts.try_into().unwrap();
    assert_eq!((c.partition(), c.offset()), (PartitionId(0), Offset(2)));
    c.done();
    consumer.commit().await.unwrap();
    assert!(broker.shelf().commits.is_empty());
    a.done();
    consumer.commit().await.unwrap();
    b.done();
    consumer.commit().await.unwrap();
    // Thrown away: the group comes no further.
    drop(d);
    consumer.commit().await.unwrap();
    assert_eq!(broker.shelf().commits, [(0, 1), (0, 3)]);
    // Unless somebody knows better.
    consumer.commit_offsets(&[(PartitionId(0), Offset(4))]).await.unwrap();
    assert_eq!(broker.shelf().commits, [(0, 1), (0, 3), (0, 4)]);
    let error = consumer.commit_offsets(&[(PartitionId(0), Offset(5))]).await.unwrap_err();
    assert!(error.to_string().contains("offset 5 of partition 0 cannot be committed"), "{error}");
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn several_at_a_time_are_all_committed_in_the_end() {
    let broker = FakeBroker::start(3).await;
    for partition in 0..3 {
        broker.fill(partition, &["a", "b", "c", "d", "e"]);
    }
    let mut consumer = open(&broker, Some(SOON)).await;
    let work = consumer.tracked().take(15).for_each_concurrent(4, |next| async {
        let (event, receipt) = next.unwrap();
        // Later ones are done first.
        for _ in event.offset.0..5 {
            tokio::task::yield_now().await;
        }
        receipt.done();
    });
    work.await;
    consumer.close().await.unwrap();
    let shelf = broker.shelf();
    assert_eq!((0..3).map(|at| shelf.committed[&at]).collect::<Vec<_>>(), [5, 5, 5]);
    for partition in 0..3 {
        let offsets = shelf.commits.iter().filter(|(of, _)| *of == partition);
        assert!(offsets.is_sorted(), "{:?}", shelf.commits);
    }
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_made_all_the_same() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a"]);
    let mut consumer = open(&broker, None).await;
    consumer.next().await.unwrap().unwrap();
    {
        let mut commit = std::pin::pin!(consumer.commit());
        assert!(futures::poll!(commit.as_mut()).is_pending());
    }
    committed(&broker, 1).await;
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn commits_need_a_group_and_a_reasonable_interval() {
    let broker = FakeBroker::start(1).await;
    let client = broker.client().await;
    let group = Some(GroupName::parse("readers").unwrap());
    for (options, says) in [
        (ConsumerOptions { auto_commit: Some(NEVER), ..Default::default() }, "need a group"),
        (
            ConsumerOptions { group, auto_commit: Some(Duration::ZERO), ..Default::default() },
            "10 ms or more",
        ),
    ] {
        let error = client.consumer(&broker.topic(), options).await.unwrap_err();
        assert!(matches!(&error, ClientError::Config(told) if told.contains(says)), "{error}");
    }
    let mut alone = client.consumer(&broker.topic(), ConsumerOptions::default()).await.unwrap();
    assert!(matches!(alone.commit().await, Err(ClientError::Config(_))));
}
