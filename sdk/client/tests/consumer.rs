//! What a consumer promises, against a broker of paper that cuts connections on command.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use fake::FakeBroker;
use weir_client::{ClientError, Consumer, ConsumerOptions, From, OnMissing, Until};
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
    broker.fill_timed(0, &[10, 20, 30]);
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

#[tokio::test]
async fn reading_ends_where_it_was_told_even_inside_a_batch() {
    let broker = FakeBroker::start(2).await;
    broker.fill_timed(0, &[10, 20, 30]);
    broker.fill_timed(1, &[15]);
    for (until, words) in [
        (Until::Offset(Offset(2)), vec!["0/0 10", "0/1 20", "1/0 15"]),
        (Until::Offset(Offset(0)), vec![]),
        (Until::Time(Timestamp(20)), vec!["0/0 10", "1/0 15"]),
        (Until::Time(Timestamp(99)), vec!["0/0 10", "0/1 20", "0/2 30", "1/0 15"]),
    ] {
        let options = ConsumerOptions { until: Some(until), ..ConsumerOptions::default() };
        let mut consumer = open(&broker, options).await;
        let mut read = take(&mut consumer, usize::MAX).await;
        read.sort();
        assert_eq!(read, words, "{until:?}");
    }
    // What is behind the end is for others: no commit passes it.
    let until = Some(Until::Offset(Offset(1)));
    let options =
        ConsumerOptions { from: From::Committed, until, group: group(), ..Default::default() };
    let mut consumer = open(&broker, options).await;
    take(&mut consumer, usize::MAX).await;
    consumer.commit().await.unwrap();
    assert_eq!(broker.shelf().committed.get(&0), Some(&1));
}

/// Offsets 0 to 3 are gone, 4 and 5 are there.
async fn trimmed() -> FakeBroker {
    let broker = FakeBroker::start(1).await;
    for batch in [["a", "b"], ["c", "d"], ["e", "f"]] {
        broker.fill(0, &batch);
    }
    broker.shelf().trim(0, 4);
    broker
}

#[tokio::test]
async fn what_retention_removed_is_an_error_or_passed_over_and_counted() {
    let broker = trimmed().await;
    let from = From::Offset(Offset(1));
    let read = async |from, on_missing| {
        let options = ConsumerOptions { on_missing, ..until_end(from) };
        let mut consumer = open(&broker, options).await;
        let mut words = Vec::new();
        while let Some(next) = consumer.next().await {
            words.push(match next {
                Ok(next) => next.offset.to_string(),
                Err(ClientError::Fault(fault)) => fault.code.to_string(),
                Err(other) => panic!("{other}"),
            });
        }
        (words.join(" "), consumer.skipped())
    };
    let (earliest, latest) = (Some(OnMissing::Earliest), Some(OnMissing::Latest));
    assert_eq!(read(from, None).await, ("offset-out-of-range".to_owned(), 0));
    assert_eq!(read(from, earliest).await, ("4 5".to_owned(), 3));
    assert_eq!(read(from, latest).await, (String::new(), 5));
    assert_eq!(read(From::Earliest, None).await, ("4 5".to_owned(), 0));
    // A group that was away for too long goes on, unless it wants to know.
    broker.shelf().committed.insert(0, 2);
    assert_eq!(read(From::Committed, None).await, ("4 5".to_owned(), 2));
    let told = read(From::Committed, Some(OnMissing::Error)).await;
    assert_eq!(told, ("offset-out-of-range".to_owned(), 0));
}

#[tokio::test]
async fn what_never_was_is_an_error_whatever_the_options_say() {
    let broker = trimmed().await;
    let options = ConsumerOptions {
        from: From::Offset(Offset(99)),
        on_missing: Some(OnMissing::Earliest),
        ..ConsumerOptions::default()
    };
    let error = open(&broker, options).await.next().await.unwrap().unwrap_err();
    assert!(error.to_string().contains("offset 99 is not there: 4 to 6 is"), "{error}");
}
