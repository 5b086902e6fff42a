//! An aircraft may leave at most so many times a day: publish, judge, store, consume, notice, on
//! real events, against figures that a model of the rule counts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};
use weir_tests::broker::Broker;
use weir_tests::{flights, rule, segments};
use weir_wire::partitioner::partition_for_key;

/// What happens to the broker between the two halves of the file.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    ViewsDeleted,
    Stopped,
    Killed,
}

#[derive(Debug, Clone, Copy)]
struct Story {
    partitions: u32,
    compression: &'static str,
    limit: u64,
    between: Between,
}

const PLAIN: Story =
    Story { partitions: 4, compression: "none", limit: 2, between: Between::Nothing };

#[test]
fn everyone_agrees_on_what_became_of_each_flight() {
    check(PLAIN);
}

#[test]
fn one_partition_or_many_make_no_difference() {
    check(Story { partitions: 1, ..PLAIN });
    check(Story { partitions: 64, ..PLAIN });
}

#[test]
fn compression_makes_no_difference() {
    for compression in ["gzip", "snappy", "lz4", "zstd"] {
        check(Story { compression, ..PLAIN });
    }
}

#[test]
fn other_limits_give_other_figures() {
    check(Story { limit: 1, ..PLAIN });
    check(Story { limit: 3, ..PLAIN });
}

#[test]
fn a_stop_between_two_halves_changes_nothing() {
    check(Story { between: Between::Stopped, ..PLAIN });
}

#[test]
fn deleted_views_between_two_halves_change_nothing() {
    check(Story { between: Between::ViewsDeleted, ..PLAIN });
}

#[test]
fn a_kill_between_two_halves_changes_nothing() {
    check(Story { between: Between::Killed, ..PLAIN });
    check(Story { between: Between::Killed, compression: "zstd", partitions: 64, ..PLAIN });
}

fn check(story: Story) {
    let lines = flights::lines();
    let expected = rule::daily_limit(&lines, story.limit);
    let mut broker = Broker::start();
    let partitions = story.partitions.to_string();
    flights::under_the_rule(&broker, story.limit, &["--partitions", &partitions]);

    let halves = lines.split_at(lines.len() / 2);
    let mut answers = publish(&broker, story, halves.0);
    interrupt(&mut broker, story.between);
    for (line, code) in publish(&broker, story, halves.1) {
        answers.insert(line + halves.0.len() as u64, code);
    }

    check_refused(story, &answers, &expected);
    check_consumed(&broker, story, &expected);
    check_notices(&broker, &expected);
    broker.stop();
    check_segments(&broker, story, &expected);
}

/// Publishes lines and gives the refused ones, counted from 1, with their codes.
fn publish(broker: &Broker, story: Story, lines: &[String]) -> BTreeMap<u64, String> {
    let input = broker.folder().join("input.jsonl");
    fs::write(&input, lines.join("\n") + "\n").unwrap();
    let summary = broker
        .done([
            "publish",
            "flights",
            "--input",
            "input.jsonl",
            "--key",
            "/tailnum",
            "--timestamp",
            "/time",
            "--compression",
            story.compression,
            "--rejected",
            "rejected.jsonl",
            "--json",
        ])
        .json();
    let rejected = fs::read_to_string(broker.folder().join("rejected.jsonl")).unwrap();
    let mut refused = BTreeMap::new();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in rejected.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let code = line["code"].as_str().unwrap().to_owned();
        assert!(line["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
        *counts.entry(code.clone()).or_default() += 1;
        let again = refused.insert(line["line"].as_u64().unwrap(), code);
        assert_eq!(again, None, "{line} was refused twice");
    }
    let accepted = lines.len() - refused.len();
    assert_eq!(
        summary,
        json!({ "sent": lines.len(), "accepted": accepted, "dropped": 0, "rejected": counts, "unknown": 0 })
    );
    refused
}

/// The same lines are refused for the same reasons; where not, only the differences are told.
fn check_refused(story: Story, answers: &BTreeMap<u64, String>, expected: &rule::Expected) {
    let found: BTreeSet<_> = answers.iter().map(|(line, code)| (*line, code.as_str())).collect();
    let expected: BTreeSet<_> =
        expected.refused.iter().map(|(line, code)| (*line, *code)).collect();
    let wrongly: Vec<_> = found.difference(&expected).collect();
    let missing: Vec<_> = expected.difference(&found).collect();
    assert!(
        wrongly.is_empty() && missing.is_empty(),
        "{story:?}: refused {wrongly:?}, not refused {missing:?}"
    );
}

fn interrupt(broker: &mut Broker, between: Between) {
    match between {
        Between::Nothing => return,
        Between::Stopped => broker.stop(),
        Between::Killed => broker.kill(),
        Between::ViewsDeleted => {
            broker.stop();
            broker.delete_views();
        }
    }
    broker.start_again();
}

/// Consumed are exactly the accepted lines, byte for byte, in file order per key.
fn check_consumed(broker: &Broker, story: Story, expected: &rule::Expected) {
    let consumed =
        broker.done(["consume", "flights", "--from", "earliest", "--until-end"]).json_lines();
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut next = vec![0; story.partitions as usize];
    for event in consumed {
        let key = event["key"].as_str().unwrap().to_owned();
        let partition = partition_for_key(key.as_bytes(), story.partitions).0;
        assert_eq!(event["partition"], partition, "{event}");
        assert_eq!(event["offset"], next[partition as usize], "offsets are dense: {event}");
        next[partition as usize] += 1;
        by_key.entry(key).or_default().push(event["value"].as_str().unwrap().to_owned());
    }
    assert_eq!(by_key, expected.accepted, "{story:?}");
}

/// One notice per aircraft and day that went over, and no other.
fn check_notices(broker: &Broker, expected: &rule::Expected) {
    flights::wait_for_notices(broker);
    let notices =
        broker.done(["consume", "notices", "--from", "earliest", "--until-end"]).json_lines();
    let mut over = BTreeSet::new();
    for event in notices {
        let notice: Value = serde_json::from_str(event["value"].as_str().unwrap()).unwrap();
        assert_eq!(notice["key"], event["key"]);
        let text = |field: &str| notice[field].as_str().unwrap().to_owned();
        assert!(over.insert((text("key"), text("day"))), "sent twice: {notice}");
    }
    assert_eq!(over, expected.over);
}

/// The files hold the same events, for everyone who reads Kafka's record batches.
fn check_segments(broker: &Broker, story: Story, expected: &rule::Expected) {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for partition in 0..story.partitions {
        let folder = topic_folder(broker, "flights").join(partition.to_string());
        for (offset, record) in (0..).zip(segments::read(&folder)) {
            assert_eq!(record.offset, offset, "partition {partition}");
            let text =
                |bytes: Option<bytes::Bytes>| String::from_utf8(bytes.unwrap().to_vec()).unwrap();
            by_key.entry(text(record.key)).or_default().push(text(record.value));
        }
    }
    assert_eq!(by_key, expected.accepted, "{story:?}");
}

/// The folder of a topic: its name and its number.
fn topic_folder(broker: &Broker, topic: &str) -> std::path::PathBuf {
    let is_it = |name: &str| {
        name.strip_prefix(topic)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|id| id.parse::<u32>().is_ok())
    };
    fs::read_dir(broker.data_dir().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| is_it(&path.file_name().unwrap().to_string_lossy()))
        .unwrap()
}
