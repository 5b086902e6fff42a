//! Bookings become invoices: members of a group make events of events, each once and in order, while
//! they and the broker are killed again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use weir_client::{
    Client, ClientConfig, ClientError, Consumed, ConsumedBatch, Consumer, ConsumerOptions, Event,
    From, Producer, ProducerOptions, Transform, TransformOptions,
};
use weir_tests::broker::Broker;
use weir_wire::fault::Code;
use weir_wire::ids::{GroupName, PartitionId, TopicName};

const PARTITIONS: usize = 5;
const MEMBERS: usize = 3;
/// Rounds, each with events and with deaths.
const ROUNDS: usize = 9;
/// Events of a round: some batches of each partition.
const PORTION: usize = 600;
/// Bytes that make a few hundred events more than one batch.
const PADDING_BYTES: usize = 2_000;
/// Where a member finds its broker.
const CONTEXT: &str = "WEIR_TEST_TRANSFORM_CONTEXT";

/// The invoices of a booking: none, one or two.
fn invoices(number: u64) -> u64 {
    match number % 7 {
        3 => 0,
        5 => 2,
        _ => 1,
    }
}

#[test]
#[ignore = "not a test: a member of the story below, in a process of its own"]
fn member() {
    let context = std::env::var(CONTEXT).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let config = ClientConfig::from_context(context).unwrap();
        let client = Client::connect(config).await.unwrap();
        let name = |name| TopicName::parse(name).unwrap();
        let group = GroupName::parse("accountants").unwrap();
        let mut options = TransformOptions::new(name("bookings"), group, name("invoices"));
        options.session_timeout = std::time::Duration::from_secs(2);
        let mut transform = Transform::open(client, options).await.unwrap();
        let work = |booking: &weir_client::ConsumedEvent| {
            let value = booking.event.value.as_deref().unwrap();
            let number = serde_json::from_slice::<Value>(value).unwrap()["n"].as_u64().unwrap();
            let invoice = |part| Event {
                value: Some(json!({ "n": number, "part": part }).to_string().into()),
                ..booking.event.clone()
            };
            (0..invoices(number)).map(invoice).collect()
        };
        transform.run(work).await.unwrap();
    });
}

/// A member in a process of its own.
struct Member(Child);

impl Member {
    fn start(broker: &Broker, number: usize) -> Self {
        let log = File::create(broker.folder().join(format!("member-{number}.log"))).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "stories::transform::member", "--ignored", "--nocapture"])
            .env(CONTEXT, broker.context())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Self(child)
    }

    fn kill(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "a member ended by itself");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn publish(broker: &Broker, portion: usize) {
    let path = broker.folder().join("portion.jsonl");
    let mut file = File::create(path).unwrap();
    let padding = "x".repeat(PADDING_BYTES);
    for event in 0..PORTION {
        let number = portion * PORTION + event;
        writeln!(file, r#"{{"user":"u{}","n":{number},"padding":"{padding}"}}"#, number % 41)
            .unwrap();
    }
    let told = broker.done([
        "publish",
        "bookings",
        "--input",
        "portion.jsonl",
        "--key",
        "/user",
        "--json",
    ]);
    assert_eq!(told.json()["accepted"], json!(PORTION));
}

/// The group: how far it has come, all partitions together, and what it has before it.
fn progress(broker: &Broker) -> (u64, u64) {
    let told = broker.weir(["group", "describe", "accountants", "--json"]);
    if !told.status.success() {
        return (0, u64::MAX);
    }
    let partitions = told.json()["topics"][0]["partitions"].as_array().cloned().unwrap_or_default();
    let sum = |what: &str| partitions.iter().map(|at| at[what].as_u64().unwrap_or(0)).sum();
    (sum("committed"), sum("lag"))
}

#[test]
fn every_booking_has_its_invoices_once_whoever_dies() {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    for topic in ["bookings", "invoices"] {
        broker.done(["topic", "create", topic, "--partitions", &PARTITIONS.to_string()]);
    }
    let mut members: Vec<_> = (0..MEMBERS).map(|number| Member::start(&broker, number)).collect();
    let mut reached = 0;
    for round in 0..ROUNDS {
        publish(&broker, round);
        // In the middle of the work: as soon as any of it is done.
        broker.wait_until("the group goes on", || reached < progress(&broker).0);
        if round % 3 != 1 {
            let unlucky = &mut members[round % MEMBERS];
            unlucky.kill();
            *unlucky = Member::start(&broker, MEMBERS + round);
        }
        if round % 3 != 0 {
            broker.kill();
            if round % 3 == 2 {
                broker.delete_views();
            }
            broker.start_again();
        }
        let now = progress(&broker).0;
        assert!(reached <= now, "the group went back from {reached} to {now}");
        reached = now;
    }
    broker.wait_until("all is done", || progress(&broker).1 == 0);
    for member in &mut members {
        member.kill();
    }

    let told = broker.done(["consume", "invoices", "--until-end"]);
    let (mut seen, mut last) = (BTreeSet::new(), BTreeMap::new());
    for line in told.json_lines() {
        let value: Value = match &line["value"] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            value => value.clone(),
        };
        let invoice = (value["n"].as_u64().unwrap(), value["part"].as_u64().unwrap());
        assert!(seen.insert(invoice), "invoice {invoice:?} is there twice");
        let user = line["key"].as_str().unwrap().to_owned();
        let before = last.insert(user, invoice);
        assert!(before < Some(invoice), "{invoice:?} stands behind {before:?}");
    }
    let due =
        (0..(ROUNDS * PORTION) as u64).flat_map(|n| (0..invoices(n)).map(move |part| (n, part)));
    let due: BTreeSet<_> = due.collect();
    assert_eq!(
        seen.len(),
        due.len(),
        "missing: {:?}",
        due.difference(&seen).take(9).collect::<Vec<_>>()
    );
    assert_eq!(seen, due);

    // What is put back is done again, and what the target's commits say of before does not come back.
    let reset = ["group", "reset", "accountants", "bookings", "--to", "earliest", "--execute"];
    broker.wait_until("nobody is there", || broker.weir(reset).status.success());
    assert_eq!(progress(&broker).0, 0);
    broker.kill();
    broker.start_again();
    assert_eq!(progress(&broker).0, 0, "a reset outlives a crash");
    let again = Member::start(&broker, 99);
    broker.wait_until("all is done again", || progress(&broker).1 == 0);
    drop(again);
    let twice = broker.done(["consume", "invoices", "--until-end"]).stdout.lines().count();
    assert_eq!(twice, 2 * due.len());

    // The target goes, and the group stays where it is, also in the next life.
    broker.done(["topic", "delete", "invoices"]);
    broker.kill();
    broker.start_again();
    assert_eq!(progress(&broker).1, 0, "what stood in the deleted topic is known");
}

fn name(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

async fn join(client: &Client) -> Consumer {
    let options = ConsumerOptions {
        from: From::Committed,
        group: Some(GroupName::parse("accountants").unwrap()),
        ..ConsumerOptions::default()
    };
    client.consumer(&name("bookings"), options).await.unwrap()
}

/// What there is to read, all of it consumed.
async fn take(consumer: &mut Consumer) -> (ConsumedBatch, Consumed) {
    let batch = consumer.next_batch().await.unwrap().unwrap();
    let consumed = consumer.consumed(&batch, batch.next_offset).unwrap();
    (batch, consumed)
}

/// `consumed` if its one invoice was stored and the offset with it, else the code.
async fn invoice(producer: &Producer, consumed: &Consumed) -> &'static str {
    let invoice = Event { value: Some("invoice".into()), ..Event::default() };
    match producer.publish_consumed(PartitionId(0), vec![invoice], consumed).await {
        Ok(outcomes) if outcomes.iter().all(|outcome| outcome.is_consumed) => "consumed",
        Err(ClientError::Fault(fault)) if fault.code == Code::MemberFenced => "fenced",
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_comes_twice_or_too_late_stores_nothing() {
    let broker = Broker::start();
    for topic in ["bookings", "invoices"] {
        broker.done(["topic", "create", topic]);
    }
    let client =
        Client::connect(ClientConfig::from_context(broker.context()).unwrap()).await.unwrap();
    let producer = client.producer(&name("invoices"), ProducerOptions::default()).await.unwrap();
    publish(&broker, 0);
    let mut first = join(&client).await;
    let (_, consumed) = take(&mut first).await;
    assert_eq!(invoice(&producer, &consumed).await, "consumed");
    assert_eq!(invoice(&producer, &consumed).await, "fenced", "the group is further on");
    first.has_consumed(&consumed);

    // It leaves with events in hand, and another member is given the same ones.
    let (in_hand, late) = take(&mut first).await;
    first.close().await.unwrap();
    let mut second = join(&client).await;
    let (again, consumed) = take(&mut second).await;
    assert_eq!((in_hand.from, &in_hand.events[0]), (again.from, &again.events[0]));
    assert_eq!(invoice(&producer, &late).await, "fenced", "the partition is another's");
    assert_eq!(invoice(&producer, &consumed).await, "consumed");
    assert_eq!(invoice(&producer, &late).await, "fenced");
    assert_eq!(progress(&broker).0, consumed.to.0);
    let stored = broker.done(["consume", "invoices", "--until-end"]).stdout.lines().count();
    assert_eq!(stored, 2, "as many as were said to be");
    second.close().await.unwrap();
    producer.close().await;
}

#[tokio::test]
async fn a_group_whose_offsets_cannot_be_read_stands_still() {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    for topic in ["bookings", "invoices"] {
        broker.done(["topic", "create", topic]);
    }
    let client =
        Client::connect(ClientConfig::from_context(broker.context()).unwrap()).await.unwrap();
    let producer = client.producer(&name("invoices"), ProducerOptions::default()).await.unwrap();
    publish(&broker, 0);
    let mut consumer = join(&client).await;
    for _ in 0..2 {
        let (_, consumed) = take(&mut consumer).await;
        assert_eq!(invoice(&producer, &consumed).await, "consumed");
        consumer.has_consumed(&consumed);
    }
    consumer.close().await.unwrap();
    producer.close().await;
    broker.stop();
    let log = std::fs::read_dir(broker.data_dir().join("log")).unwrap();
    let log = log.map(|entry| entry.unwrap().path());
    let mut of_invoices =
        log.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("invoices-"));
    let segment = of_invoices.next().unwrap().join("0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).unwrap();
    // In the first commit behind the opening.
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    broker.start_again();

    let consume = ["consume", "bookings", "--group", "accountants", "--until-end"];
    let refused = broker.weir(consume);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(refused.stderr.contains("which could not be opened"), "{refused:?}");
    broker.done(["topic", "delete", "invoices"]);
    broker.done(consume);
}
