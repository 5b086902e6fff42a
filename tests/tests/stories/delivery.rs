//! What is sent to consumers, and what consumers cost that do not read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use weir_client::{
    Client, ClientConfig, Compression, Consumer, ConsumerOptions, Event, From, Header,
    ProducerOptions,
};
use weir_tests::broker::Broker;
use weir_wire::ids::{Timestamp, TopicName};

fn client(broker: &Broker) -> impl Future<Output = Client> {
    let config = ClientConfig::from_context(broker.context()).unwrap();
    async { Client::connect(config).await.unwrap() }
}

/// Publishes events of so many users, every third of them from Europe.
async fn publish(client: &Client, topic: &str, events: u64, value: &Bytes) {
    let compression = Compression::Lz4;
    let options = ProducerOptions { compression, ..ProducerOptions::default() };
    let topic = TopicName::parse(topic).unwrap();
    let producer = client.producer(&topic, options).await.unwrap();
    for number in 0..events {
        let region = if number % 3 == 0 { "eu-west" } else { "us" };
        let event = Event {
            timestamp: Timestamp(number),
            key: Some(format!("u{}-{number}", number % 10).into()),
            value: Some(value.clone()),
            headers: vec![Header { name: "region".to_owned(), value: Some(region.into()) }],
        };
        drop(producer.send(event).await.unwrap());
    }
    producer.close().await;
}

#[tokio::test]
async fn a_filter_leaves_out_what_is_not_wanted_and_moves_no_offset() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "2"]);
    let client = client(&broker).await;
    publish(&client, "bookings", 3_000, &Bytes::from_static(b"booking")).await;
    let read = |more: &[&str]| -> Vec<Value> {
        let mut lines: Vec<_> =
            broker.done(["consume", "bookings", "--until-end"].iter().chain(more)).json_lines();
        lines.sort_by_key(|line| (line["partition"].as_u64(), line["offset"].as_u64()));
        lines
    };
    let all = read(&[]);
    assert_eq!(all.len(), 3_000);
    let wanted = |is: &dyn Fn(&Value) -> bool| -> Vec<Value> {
        all.iter().filter(|line| is(line)).cloned().collect()
    };
    let user = |line: &Value| line["key"].as_str().unwrap().starts_with("u3-");
    let european = |line: &Value| line["headers"][0]["value"] == json!("eu-west");
    assert_eq!(read(&["--key-prefix", "u3-"]), wanted(&user));
    assert_eq!(read(&["--header", "region=eu-"]), wanted(&european));
    let both = ["--key-prefix", "u3-", "--header", "region=eu-"];
    assert_eq!(read(&both), wanted(&|line| user(line) && european(line)));
    assert_eq!(read(&["--header", "region"]), all);

    // Nothing of it is wanted, and the group is through with it all the same.
    assert_eq!(read(&["--key-prefix", "nobody", "--group", "readers"]).len(), 0);
    assert_eq!(broker.done(["group", "list", "--json"]).json()[0]["lag"], json!(0));
    let nameless = broker.weir(["consume", "bookings", "--header", "=eu"]);
    assert!(nameless.stderr.contains("name the header"), "{nameless:?}");
}

/// Consumers that do not read what they asked for.
const STALLED: usize = 24;
/// What a connection may have sent ahead of its client, a chunk, and what they are made of.
const STALLED_BYTES_MAX: u64 = 12 << 20;
/// Events of the large topic, and bytes of each: 64 MiB, many times what any buffer on the way holds.
const LARGE_EVENTS: u64 = 4_096;
const LARGE_BYTES: usize = 16 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "what was measured is worth reading")]
async fn who_does_not_read_costs_bounded_memory_and_hurts_nobody() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    let (well, topic) = (client(&broker).await, TopicName::parse("bookings").unwrap());
    // What does not compress: else nobody is held up.
    let mut value = vec![0; LARGE_BYTES];
    fastrand::Rng::with_seed(7).fill(&mut value);
    publish(&well, "bookings", LARGE_EVENTS, &value.into()).await;

    let before = broker.memory();
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        // Each with a connection of its own: one that is full stops only its own streams.
        let client = client(&broker).await;
        let mut consumer = client.consumer(&topic, ConsumerOptions::default()).await.unwrap();
        consumer.next().await.unwrap().unwrap();
        stalled.push((client, consumer));
    }
    let slow = client(&broker).await;
    let mut slowly = slow.consumer(&topic, ConsumerOptions::default()).await.unwrap();
    let slowly = tokio::spawn(async move {
        loop {
            slowly.next().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });

    // The others go on: one reads everything, and what is published meanwhile.
    let reading = async {
        let mut consumer = well.consumer(&topic, ConsumerOptions::default()).await.unwrap();
        for _ in 0..LARGE_EVENTS + 200 {
            consumer.next().await.unwrap().unwrap();
        }
    };
    let small = Bytes::from_static(b"small");
    let publishing = publish(&well, "bookings", 200, &small);
    tokio::join!(reading, publishing);
    slowly.abort();
    let grown = broker.memory_peak().saturating_sub(before);
    println!(
        "{STALLED} consumers that do not read cost {} KiB each",
        grown / STALLED as u64 / 1024
    );
    assert!(grown < (STALLED + 2) as u64 * STALLED_BYTES_MAX, "{grown} bytes more");
    drop(stalled);
}

/// Subscriptions that wait, in so many connections.
const IDLE: usize = 2_000;
const IDLE_CONNECTIONS: usize = 4;
/// What one may cost: a task, a stream on either side of it, and its buffers.
const IDLE_BYTES_MAX: u64 = 32 << 10;
/// Ticks of 10 ms of processor that all of them may take in two seconds of silence: a connection says a
/// word every five.
const IDLE_TICKS_MAX: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "what was measured is worth reading")]
async fn thousands_that_wait_cost_next_to_nothing() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    broker.done(["topic", "create", "others"]);
    let (well, topic) = (client(&broker).await, TopicName::parse("bookings").unwrap());
    let other = Bytes::from_static(b"other");
    publish(&well, "others", 1, &other).await;
    let before = broker.memory();
    let (mut clients, mut waiting): (Vec<Client>, Vec<Consumer>) = (Vec::new(), Vec::new());
    for _ in 0..IDLE_CONNECTIONS {
        let client = client(&broker).await;
        let open = (0..IDLE / IDLE_CONNECTIONS).map(|_| {
            let options = ConsumerOptions { from: From::Latest, ..ConsumerOptions::default() };
            client.consumer(&topic, options)
        });
        waiting.extend(join_all(open).await.into_iter().map(Result::unwrap));
        clients.push(client);
    }
    // Their subscriptions stand when each has an event.
    let tell_all = async |waiting: &mut Vec<Consumer>| {
        let began = Instant::now();
        publish(&well, "bookings", 1, &other).await;
        for told in join_all(waiting.iter_mut().map(Consumer::next)).await {
            told.unwrap().unwrap();
        }
        began.elapsed()
    };
    let first = tell_all(&mut waiting).await;
    let each = broker.memory().saturating_sub(before) / IDLE as u64;

    let ticks = broker.processor_ticks();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle_ticks = broker.processor_ticks() - ticks;
    // What happens elsewhere wakes none of them.
    let ticks = broker.processor_ticks();
    for _ in 0..50 {
        publish(&well, "others", 1, &other).await;
    }
    let others_ticks = broker.processor_ticks() - ticks;
    let ticks = broker.processor_ticks();
    let told = tell_all(&mut waiting).await;
    let told_ticks = broker.processor_ticks() - ticks;
    println!(
        "{IDLE} idle subscriptions: {each} bytes each; {idle_ticks} ticks in 2 s of silence, \
         {others_ticks} while 50 events came elsewhere; all told of one event in {first:?} and \
         {told:?} ({told_ticks} ticks)"
    );
    assert!(each < IDLE_BYTES_MAX, "{each} bytes for each");
    assert!(idle_ticks < IDLE_TICKS_MAX, "{idle_ticks} ticks in two seconds of silence");
    // Were they woken, it would be some fifty times what telling all of them takes.
    assert!(others_ticks < 10 * told_ticks, "{others_ticks} ticks for what happened elsewhere");
}
