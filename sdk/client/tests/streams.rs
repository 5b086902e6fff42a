//! A consumer as streams, against a broker of paper.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::FakeBroker;
use futures::{FutureExt, StreamExt, TryStreamExt};
use weir_client::{Client, ConsumerOptions, Event, MergedByTime, TypedError};

fn until_end() -> ConsumerOptions {
    ConsumerOptions { until_end: true, ..ConsumerOptions::default() }
}

#[tokio::test]
async fn a_consumer_is_a_stream_of_events_and_of_batches() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a", "b"]);
    broker.fill(0, &["c"]);
    let client = broker.client().await;
    let consumer = client.consumer(&broker.topic(), until_end()).await.unwrap();
    let values: Vec<_> = consumer
        .map_ok(|consumed| String::from_utf8(consumed.event.value.unwrap().to_vec()).unwrap())
        .try_collect()
        .await
        .unwrap();
    assert_eq!(values, ["a", "b", "c"]);

    let mut consumer = client.consumer(&broker.topic(), until_end()).await.unwrap();
    let sizes: Vec<_> =
        consumer.batches().map_ok(|batch| batch.events.len()).try_collect().await.unwrap();
    assert_eq!(sizes, [2, 1]);
    assert!(consumer.next().await.is_none());
}

#[tokio::test]
async fn a_value_that_does_not_decode_ends_nothing() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["1", "one", "2"]);
    let client = broker.client().await;
    let consumer = client.consumer(&broker.topic(), until_end()).await.unwrap();
    let mut numbers = consumer.typed::<u32>();
    assert_eq!(numbers.next().await.unwrap().unwrap().value, 1);
    let wrong = match numbers.next().await.unwrap().unwrap_err() {
        TypedError::Undecodable(wrong) => wrong,
        other => panic!("{other}"),
    };
    let place = (wrong.event.partition.0, wrong.event.offset.0);
    assert_eq!((place, wrong.event.topic.as_str()), ((0, 1), fake::TOPIC));
    // It is kept elsewhere, as it was.
    let producer = client.producer(&broker.topic(), Default::default()).await.unwrap();
    let kept = producer.send(wrong.dead_letter()).await.unwrap();
    producer.flush().await;
    kept.await.unwrap();
    let rest: Vec<_> = numbers.by_ref().map_ok(|event| event.value).try_collect().await.unwrap();
    assert_eq!(rest, [2]);
    numbers.close().await.unwrap();

    let consumer = client.consumer(&broker.topic(), until_end()).await.unwrap();
    let lengths =
        consumer.decoded(|event: &Event| event.value.as_ref().map(|it| it.len()).ok_or(""));
    let lengths: Vec<_> = lengths.map_ok(|event| event.value).try_collect().await.unwrap();
    assert_eq!(lengths, [1, 3, 1, 3]);
}

/// Half an hour: what does not depend on it does not wait for it.
const PATIENCE: Duration = Duration::from_secs(1_800);

async fn by_time(client: &Client, broker: &FakeBroker, options: ConsumerOptions) -> MergedByTime {
    client.merged_by_time(&broker.topic(), options, PATIENCE).await.unwrap()
}

async fn take(merged: &mut MergedByTime, count: usize) -> Vec<String> {
    let word = |next: weir_client::ConsumedEvent| {
        format!("{}/{} @{}", next.partition, next.offset, next.event.timestamp.0)
    };
    merged.take(count).map_ok(word).try_collect().await.unwrap()
}

#[tokio::test]
async fn partitions_are_merged_in_the_order_of_time() {
    let broker = FakeBroker::start(3).await;
    broker.fill_timed(0, &[10, 40]);
    broker.fill_timed(1, &[20, 20, 50]);
    broker.fill_timed(0, &[60]);
    let client = broker.client().await;
    let mut merged = by_time(&client, &broker, until_end()).await;
    let words = take(&mut merged, usize::MAX).await;
    assert_eq!(words, ["0/0 @10", "1/0 @20", "1/1 @20", "0/1 @40", "1/2 @50", "0/2 @60"]);
}

#[tokio::test]
async fn a_merged_tail_is_followed_and_the_silent_waited_for() {
    let broker = FakeBroker::start(2).await;
    broker.fill_timed(0, &[10]);
    broker.fill_timed(1, &[5, 30]);
    let client = broker.client().await;
    let mut merged = by_time(&client, &broker, ConsumerOptions::default()).await;
    assert_eq!(take(&mut merged, 2).await, ["1/0 @5", "0/0 @10"]);
    // Partition 0 may still have something that is earlier.
    assert!(merged.next().now_or_never().is_none());
    broker.fill_timed(0, &[20, 40]);
    assert_eq!(take(&mut merged, 2).await, ["0/1 @20", "1/1 @30"]);

    // The impatient are given what there is.
    let options = ConsumerOptions::default();
    let patience = Duration::from_millis(1);
    let mut merged = client.merged_by_time(&broker.topic(), options, patience).await.unwrap();
    let words = take(&mut merged, 5).await;
    assert_eq!(words.last().unwrap(), "0/2 @40");
}

#[tokio::test]
async fn a_group_has_no_order_of_time() {
    let broker = FakeBroker::start(1).await;
    let group = Some(weir_wire::ids::GroupName::parse("readers").unwrap());
    let options = ConsumerOptions { group, ..ConsumerOptions::default() };
    let client = broker.client().await;
    let error = client.merged_by_time(&broker.topic(), options, PATIENCE).await.unwrap_err();
    assert!(error.to_string().contains("leave the group out"), "{error}");
}
