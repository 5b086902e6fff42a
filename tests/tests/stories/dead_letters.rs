//! What a plugin refuses is kept, whole and once, and sent again when the rule has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weir_tests::broker::{Broker, Output};
use weir_tests::{flights, rule};

/// What one kill of a redrive can make to be sent twice: `weir dead-letter redrive --help` says so.
const TWICE_MAX: usize = 500;

fn prepare(broker: &Broker, limit: u64) {
    broker.done(["topic", "create", "flights", "--partitions", "4"]);
    broker.done(["topic", "create", "refused", "--partitions", "3"]);
    broker.done(["plugin", "push", "daily-limit", flights::daily_limit().to_str().unwrap()]);
    let config = config(limit);
    let bind = ["plugin", "bind", "flights", "daily-limit", "--config", &config];
    broker.done(bind.into_iter().chain(["--dead-letter", "refused"]));
}

fn config(limit: u64) -> String {
    json!({ "limit": limit, "key": "event", "time": "event" }).to_string()
}

/// Whoever raises the limit says nothing of dead letters, and so they stay as they are.
fn raise_the_limit(broker: &Broker) {
    broker.done(["plugin", "bind", "flights", "daily-limit", "--config", &config(1_000)]);
}

fn publish() -> Vec<String> {
    let input = flights::path().to_str().unwrap().to_owned();
    let words = ["publish", "flights", "--input", &input, "--key", "/tailnum"];
    let more = ["--timestamp", "/time", "--rejected", "rejected.jsonl", "--json"];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// The values of a topic, sorted.
fn values(broker: &Broker, topic: &str) -> Vec<String> {
    let events = broker.done(["consume", topic, "--until-end"]).json_lines();
    let mut values: Vec<_> =
        events.iter().map(|event| event["value"].as_str().unwrap().to_owned()).collect();
    values.sort_unstable();
    values
}

fn outbox_is_empty(broker: &Broker) -> bool {
    let topic = broker.done(["topic", "describe", "flights", "--json"]).json();
    let mut partitions = topic["partitions"].as_array().unwrap().iter();
    partitions.all(|partition| partition["outbox_pending"] == 0)
}

fn sum(broker: &Broker, topic: &str, of: impl Fn(&Value) -> &Value) -> u64 {
    let topic = broker.done(["topic", "describe", topic, "--json"]).json();
    topic["partitions"].as_array().unwrap().iter().map(|at| of(at).as_u64().unwrap()).sum()
}

fn header(event: &Value, name: &str) -> Option<String> {
    let headers = event["headers"].as_array().unwrap();
    let found = headers.iter().find(|header| header["name"] == format!("weir-dead-letter-{name}"));
    Some(found?["value"].as_str().unwrap().to_owned())
}

/// The refused lines of the sample, sorted, those with this code or all.
fn refused_lines(lines: &[String], expected: &rule::Expected, code: Option<&str>) -> Vec<String> {
    let wanted = expected.refused.iter().filter(|(_, of)| code.is_none_or(|code| code == **of));
    let mut refused: Vec<_> = wanted.map(|(line, _)| lines[*line as usize - 1].clone()).collect();
    refused.sort_unstable();
    refused
}

#[test]
fn refused_flights_are_kept_byte_for_byte_and_admitted_when_the_rule_lets_them() {
    let lines = flights::lines();
    let expected = rule::daily_limit(&lines, 2);
    let broker = Broker::start();
    prepare(&broker, 2);
    broker.done(publish());
    broker.wait_until("every dead letter is in its topic", || outbox_is_empty(&broker));

    let letters = broker.done(["consume", "refused", "--until-end"]).json_lines();
    let mut kept: Vec<_> =
        letters.iter().map(|letter| letter["value"].as_str().unwrap().to_owned()).collect();
    kept.sort_unstable();
    assert_eq!(kept, refused_lines(&lines, &expected, None));
    let told: BTreeMap<String, String> =
        std::fs::read_to_string(broker.folder().join("rejected.jsonl"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| {
                let sent = lines[line["line"].as_u64().unwrap() as usize - 1].clone();
                (sent, format!("{}: {}", line["code"], line["message"]))
            })
            .collect();
    for letter in &letters {
        let value = letter["value"].as_str().unwrap();
        let flight: Value = serde_json::from_str(value).unwrap();
        assert_eq!(letter["key"], flight["tailnum"]);
        let said = |name| Value::from(header(letter, name).unwrap());
        assert_eq!(format!("{}: {}", said("code"), said("reason")), told[value]);
        assert_eq!((said("topic"), said("plugin")), (json!("flights"), json!("daily-limit")));
        assert_eq!((said("version"), said("digest").as_str().unwrap().len()), (json!("1"), 64));
        let numbers = header(letter, "producer").unwrap();
        assert_eq!(numbers.split(':').count(), 3, "{numbers}");
    }
    assert_eq!(sum(&broker, "flights", |at| &at["judged"]["dead_letters"]), kept.len() as u64);

    let list = broker.done(["dead-letter", "list", "refused", "--code", "no-key", "--json"]).json();
    assert_eq!(list["letters"].as_array().unwrap().len(), 14);
    assert_eq!((&list["others"], &list["more"]), (&json!(0), &json!(false)));

    // A selection first: all of it is admitted, and the rest is not touched.
    raise_the_limit(&broker);
    let over = ["dead-letter", "redrive", "refused", "--json", "--code", "daily-limit"];
    let tried = broker.done(over.into_iter().chain(["--dry-run"])).json();
    assert_eq!(tried["sent"], 455);
    let redriven = |more: &[&str]| {
        let base = ["dead-letter", "redrive", "refused", "--json", "--rejected", "again.jsonl"];
        broker.done(base.iter().chain(more)).json()
    };
    let none = json!({ "sent": 0, "accepted": 0, "dropped": 0, "rejected": {}, "unknown": 0 });
    assert_eq!(
        redriven(&["--code", "daily-limit"]),
        json!({ "sent": 455, "accepted": 455, "dropped": 0, "rejected": {}, "unknown": 0 })
    );
    assert_eq!(redriven(&["--code", "daily-limit"]), none, "once");
    assert_eq!(redriven(&["--plugin", "another"]), none);
    let mut everything = lines.clone();
    everything.retain(|line| !refused_lines(&lines, &expected, Some("no-key")).contains(line));
    everything.sort_unstable();
    assert_eq!(values(&broker, "flights"), everything);

    // Then all: only those that no selection has sent. They have no key now either, and come back.
    let no_key = json!({ "sent": 14, "accepted": 0, "dropped": 0, "rejected": { "no-key": 14 }, "unknown": 0 });
    assert_eq!(redriven(&[]), no_key);
    let again = std::fs::read_to_string(broker.folder().join("again.jsonl")).unwrap();
    let places: BTreeSet<_> = again
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["partition"].as_u64().unwrap(), line["offset"].as_u64().unwrap()))
        .collect();
    assert_eq!(places.len(), 14, "{again}");
    broker.wait_until("they are kept anew", || outbox_is_empty(&broker));
    assert_eq!(values(&broker, "refused").len(), kept.len() + 14);
    assert_eq!(redriven(&["--count", "5"])["sent"], 5);
    broker.wait_until("the five are kept anew", || outbox_is_empty(&broker));
    assert_eq!(redriven(&[])["sent"], 9 + 5);
    broker.wait_until("so are these", || outbox_is_empty(&broker));
    // Elsewhere nobody refuses them, and whoever asks for the beginning gets everything.
    broker.done(["topic", "create", "late"]);
    let all = redriven(&["--to", "late", "--from", "earliest"]);
    let letters = values(&broker, "refused");
    assert_eq!(all["accepted"], letters.len());
    assert_eq!(values(&broker, "late"), letters);
}

#[test]
fn a_kill_while_letters_are_on_their_way_leaves_one_of_each() {
    let lines = flights::lines();
    let expected = rule::daily_limit(&lines, 1);
    let refused = refused_lines(&lines, &expected, None);
    let mut broker = Broker::for_crashes();
    broker.start_again();
    prepare(&broker, 1);
    let mut publisher = broker.command(publish());
    publisher.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let publisher = publisher.spawn().unwrap();
    for part in [100, 3, 2] {
        let enough = refused.len() as u64 / part;
        broker.wait_until("the relay is at work", || {
            sum(&broker, "refused", |at| &at["high_watermark"]) >= enough
        });
        broker.kill();
        broker.start_again();
    }
    let told = Output::from(publisher.wait_with_output().unwrap());
    assert!(told.status.success(), "{told:?}\nbroker: {}", broker.log());
    broker.wait_until("every dead letter is in its topic", || outbox_is_empty(&broker));
    assert_eq!(values(&broker, "refused"), refused);
    broker.stop();
    let checked = broker.done(["check", broker.data_dir().to_str().unwrap()]);
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_redrive_that_is_killed_or_interrupted_goes_on_where_it_was() {
    let lines = flights::lines();
    let expected = rule::daily_limit(&lines, 1);
    let refused = refused_lines(&lines, &expected, Some("daily-limit"));
    let broker = Broker::start();
    prepare(&broker, 1);
    broker.done(publish());
    broker.wait_until("every dead letter is in its topic", || outbox_is_empty(&broker));
    raise_the_limit(&broker);
    let words = ["dead-letter", "redrive", "refused", "--code", "daily-limit", "--json"];
    let before = values(&broker, "flights").len() as u64;
    for (part, signal) in [(8, Signal::KILL), (2, Signal::INT)] {
        let mut redrive = broker.command(words);
        redrive.stdout(Stdio::null()).stderr(Stdio::null());
        let mut redrive = redrive.spawn().unwrap();
        let enough = before + refused.len() as u64 / part;
        broker.wait_until("some are sent", || {
            sum(&broker, "flights", |at| &at["high_watermark"]) >= enough
        });
        // It may have come to its end before.
        let _ = kill_process(Pid::from_child(&redrive), signal);
        redrive.wait().unwrap();
    }
    broker.done(words);
    let admitted = values(&broker, "flights");
    let twice = admitted.len() - (before as usize + refused.len());
    assert!(twice <= TWICE_MAX, "{twice} were sent twice");
    let there: BTreeSet<_> = admitted.into_iter().collect();
    assert!(refused.iter().all(|line| there.contains(line)), "some were never sent");
    assert_eq!(broker.done(words).json()["sent"], 0);
}

#[test]
fn side_events_that_are_refused_are_counted_and_kept_where_their_topic_keeps_them() {
    let broker = Broker::start();
    let reject = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/probes/reject.wasm");
    prepare(&broker, 2);
    broker.done(["topic", "create", "notices"]);
    broker.done(["plugin", "push", "reject", reject]);
    let config = json!({ "limit": 2, "key": "event", "time": "event", "notice": "notices" });
    broker.done(["plugin", "bind", "flights", "daily-limit", "--config", &config.to_string()]);
    broker.done(["plugin", "bind", "notices", "reject", "--dead-letter", "refused"]);
    broker.done(publish());
    broker.wait_until("side events are relayed", || outbox_is_empty(&broker));
    let noticed = sum(&broker, "notices", |at| &at["judged"]["dead_letters"]);
    assert_eq!(sum(&broker, "flights", |at| &at["side_events_refused"]), noticed);
    assert_eq!(sum(&broker, "flights", |at| &at["side_events_lost"]), 0);
    broker.wait_until("the notices' letters are relayed", || {
        sum(&broker, "notices", |at| &at["outbox_pending"]) == 0
    });
    let list =
        ["dead-letter", "list", "refused", "--plugin", "reject", "--count", "1000", "--json"];
    let list = broker.done(list).json();
    let letters = list["letters"].as_array().unwrap();
    assert_eq!(letters.len() as u64, noticed);
    assert!(letters.iter().all(|letter| letter["topic"] == "notices"));
    let events = broker.done(["consume", "refused", "--until-end"]).json_lines();
    let causes: BTreeSet<_> = events.iter().filter_map(|event| header(event, "cause")).collect();
    assert_eq!(causes.len() as u64, noticed, "each names the side event it was");
}

#[test]
fn wrong_dead_letter_topics_are_refused_and_the_right_one_cannot_go() {
    let broker = Broker::start();
    prepare(&broker, 2);
    let bind = |topic: &str| {
        let said =
            broker.weir(["plugin", "bind", "flights", "daily-limit", "--dead-letter", topic]);
        assert!(!said.status.success());
        said.stderr
    };
    assert!(bind("nowhere").starts_with("weir: there is no topic nowhere: create it first"));
    assert!(bind("flights").contains("cannot be kept in the topic it judges"));
    assert!(bind("__catalog").contains("the broker's own"));
    let deleted = broker.weir(["topic", "delete", "refused"]);
    assert!(!deleted.status.success());
    assert!(deleted.stderr.contains("keeps its dead letters in topic refused"), "{deleted:?}");
    let chain = || broker.done(["plugin", "chain", "flights", "--json"]).json();
    assert_eq!(chain()["bindings"][0]["dead_letter"], "refused");
    broker.done(["plugin", "bind", "flights", "daily-limit", "--no-dead-letter"]);
    assert_eq!(chain()["bindings"][0]["dead_letter"], Value::Null);
    broker.done(["topic", "delete", "refused"]);
    let itself = broker.weir(["dead-letter", "redrive", "flights", "--to", "flights"]);
    assert!(!itself.status.success());
    // A topic without letters: its events are left alone.
    let none = broker.done(["dead-letter", "redrive", "flights", "--json"]).json();
    assert_eq!(none["sent"], 0);
}
