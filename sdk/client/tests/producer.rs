//! What a producer promises, against a broker of paper that misbehaves on command.
#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::time::Duration;

use fake::{FakeBroker, Misdeed, TOPIC};
use weir_client::{
    ClientError, Compression, Delivery, Event, Header, Outcome, Producer, ProducerOptions, Route,
    Verdict,
};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{PartitionId, TopicName};
use weir_wire::partitioner::partition_for_key;

fn event(value: &str) -> Event {
    Event { value: Some(value.to_owned().into()), ..Event::default() }
}

/// All to one partition, in batches of `batch_events`.
fn to_first(batch_events: usize) -> ProducerOptions {
    ProducerOptions { batch_events, route: Route::To(PartitionId(0)), ..ProducerOptions::default() }
}

async fn open(broker: &FakeBroker, options: ProducerOptions) -> Producer {
    broker.client().await.producer(&broker.topic(), options).await.unwrap()
}

async fn send_all(producer: &Producer, values: &[&str]) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for value in values {
        deliveries.push(producer.send(event(value)).await.unwrap());
    }
    deliveries
}

/// One word per delivery.
async fn outcomes(deliveries: Vec<Delivery>) -> Vec<String> {
    let mut words = Vec::new();
    for delivery in deliveries {
        words.push(match delivery.await {
            Ok(Outcome { verdict: Verdict::Accepted, offset, .. }) => {
                format!("at {}", offset.unwrap())
            }
            Ok(Outcome { verdict: Verdict::Rejected(why), offset: None, .. }) => why.code,
            Ok(Outcome { verdict: Verdict::Dropped { plugin }, offset: None, .. }) => {
                format!("dropped by {plugin}")
            }
            Ok(other) => panic!("{other:?}"),
            Err(ClientError::Fault(fault)) => fault.code.to_string(),
            Err(ClientError::Unknown) => "unknown".to_owned(),
            Err(other) => other.to_string(),
        });
    }
    words
}

#[tokio::test]
async fn every_event_gets_its_own_verdict() {
    let broker = FakeBroker::start(1).await;
    let producer = open(&broker, to_first(100)).await;
    let values = ["a", "no 1", "b", "drop 1", "drop 2", "c"];
    let deliveries = send_all(&producer, &values).await;
    let words = ["at 0", "no", "at 1", "dropped by paper", "dropped by paper", "at 2"];
    assert_eq!(outcomes(deliveries).await, words);
    assert_eq!(broker.shelf().seen.len(), 1, "events that come together travel together");
    assert_eq!(broker.shelf().values(0), ["a", "b", "c"]);
}

#[tokio::test]
async fn events_of_one_key_go_where_kafka_sends_them() {
    let broker = FakeBroker::start(8).await;
    let producer = open(&broker, ProducerOptions::default()).await;
    for key in ["alice", "bob", "carol"] {
        let keyed = Event { key: Some(key.into()), ..event(key) };
        let outcome = producer.send(keyed).await.unwrap().await.unwrap();
        assert_eq!(outcome.partition, partition_for_key(key.as_bytes(), 8));
    }
}

#[tokio::test]
async fn batches_are_full_and_compressed_as_asked() {
    let broker = FakeBroker::start(1).await;
    for compression in Compression::ALL {
        let producer = open(&broker, ProducerOptions { compression, ..to_first(10) }).await;
        let values: Vec<_> = (0..30).map(|number| format!("{compression:?} {number}")).collect();
        let values: Vec<_> = values.iter().map(String::as_str).collect();
        let deliveries = send_all(&producer, &values).await;
        producer.close().await;
        assert!(deliveries.iter().all(|delivery| delivery.try_outcome().unwrap().is_ok()));
        let seen = std::mem::take(&mut broker.shelf().seen);
        assert_eq!(seen.iter().map(|batch| batch.sequence).collect::<Vec<_>>(), [0, 10, 20]);
        assert_eq!(seen.concat_values(), values);
    }
}

trait ConcatValues {
    fn concat_values(&self) -> Vec<String>;
}
impl ConcatValues for Vec<fake::Seen> {
    fn concat_values(&self) -> Vec<String> {
        self.iter().flat_map(|batch| batch.values.clone()).collect()
    }
}

/// Whatever happens to the first batches, each event is judged once and in order.
async fn check_rides_through(misdeeds: &[Misdeed], connections: u32) {
    let broker = FakeBroker::start(1).await;
    broker.script(misdeeds.iter().cloned());
    let producer = open(&broker, to_first(2)).await;
    let values = ["a", "b", "no 1", "c", "d", "e", "f", "no 2"];
    let deliveries = send_all(&producer, &values).await;
    let words = outcomes(deliveries).await;
    assert_eq!(words, ["at 0", "at 1", "no", "at 2", "at 3", "at 4", "at 5", "no"], "{misdeeds:?}");
    assert_eq!(broker.shelf().values(0), ["a", "b", "c", "d", "e", "f"], "{misdeeds:?}");
    assert_eq!(broker.hellos(), connections, "{misdeeds:?}");
    // Every attempt at a sequence has the same bytes.
    let seen = broker.shelf().seen.clone();
    for batch in &seen {
        let first = seen.iter().find(|first| first.sequence == batch.sequence).unwrap();
        assert_eq!(first.bytes, batch.bytes, "{misdeeds:?}");
    }
}

#[tokio::test]
async fn a_lost_connection_is_made_anew_and_the_same_bytes_sent_again() {
    check_rides_through(&[Misdeed::CutBefore], 2).await;
    check_rides_through(&[Misdeed::None, Misdeed::CutBefore], 2).await;
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_nothing_is_judged_twice() {
    check_rides_through(&[Misdeed::CutAfter], 2).await;
    check_rides_through(&[Misdeed::None, Misdeed::CutAfter, Misdeed::CutAfter], 3).await;
}

#[tokio::test]
async fn a_broker_that_asks_for_later_gets_the_same_later() {
    for code in [Code::Overloaded, Code::StorageFull, Code::StorageBroken] {
        let later = Misdeed::Say(Fault::new(code, "later").after_ms(3));
        check_rides_through(std::slice::from_ref(&later), 1).await;
        check_rides_through(&[Misdeed::None, later.clone(), later], 1).await;
    }
}

#[tokio::test]
async fn a_retried_batch_says_that_its_answer_is_the_recorded_one() {
    let broker = FakeBroker::start(1).await;
    broker.script([Misdeed::CutAfter]);
    let producer = open(&broker, to_first(1)).await;
    let outcome = producer.send(event("a")).await.unwrap().await.unwrap();
    assert!(outcome.is_duplicate);
    let next = producer.send(event("b")).await.unwrap().await.unwrap();
    assert!(!next.is_duplicate);
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn an_answer_that_never_comes_is_unknown_at_the_deadline() {
    let broker = FakeBroker::start(1).await;
    broker.script([Misdeed::Silence, Misdeed::Silence]);
    let producer = open(&broker, ProducerOptions { delivery_timeout: SOON, ..to_first(1) }).await;
    assert_eq!(outcomes(send_all(&producer, &["a", "b"]).await).await, ["unknown", "unknown"]);
    // What follows goes under a new producer id, from sequence zero.
    assert_eq!(outcomes(send_all(&producer, &["c"]).await).await, ["at 0"]);
    let last = broker.shelf().seen.last().unwrap().clone();
    assert_eq!((last.producer, last.sequence), (2, 0));
}

#[tokio::test]
async fn a_broker_that_never_takes_it_is_named_at_the_deadline() {
    let broker = FakeBroker::start(1).await;
    let full = Fault::new(Code::StorageFull, "the disk is full").after_ms(50);
    broker.script(vec![Misdeed::Say(full); 1000]);
    let producer = open(&broker, ProducerOptions { delivery_timeout: SOON, ..to_first(1) }).await;
    assert_eq!(outcomes(send_all(&producer, &["a"]).await).await, ["storage-full"]);
}

#[tokio::test]
async fn a_batch_refused_for_good_takes_those_behind_it_along_and_a_new_life_begins() {
    let broker = FakeBroker::start(1).await;
    broker.script([Misdeed::None, Misdeed::Say(Fault::new(Code::InvalidBatch, "no batch"))]);
    let producer = open(&broker, ProducerOptions { window: 1, ..to_first(1) }).await;
    let words = outcomes(send_all(&producer, &["a", "b", "c"]).await).await;
    assert_eq!(words, ["at 0", "invalid-batch", "invalid-batch"]);
    assert_eq!(outcomes(send_all(&producer, &["d"]).await).await, ["at 1"]);
    assert_eq!(broker.shelf().values(0), ["a", "d"]);
}

#[tokio::test]
async fn a_silent_partition_delays_no_other() {
    let broker = FakeBroker::start(2).await;
    broker.silence(0);
    let client = broker.client().await;
    let topic = broker.topic();
    let stuck = client.producer(&topic, to_first(1)).await.unwrap();
    let stuck_delivery = stuck.send(event("a")).await.unwrap();
    let options = ProducerOptions { route: Route::To(PartitionId(1)), ..to_first(1) };
    let healthy = client.producer(&topic, options).await.unwrap();
    let words = outcomes(send_all(&healthy, &["b", "c", "d"]).await).await;
    assert_eq!(words, ["at 0", "at 1", "at 2"]);
    assert!(stuck_delivery.try_outcome().is_none());
    drop(stuck);
    assert!(matches!(stuck_delivery.await, Err(ClientError::Unknown)), "dropped with its producer");
}

#[tokio::test]
async fn a_sender_waits_for_room_instead_of_filling_the_memory() {
    let broker = FakeBroker::start(1).await;
    broker.silence(0);
    let producer = open(&broker, ProducerOptions { window: 2, ..to_first(1) }).await;
    let sent = async {
        let mut count = 0;
        loop {
            drop(producer.send(event("a")).await.unwrap());
            count += 1;
            assert!(count <= 5, "two in flight, two full, one open; the sixth has to wait");
        }
    };
    let waits: Result<(), _> = tokio::time::timeout(SOON, sent).await;
    assert!(waits.is_err());
}

#[tokio::test]
async fn an_event_that_no_broker_takes_is_refused_before_it_is_sent() {
    let broker = FakeBroker::start(1).await;
    let producer = open(&broker, to_first(1)).await;
    let large = Event { value: Some(vec![0; (1 << 20) + 1].into()), ..Event::default() };
    let forged = Event {
        headers: vec![Header { name: "weir-hops".into(), value: None }],
        ..Event::default()
    };
    for (event, code) in [(large, Code::TooLarge), (forged, Code::InvalidBatch)] {
        match producer.send(event).await {
            Err(ClientError::Fault(fault)) => assert_eq!(fault.code, code),
            other => panic!("{other:?}"),
        }
    }
    // The largest event there may be travels, alone in its batch.
    let largest = Event { value: Some(vec![b'x'; 1 << 20].into()), ..Event::default() };
    assert!(producer.send(largest).await.unwrap().await.is_ok());
}

#[tokio::test]
async fn flush_waits_for_every_answer() {
    let broker = FakeBroker::start(4).await;
    let options = ProducerOptions { linger: Duration::from_secs(60), ..ProducerOptions::default() };
    let producer = open(&broker, options).await;
    let mut deliveries = Vec::new();
    for number in 0..20 {
        let keyed = Event { key: Some(format!("k{number}").into()), ..event("a") };
        deliveries.push(producer.send(keyed).await.unwrap());
    }
    producer.flush().await;
    assert!(deliveries.iter().all(|delivery| delivery.try_outcome().is_some()));
}

#[tokio::test]
async fn wrong_topics_partitions_and_tokens_are_one_clear_sentence() {
    let broker = FakeBroker::start(2).await;
    let client = broker.client().await;
    let nowhere = TopicName::parse("nowhere").unwrap();
    let error = client.producer(&nowhere, ProducerOptions::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no topic \"nowhere\" (unknown-topic)");

    let options =
        ProducerOptions { route: Route::To(PartitionId(2)), ..ProducerOptions::default() };
    let error = client.producer(&broker.topic(), options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{TOPIC} has partitions 0 to 1, not 2 (unknown-partition)")
    );

    let mut config = broker.config.clone();
    config.token = weir_client::Secret::new("wrong");
    let error = weir_client::Client::connect(config).await.unwrap_err();
    assert!(matches!(error, ClientError::Unauthenticated { .. }), "{error}");

    let mut config = broker.config.clone();
    config.ca_certificate = FakeBroker::start(1).await.config.ca_certificate;
    let error = weir_client::Client::connect(config).await.unwrap_err();
    assert!(matches!(error, ClientError::Config(_)), "{error}");
}

#[tokio::test]
async fn nobody_there_is_said_within_the_deadline() {
    let broker = FakeBroker::start(1).await;
    broker.stop();
    let error = weir_client::Client::connect(broker.config.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn a_close_with_a_deadline_leaves_no_delivery_without_a_word() {
    let broker = FakeBroker::start(1).await;
    broker.script([Misdeed::Silence]);
    let options = ProducerOptions { window: 1, ..to_first(1) };
    let producer = open(&broker, options).await;
    let deliveries = send_all(&producer, &["sent", "waits"]).await;
    while broker.shelf().seen.is_empty() {
        tokio::task::yield_now().await;
    }
    let closed = producer.close_within(Duration::from_millis(50)).await;
    assert!(matches!(closed, Err(ClientError::Timeout { .. })), "{closed:?}");
    let told: Vec<_> = deliveries.iter().map(|delivery| delivery.try_outcome().unwrap()).collect();
    assert!(matches!(told[0], Err(ClientError::Unknown)), "it may have been judged: {told:?}");
    assert!(matches!(told[1], Err(ClientError::Closed)), "it was not sent: {told:?}");
}
