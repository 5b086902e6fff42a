//! Reading again what was published: from a date, from an offset, from the end, up to one, and in
//! the order of time.
//!
//! The flights of the first twelve days of January are moved to June here, which is when somebody
//! wants them again.

use std::collections::BTreeMap;

use serde_json::Value;
use weir_client::{ConsumerOptions, From};
use weir_tests::broker::Broker;
use weir_tests::flights;
use weir_tests::load::{connect, topic};

const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// 2013-06-06T00:00:00Z.
const SIXTH_OF_JUNE: u64 = 1_370_476_800_000;

fn june() -> Vec<String> {
    flights::lines().iter().map(|line| line.replace("2013-01-", "2013-06-")).collect()
}

fn publish(broker: &Broker, to: &str, lines: &[String]) {
    std::fs::write(broker.folder().join("june.jsonl"), lines.join("\n") + "\n").unwrap();
    let input = ["--input", "june.jsonl", "--key", "/tailnum", "--timestamp", "/time", "--json"];
    let told = broker.done(["publish", to].iter().chain(&input));
    assert_eq!(told.json()["accepted"], lines.len());
}

/// An event as it was printed: timestamp, partition, offset, value.
type Printed = (u64, u64, u64, String);

fn consume(broker: &Broker, arguments: &str) -> Vec<Printed> {
    let told = broker.done(std::iter::once("consume").chain(arguments.split(' ')));
    let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
    let printed = |line: &Value| {
        let value = line["value"].as_str().unwrap().to_owned();
        (number(line, "timestamp"), number(line, "partition"), number(line, "offset"), value)
    };
    told.json_lines().iter().map(printed).collect()
}

/// What each partition gave, in the order in which it did.
fn by_partition(events: &[Printed]) -> BTreeMap<u64, Vec<Printed>> {
    let mut partitions: BTreeMap<u64, Vec<Printed>> = BTreeMap::new();
    for event in events {
        partitions.entry(event.1).or_default().push(event.clone());
    }
    partitions
}

#[test]
fn a_topic_is_read_again_from_a_date_from_an_offset_and_from_the_end() {
    let broker = Broker::start();
    broker.done(["topic", "create", "flights", "--partitions", "4"]);
    let lines = june();
    publish(&broker, "flights", &lines);

    let all = by_partition(&consume(&broker, "flights --until-end"));
    let mut values: Vec<_> = all.values().flatten().map(|event| event.3.clone()).collect();
    let mut expected = lines.clone();
    values.sort();
    expected.sort();
    assert_eq!(values, expected, "everything, as it was sent");

    // From a date: each partition from its first event of that date or later, and all behind it.
    let since = by_partition(&consume(&broker, "flights --from 2013-06-06T00:00:00Z --until-end"));
    for (partition, events) in &all {
        let first = events.iter().position(|event| SIXTH_OF_JUNE <= event.0).unwrap();
        assert_eq!(since[partition], events[first..], "partition {partition}");
        assert!(0 < first && first < events.len());
    }

    // From an offset, up to another: one partition, and all.
    let some = consume(&broker, "flights --partition 2 --from 1000 --until 1500");
    assert_eq!(some, all[&2][1_000..1_500]);
    let begun = by_partition(&consume(&broker, "flights --until 10"));
    assert!(begun.iter().all(|(partition, events)| events[..] == all[partition][..10]));

    // From the end: only what comes.
    assert!(consume(&broker, "flights --from latest --until-end").is_empty());
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = connect(&broker.context()).await;
        let options = ConsumerOptions { from: From::Latest, ..ConsumerOptions::default() };
        let mut consumer = client.consumer(&topic("flights"), options).await.unwrap();
        publish(&broker, "flights", &lines[..1]);
        let event = consumer.next().await.unwrap().unwrap();
        let end = all[&u64::from(event.partition.0)].len() as u64;
        assert_eq!((event.offset.0, event.event.value.unwrap()), (end, lines[0].clone().into()));
    });

    // An offset that some partition has not reached is none to follow from.
    let shortest = all.values().map(Vec::len).min().unwrap();
    let from = (shortest + 2).to_string();
    let refused = broker.weir(["consume", "flights", "--from", &from]);
    assert!(!refused.status.success() && refused.stderr.contains("--partition"), "{refused:?}");
}

#[test]
fn all_partitions_together_come_in_the_order_of_time() {
    let broker = Broker::start();
    for name in ["sorted", "unsorted"] {
        broker.done(["topic", "create", name, "--partitions", "7"]);
    }
    let lines = june();
    publish(&broker, "unsorted", &lines);
    let mut sorted = lines.clone();
    let time = |line: &String| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["time"].as_str().unwrap().to_owned()
    };
    sorted.sort_by_cached_key(time);
    publish(&broker, "sorted", &sorted);

    // Where each partition's times rise, it is what a sort gives.
    let mut expected = consume(&broker, "sorted --until-end");
    expected.sort_by_key(|(at, partition, offset, _)| (*at, *partition, *offset));
    assert_eq!(expected.len(), lines.len());
    assert!(consume(&broker, "sorted --until-end --by-time") == expected, "all of it, sorted");
    let day: Vec<_> = expected
        .iter()
        .filter(|event| (SIXTH_OF_JUNE..SIXTH_OF_JUNE + DAY_MS).contains(&event.0))
        .cloned()
        .collect();
    let read = consume(
        &broker,
        "sorted --from 2013-06-06T00:00:00Z --until 2013-06-07T00:00:00Z --by-time",
    );
    assert!(read == day && !day.is_empty(), "one day: {} of {}", read.len(), day.len());
    let first = consume(&broker, "sorted --by-time --count 100");
    assert!(first == expected[..100], "and while it follows");

    // Elsewhere each partition's own order is kept, and nothing is missing.
    let plain = by_partition(&consume(&broker, "unsorted --until-end"));
    assert_eq!(by_partition(&consume(&broker, "unsorted --until-end --by-time")), plain);
}
