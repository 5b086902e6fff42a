//! R27: logs are cleaned without a pause while events are published, and the broker is killed in the
//! middle of it: every event is judged once, what is kept is the end of each partition without a gap,
//! and a compacted topic has the last of each key.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use weir_tests::broker::Broker;
use weir_tests::torture::{Row, sized};
use weir_tests::{flights, rule};

/// Flights of one aircraft a day.
const LIMIT: u64 = 2;
/// How long a round may take where every landing runs it.
const CI_ROUND_MAX: Duration = Duration::from_secs(60);
/// From a start to the kill, in ms: from before it is ready to well into cleaning.
const LIFE_MS: std::ops::RangeInclusive<u64> = 30..=600;
/// Kills in a round; what is left of the file is published in peace.
const KILLS: u64 = 12;

#[test]
fn cleaned_and_killed_again_and_again() {
    let mut row = Row::begin("R27", "kills while logs are cleaned");
    let mut rng = row.rng();
    for _ in 0..sized(1, 200) {
        if row.has_time(CI_ROUND_MAX) {
            round(&mut row, &mut rng);
        }
    }
    row.passed();
}

fn round(row: &mut Row, rng: &mut fastrand::Rng) {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    let settings = ["--partitions", "2", "--retention-bytes", "200000", "--retention-ms", "1000"];
    flights::under_the_rule(&broker, LIMIT, &settings);
    broker.done([
        "topic",
        "create",
        "last",
        "--partitions",
        "2",
        "--cleanup",
        "compact",
        "--segment-bytes",
        "65536",
    ]);
    let lines = flights::lines();
    let expected = rule::daily_limit(&lines, LIMIT);
    let keyed: Vec<String> = lines.iter().filter(|line| tailnum(line).is_some()).cloned().collect();

    let publish = |topic: &str| {
        let mut command = broker.command([
            "publish",
            topic,
            "--input",
            "-",
            "--key",
            "/tailnum",
            "--timestamp",
            "/time",
            "--json",
        ]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let mut publishers = [publish("flights"), publish("last")];
    let piece = |lines: &[String], number: u64| {
        let size = lines.len().div_ceil(KILLS as usize + 1);
        let piece = lines.chunks(size).nth(number as usize).unwrap_or_default();
        piece.iter().map(|line| line.clone() + "\n").collect::<String>()
    };
    for number in 0..=KILLS {
        for (publisher, lines) in publishers.iter_mut().zip([&lines, &keyed]) {
            let input = publisher.stdin.as_mut().unwrap();
            input.write_all(piece(lines, number).as_bytes()).unwrap();
        }
        if number == KILLS {
            break;
        }
        let cleaning = ["flights", "last"].map(|topic| {
            let mut command = broker.command(["topic", "clean", topic]);
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        // A moment by chance is what this is about: nothing is waited for, so nothing is ever sent.
        let (_never, life) = mpsc::sync_channel::<()>(1);
        let _ = life.recv_timeout(Duration::from_millis(rng.u64(LIFE_MS)));
        broker.end(Signal::KILL);
        row.count("kills", 1);
        for mut cleaning in cleaning {
            // It was interrupted or not; both are fine.
            let done = cleaning.wait().unwrap();
            row.count("cleanings that were answered", u64::from(done.success()));
        }
        if rng.u8(..4) == 0 {
            broker.delete_views();
        }
        broker.start_again();
    }
    let [flights, last] = publishers.map(|publisher| {
        let output = publisher.wait_with_output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    });
    assert_eq!(flights["accepted"], expected.accepted_count());
    assert_eq!(flights["rejected"]["daily-limit"], expected.refused_count("daily-limit"));
    assert_eq!((&flights["unknown"], &last["unknown"]), (&json!(0), &json!(0)));
    assert_eq!(last["accepted"], keyed.len());

    for topic in ["flights", "last"] {
        broker.done(["topic", "clean", topic]);
    }
    // Of each key the end of what was admitted; offsets without a gap.
    let mut next = BTreeMap::new();
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in consume(&broker, "flights") {
        let (partition, offset) = (event["partition"].as_u64(), event["offset"].as_u64().unwrap());
        let expected = next.insert(partition, offset + 1).unwrap_or(offset);
        assert_eq!(offset, expected, "a gap in what is kept");
        let value = event["value"].as_str().unwrap().to_owned();
        kept.entry(event["key"].as_str().unwrap().to_owned()).or_default().push(value);
    }
    for (key, values) in &kept {
        assert!(expected.accepted[key].ends_with(values), "{key}: {values:?}");
    }
    let kept: usize = kept.values().map(Vec::len).sum();
    assert!((kept as u64) < expected.accepted_count(), "nothing was removed");
    row.count("events that stayed", kept as u64);

    let mut last_of = BTreeMap::new();
    for line in &keyed {
        last_of.insert(tailnum(line).unwrap(), line.clone());
    }
    let mut found = BTreeMap::new();
    let mut read = 0;
    for event in consume(&broker, "last") {
        let value = event["value"].as_str().unwrap().to_owned();
        found.insert(tailnum(&value).unwrap(), value);
        read += 1;
    }
    assert_eq!(found, last_of, "who reads a compacted topic knows the last of each key");
    assert_eq!(read, last_of.len(), "cleaned at last, it has one event a key");

    flights::wait_for_notices(&broker);
    assert_eq!(consume(&broker, "notices").len(), expected.over.len());
    broker.stop();
    let check = broker.weir(["check", broker.data_dir().to_str().unwrap()]);
    assert!(check.status.success(), "{}{}", check.stdout, check.stderr);
}

fn consume(broker: &Broker, topic: &str) -> Vec<Value> {
    broker.done(["consume", topic, "--from", "earliest", "--until-end"]).json_lines()
}

fn tailnum(line: &str) -> Option<String> {
    let flight: Value = serde_json::from_str(line).unwrap();
    flight["tailnum"].as_str().map(str::to_owned)
}
