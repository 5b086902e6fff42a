//! What a consumer promises, against a broker of paper that cuts connections on command.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::FakeBroker;
use weir_client::{ClientError, Consumer, ConsumerOptions, Event, From};
use weir_wire::ids::{GroupName, Offset, PartitionId, Timestamp};

async fn open(broker: &FakeBroker, options: ConsumerOptions) -> Consumer {
    broker.client().await.consumer(&broker.topic(), options).await.unwrap()
}

fn group() -> Option<GroupName> {
    Some(GroupName::parse("readers").unwrap())
}

fn until_end(from: From) -> ConsumerOptions {
    ConsumerOptions { from, until_end: true, group: group(), ..ConsumerOptions::default() }
}

/// `partition/offset value` of the next `count` events, or of all until the end.
async fn take(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    while words.len() < count
        && let Some(next) = consumer.next().await
    {
        let next = next.unwrap();
        let value = String::from_utf8(next.event.value.unwrap().to_vec()).unwrap();
        words.push(format!("{}/{} {value}", next.partition, next.offset));
    }
    words
}

#[tokio::test]
async fn until_end_reads_what_is_there_and_ends() {
    let broker = FakeBroker::start(3).await;
    broker.fill(0, &["a", "b"]);
    broker.fill(2, &["c"]);
    broker.fill(0, &["d"]);
    let mut consumer = open(&broker, until_end(From::Earliest)).await;
    let mut words = take(&mut consumer, usize::MAX).await;
    words.sort();
    assert_eq!(words, ["0/0 a", "0/1 b", "0/2 d", "2/0 c"]);
    assert!(consumer.next().await.is_none());
}

#[tokio::test]
async fn an_empty_topic_has_its_end_at_once() {
    let broker = FakeBroker::start(2).await;
    assert!(open(&broker, until_end(From::Earliest)).await.next().await.is_none());
}

#[tokio::test]
async fn reading_begins_where_it_was_told_even_inside_a_batch() {
    let broker = FakeBroker::start(1).await;
    let timed = |millis: u64| Event {
        timestamp: Timestamp(millis),
        value: Some(millis.to_string().into()),
        ..Event::default()
    };
    broker.shelf().append(0, vec![timed(10), timed(20), timed(30)]);
    for (from, words) in [
        (From::Offset(Offset(1)), vec!["0/1 20", "0/2 30"]),
        (From::Time(Timestamp(25)), vec!["0/2 30"]),
        (From::Latest, vec![]),
        (From::Earliest, vec!["0/0 10", "0/1 20", "0/2 30"]),
    ] {
        let mut consumer = open(&broker, until_end(from)).await;
        assert_eq!(take(&mut consumer, usize::MAX).await, words, "{from:?}");
    }
}

#[tokio::test]
async fn the_tail_is_followed() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a"]);
    let mut consumer = open(&broker, ConsumerOptions::default()).await;
    assert_eq!(take(&mut consumer, 1).await, ["0/0 a"]);
    broker.fill(0, &["b", "c"]);
    assert_eq!(take(&mut consumer, 2).await, ["0/1 b", "0/2 c"]);
}

#[tokio::test]
async fn a_cut_connection_costs_no_event_and_doubles_none() {
    let broker = FakeBroker::start(1).await;
    for batch in [["a", "b"], ["c", "d"], ["e", "f"]] {
        broker.fill(0, &batch);
    }
    broker.cut_subscriptions_after([1, 0, 1]);
    let mut consumer = open(&broker, until_end(From::Earliest)).await;
    let words = take(&mut consumer, usize::MAX).await;
    assert_eq!(words, ["0/0 a", "0/1 b", "0/2 c", "0/3 d", "0/4 e", "0/5 f"]);
    assert_eq!(broker.hellos(), 4, "one connection, and one after each cut");
}

#[tokio::test]
async fn a_group_goes_on_behind_what_it_committed() {
    let broker = FakeBroker::start(2).await;
    broker.fill(0, &["a", "b", "c"]);
    let mut first = open(&broker, until_end(From::Committed)).await;
    assert_eq!(take(&mut first, 2).await, ["0/0 a", "0/1 b"]);
    first.commit().await.unwrap();
    assert_eq!(broker.shelf().committed.get(&0), Some(&2));
    first.close().await.unwrap();
    broker.fill(1, &["d"]);
    let mut second = open(&broker, until_end(From::Committed)).await;
    let mut words = take(&mut second, usize::MAX).await;
    words.sort();
    assert_eq!(words, ["0/2 c", "1/0 d"]);
}

#[tokio::test]
async fn batches_and_single_events_can_be_mixed() {
    let broker = FakeBroker::start(1).await;
    broker.fill(0, &["a", "b", "c"]);
    broker.fill(0, &["d"]);
    let mut consumer = open(&broker, until_end(From::Earliest)).await;
    assert_eq!(take(&mut consumer, 1).await, ["0/0 a"]);
    let rest = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!((rest.events.len(), rest.next_offset), (2, Offset(3)));
    let last = consumer.next_batch().await.unwrap().unwrap();
    assert_eq!(
        (last.events.len(), last.next_offset, last.high_watermark),
        (1, Offset(4), Offset(4))
    );
    assert_eq!(consumer.positions().collect::<Vec<_>>(), [(PartitionId(0), Offset(4))]);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_when_opening() {
    let broker = FakeBroker::start(1).await;
    let client = broker.client().await;
    let wrong =
        ConsumerOptions { partitions: Some(vec![PartitionId(1)]), ..ConsumerOptions::default() };
    let error = client.consumer(&broker.topic(), wrong).await.unwrap_err();
    assert!(error.to_string().contains("partitions 0 to 0, not 1"), "{error}");
    let groupless = ConsumerOptions { from: From::Committed, ..ConsumerOptions::default() };
    let error = client.consumer(&broker.topic(), groupless).await.unwrap_err();
    assert!(matches!(error, ClientError::Config(_)), "{error}");
}
