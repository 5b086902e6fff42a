//! A rule comes, changes and goes while a publisher runs: no error at the publisher, no event lost
//! or judged twice, and each change at one exact offset.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use serde_json::{Value, json};
use weir_tests::broker::{Broker, Output};
use weir_tests::flights;

/// Lines written before the next look at the broker.
const BURST_LINES: u64 = 100;
/// Events judged in each of the phases before the operator goes on, at least.
const PHASE_EVENTS: u64 = 400;
/// Keys that take turns.
const USERS: u64 = 50;
/// What the first binding lets pass per user.
const LIMIT: usize = 3;

#[test]
fn a_rule_comes_changes_and_goes_under_a_running_publisher() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "4"]);
    let mut publisher = broker
        .command([
            "publish",
            "bookings",
            "--input",
            "-",
            "--key",
            "/user",
            "--timestamp",
            "/at",
            "--rejected",
            "rejected.jsonl",
            "--json",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = publisher.stdin.take().unwrap();
    let (tell, judged) = sync_channel(1);
    let (sent, changes) = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(&broker, stdin, &tell));
        let changes = operate(&broker, judged);
        (feeder.join().unwrap(), changes)
    });
    let told = Output::from(publisher.wait_with_output().unwrap());
    assert!(told.status.success(), "{told:?}");

    let refused = refused(&broker);
    let accepted = sent - refused.len() as u64;
    assert_eq!(
        told.json(),
        json!({ "sent": sent, "accepted": accepted, "dropped": 0,
                "rejected": { "daily-limit": refused.len() }, "unknown": 0 })
    );
    let log = consumed(&broker);
    check_nothing_is_lost_or_doubled(sent, &refused, &log);
    for (partition, events) in &log {
        check_changes_are_exact(&changes, *partition, events, &refused);
    }
    // Somewhere events flowed before, between and after the changes; a burst need not be everywhere.
    let flowed = |from: &dyn Fn(u64) -> u64, to: &dyn Fn(u64) -> u64| {
        log.iter().any(|(partition, events)| {
            let phase = from(*partition)..to(*partition);
            events.iter().any(|event| phase.contains(&event.offset))
        })
    };
    let [bound, swapped, unbound] = changes.each_ref().map(|change| |of: u64| change[&of]);
    assert!(flowed(&|_| 0, &bound) && flowed(&bound, &swapped));
    assert!(flowed(&swapped, &unbound) && flowed(&unbound, &|_| u64::MAX));
    broker.stop();
    broker.start_again();
    let topic = broker.done(["topic", "describe", "bookings", "--json"]).json();
    for partition in topic["partitions"].as_array().unwrap() {
        assert_eq!(partition["chain_revision"], 3, "{partition}");
    }
}

/// Where each of the three changes took effect, per partition.
type Changes = [BTreeMap<u64, u64>; 3];

/// The operator: bind, swap, unbind, each after some more events.
fn operate(broker: &Broker, judged: Receiver<u64>) -> Changes {
    let second = second_version(broker);
    let config =
        |limit: usize| json!({ "limit": limit, "key": "event", "time": "event" }).to_string();
    let wait = |events: u64| {
        // What was told before now may be old; so may the first word after it.
        while judged.try_recv().is_ok() {}
        judged.recv().unwrap();
        let began = judged.recv().unwrap();
        while judged.recv().unwrap() < began + events {}
    };
    let since = |change: Output| {
        let change = change.json();
        let at = change["since"].as_array().unwrap().iter();
        at.map(|at| (at["partition"].as_u64().unwrap(), at["offset"].as_u64().unwrap())).collect()
    };
    wait(PHASE_EVENTS);
    broker.done(["plugin", "push", "daily-limit", flights::daily_limit().to_str().unwrap()]);
    let bound = broker.done([
        "plugin",
        "bind",
        "bookings",
        "daily-limit",
        "--config",
        &config(LIMIT),
        "--json",
    ]);
    wait(PHASE_EVENTS);
    broker.done(["plugin", "push", "daily-limit", &second]);
    let swapped = broker.done([
        "plugin",
        "bind",
        "bookings",
        "daily-limit@2",
        "--config",
        &config(1_000_000),
        "--json",
    ]);
    wait(PHASE_EVENTS);
    let unbound = broker.done(["plugin", "unbind", "bookings", "daily-limit", "--json"]);
    wait(PHASE_EVENTS);
    [since(bound), since(swapped), since(unbound)]
}

/// The same rule with one more custom section: another version, with another digest.
fn second_version(broker: &Broker) -> String {
    let name = b"second version";
    let mut component = fs::read(flights::daily_limit()).unwrap();
    component.extend([0, 1 + name.len() as u8, name.len() as u8]);
    component.extend(name);
    let path = broker.folder().join("second.wasm");
    fs::write(&path, component).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Writes events until the operator is done, and tells after each burst how many were judged;
/// gives how many were written.
fn feed(broker: &Broker, mut stdin: ChildStdin, tell: &SyncSender<u64>) -> u64 {
    let mut sent = 0;
    loop {
        for _ in 0..BURST_LINES {
            sent += 1;
            let user = format!("user-{}", sent % USERS);
            writeln!(stdin, r#"{{"seq":{sent},"user":"{user}","at":1357034400000}}"#).unwrap();
        }
        if let Err(TrySendError::Disconnected(_)) = tell.try_send(judged(broker)) {
            return sent;
        }
    }
}

fn judged(broker: &Broker) -> u64 {
    let topic = broker.done(["topic", "describe", "bookings", "--json"]).json();
    let count = |partition: &Value| {
        ["accepted", "rejected"]
            .map(|outcome| partition["judged"][outcome].as_u64().unwrap())
            .iter()
            .sum::<u64>()
    };
    topic["partitions"].as_array().unwrap().iter().map(count).sum()
}

/// The numbers of the refused events.
fn refused(broker: &Broker) -> BTreeSet<u64> {
    let rejected = fs::read_to_string(broker.folder().join("rejected.jsonl")).unwrap();
    let mut refused = BTreeSet::new();
    for line in rejected.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(refused.insert(line["line"].as_u64().unwrap()), "{line} was refused twice");
    }
    refused
}

/// A stored event.
struct Event {
    offset: u64,
    seq: u64,
    user: String,
}

/// The events of each partition, in order.
fn consumed(broker: &Broker) -> BTreeMap<u64, Vec<Event>> {
    let lines =
        broker.done(["consume", "bookings", "--from", "earliest", "--until-end"]).json_lines();
    let mut log: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
    for line in lines {
        let value: Value = serde_json::from_str(line["value"].as_str().unwrap()).unwrap();
        log.entry(line["partition"].as_u64().unwrap()).or_default().push(Event {
            offset: line["offset"].as_u64().unwrap(),
            seq: value["seq"].as_u64().unwrap(),
            user: value["user"].as_str().unwrap().to_owned(),
        });
    }
    log
}

fn check_nothing_is_lost_or_doubled(
    sent: u64,
    refused: &BTreeSet<u64>,
    log: &BTreeMap<u64, Vec<Event>>,
) {
    let mut all: Vec<u64> =
        log.values().flatten().map(|event| event.seq).chain(refused.iter().copied()).collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(1..=sent), "some of {sent} events are lost or doubled: {all:?}");
}

/// Below the first change nothing was refused; between the first and the second at most `LIMIT` per
/// user passed; from the second on nothing was refused.
fn check_changes_are_exact(
    changes: &Changes,
    partition: u64,
    events: &[Event],
    refused: &BTreeSet<u64>,
) {
    let [bound, swapped, unbound] = changes.each_ref().map(|change| change[&partition]);
    assert!(bound <= swapped && swapped <= unbound, "{bound}, {swapped}, {unbound}");
    assert!(events.is_sorted_by_key(|event| event.seq), "the publisher's order holds");

    let seqs = |from: u64, to: u64| {
        events.iter().filter(move |event| from <= event.offset && event.offset < to)
    };
    let mut passed: BTreeMap<&str, usize> = BTreeMap::new();
    for event in seqs(bound, swapped) {
        *passed.entry(&event.user).or_default() += 1;
    }
    assert!(passed.values().all(|count| *count <= LIMIT), "{passed:?}");

    // Which of the refused were of this partition: a user is in one.
    let users: BTreeSet<&str> = events.iter().map(|event| event.user.as_str()).collect();
    let mine =
        refused.iter().filter(|seq| users.contains(format!("user-{}", **seq % USERS).as_str()));
    let (first, last) = (mine.clone().min().unwrap(), mine.max().unwrap());
    assert!(seqs(0, bound).all(|event| event.seq < *first), "refused before the rule was bound");
    assert!(
        seqs(swapped, u64::MAX).all(|event| *last < event.seq),
        "refused after the limit was raised"
    );
}
