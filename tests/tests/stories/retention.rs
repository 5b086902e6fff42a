//! Old events go, and nothing else does: limits count on, retries hear what was said, notices arrive,
//! consumers find what is kept; also when the broker is killed in the middle of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use weir_tests::broker::Broker;
use weir_tests::{flights, rule, segments};

const LIMIT: u64 = 2;

/// Publishes lines; gives the refused ones, counted from 1, with their codes.
fn publish(broker: &Broker, lines: &[String]) -> BTreeMap<u64, String> {
    let folder = broker.folder();
    fs::write(folder.join("input.jsonl"), lines.join("\n") + "\n").unwrap();
    broker.done([
        "publish",
        "flights",
        "--input",
        "input.jsonl",
        "--key",
        "/tailnum",
        "--timestamp",
        "/time",
        "--rejected",
        "rejected.jsonl",
        "--json",
    ]);
    let rejected = fs::read_to_string(folder.join("rejected.jsonl")).unwrap();
    let refused = rejected.lines().map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        (line["line"].as_u64().unwrap(), line["code"].as_str().unwrap().to_owned())
    });
    refused.collect()
}

fn describe(broker: &Broker) -> Vec<Value> {
    let topic = broker.done(["topic", "describe", "flights", "--json"]).json();
    topic["partitions"].as_array().unwrap().clone()
}

fn sum(partitions: &[Value], of: &str) -> u64 {
    partitions.iter().map(|partition| partition[of].as_u64().unwrap()).sum()
}

/// What is kept, by partition: offset and value.
fn consumed(broker: &Broker) -> BTreeMap<u64, Vec<(u64, String)>> {
    let mut by_partition: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for event in
        broker.done(["consume", "flights", "--from", "earliest", "--until-end"]).json_lines()
    {
        let value = event["value"].as_str().unwrap().to_owned();
        let events = by_partition.entry(event["partition"].as_u64().unwrap()).or_default();
        events.push((event["offset"].as_u64().unwrap(), value));
    }
    by_partition
}

fn folder_of(broker: &Broker, partition: u64) -> PathBuf {
    let log = broker.data_dir().join("log");
    let mut folders = fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let is_it =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("flights-");
    folders.find(is_it).unwrap().join(partition.to_string())
}

#[test]
fn the_rule_counts_on_when_the_events_it_counted_are_gone() {
    let lines = flights::lines();
    let expected = rule::daily_limit(&lines, LIMIT);
    let mut broker = Broker::start();
    flights::under_the_rule(&broker, LIMIT, &["--partitions", "2", "--retention-bytes", "100000"]);
    let mut refused = BTreeMap::new();
    // Published in pieces that end in the middle of days, cleaned and killed in between.
    let mut published = 0;
    for (round, piece) in lines.chunks(lines.len().div_ceil(7)).enumerate() {
        for (line, code) in publish(&broker, piece) {
            refused.insert(line + published, code);
        }
        published += piece.len() as u64;
        broker.done(["topic", "clean", "flights"]);
        match round % 3 {
            0 => broker.kill(),
            1 => {
                broker.stop();
                broker.delete_views();
            }
            _ => continue,
        }
        broker.start_again();
    }
    let codes: BTreeMap<_, _> =
        expected.refused.iter().map(|(line, code)| (*line, (*code).to_owned())).collect();
    assert_eq!(refused, codes, "the same lines are refused as if everything had been kept");

    let partitions = describe(&broker);
    for partition in &partitions {
        assert!(0 < partition["earliest"].as_u64().unwrap(), "{partition}");
        let stored = partition["stored_bytes"].as_u64().unwrap();
        // What is appended to, what producers may ask for, and the view come on top.
        assert!(stored < 600_000, "{stored} bytes are kept");
    }
    // What is kept is the end of each partition, without a gap.
    let kept = consumed(&broker);
    let values: usize = kept.values().map(Vec::len).sum();
    let accepted: usize = expected.accepted.values().map(Vec::len).sum();
    assert!(0 < values && values < accepted / 2, "{values} of {accepted}");
    for partition in &partitions {
        let events = &kept[&partition["partition"].as_u64().unwrap()];
        let offsets: Vec<_> = events.iter().map(|(offset, _)| *offset).collect();
        let (first, end) = (&partition["earliest"], &partition["high_watermark"]);
        let all: Vec<_> = (first.as_u64().unwrap()..end.as_u64().unwrap()).collect();
        assert_eq!(offsets, all);
    }
    flights::wait_for_notices(&broker);
    let notices = broker.done(["consume", "notices", "--from", "earliest", "--until-end"]);
    assert_eq!(notices.json_lines().len(), expected.over.len());

    // Asking for what is gone says what there is; a group begins at what is there.
    let gone =
        broker.weir(["consume", "flights", "--from", "0", "--partition", "0", "--until-end"]);
    assert!(!gone.status.success());
    let complaint = gone.stderr;
    assert!(complaint.contains("offset 0 is not there"), "{complaint}");
    broker.stop();
    let check = broker.weir(["check", broker.data_dir().to_str().unwrap()]);
    assert!(check.status.success(), "{}", check.stderr);
}

#[test]
fn events_go_by_age_without_being_asked_and_the_setting_can_be_changed() {
    let broker = Broker::start();
    flights::under_the_rule(&broker, LIMIT, &["--partitions", "2"]);
    publish(&broker, &flights::lines()[..2_000]);
    let before = describe(&broker);
    assert_eq!(sum(&before, "earliest"), 0);
    // Nothing goes while nothing asks for it.
    broker.done(["topic", "clean", "flights"]);
    assert_eq!(sum(&describe(&broker), "earliest"), 0);
    let altered =
        broker.done(["topic", "alter", "flights", "--retention-ms", "1000", "--json"]).json();
    assert_eq!(altered["retention_ms"], 1_000);
    broker.wait_until("all that was stored is gone", || {
        let now = describe(&broker);
        // The mark of an idle partition keeps its last segment; the events before are gone.
        now.iter().all(|partition| partition["earliest"] == partition["high_watermark"])
    });
    assert_eq!(consumed(&broker), BTreeMap::new());
    let end = sum(&describe(&broker), "high_watermark");
    broker.done(["topic", "alter", "flights", "--retention-ms", "none"]);
    publish(&broker, &flights::lines()[2_000..2_300]);
    let kept: usize = consumed(&broker).values().map(Vec::len).sum();
    assert_eq!(kept as u64, sum(&describe(&broker), "high_watermark") - end);
    for wrong in [
        ["topic", "alter", "flights", "--retention-ms", "5"],
        ["topic", "alter", "flights", "--segment-bytes", "5"],
        ["topic", "alter", "flights", "--cleanup", "wash"],
        ["topic", "alter", "nothing", "--cleanup", "compact"],
    ] {
        let refused = broker.weir(wrong);
        assert!(!refused.status.success() && !refused.stderr.is_empty(), "{wrong:?}");
    }
}

#[test]
fn a_compacted_topic_keeps_the_last_event_of_each_key_through_kills() {
    let mut broker = Broker::start();
    broker.done([
        "topic",
        "create",
        "flights",
        "--partitions",
        "2",
        "--cleanup",
        "compact",
        "--segment-bytes",
        "65536",
    ]);
    let lines = flights::lines();
    let keyed: Vec<String> = lines
        .iter()
        .filter(|line| serde_json::from_str::<Value>(line).unwrap()["tailnum"].is_string())
        .cloned()
        .collect();
    let mut last = BTreeMap::new();
    let mut largest = 0;
    for (round, piece) in keyed.chunks(keyed.len().div_ceil(6)).enumerate() {
        publish(&broker, piece);
        for line in piece {
            let tailnum = serde_json::from_str::<Value>(line).unwrap()["tailnum"].to_string();
            last.insert(tailnum, line.clone());
        }
        largest = largest.max(sum(&describe(&broker), "stored_bytes"));
        broker.done(["topic", "clean", "flights"]);
        if round % 2 == 0 {
            broker.kill();
            broker.start_again();
        }
        let found = consumed(&broker);
        let mut seen = BTreeMap::new();
        for events in found.values() {
            assert!(events.windows(2).all(|two| two[0].0 < two[1].0), "offsets rise");
            for (_, value) in events {
                let tailnum = serde_json::from_str::<Value>(value).unwrap()["tailnum"].to_string();
                seen.insert(tailnum, value.clone());
            }
        }
        assert_eq!(seen, last, "round {round}: who reads it all knows the last of each");
    }
    let now = describe(&broker);
    assert_eq!(sum(&now, "earliest"), 0, "compaction moves no start");
    assert!(sum(&now, "stored_bytes") < largest);
    let kept: usize = consumed(&broker).values().map(Vec::len).sum();
    assert_eq!(kept, last.len(), "who asks for it to be clean finds one event a key");
    let found = consumed(&broker);
    broker.stop();
    // And Kafka's tools read what is left.
    for (partition, events) in &found {
        let records = segments::read(&folder_of(&broker, *partition));
        let read: Vec<_> = records
            .into_iter()
            .map(|record| {
                (record.offset as u64, String::from_utf8(record.value.unwrap().to_vec()).unwrap())
            })
            .collect();
        assert_eq!(read, *events);
    }
}

#[test]
fn a_deleted_topic_gives_its_room_back() {
    let broker = Broker::start();
    flights::under_the_rule(&broker, LIMIT, &["--partitions", "2", "--retention-bytes", "100000"]);
    publish(&broker, &flights::lines()[..3_000]);
    broker.done(["topic", "clean", "flights"]);
    let folder = folder_of(&broker, 0);
    assert!(folder.exists());
    broker.done(["topic", "delete", "flights"]);
    assert!(!folder.parent().unwrap().exists());
}
