//! A group's members come, go and die while events come in and the broker is killed: every event
//! reaches one of them, and twice only where a death leaves no other way.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weir_tests::broker::Broker;

const PARTITIONS: usize = 6;
/// Events published in one go.
const PORTION: usize = 1_500;

/// A `weir consume --group` in a process of its own.
struct Member {
    child: Child,
    output: std::path::PathBuf,
}

impl Member {
    fn start(broker: &Broker, number: usize) -> Self {
        let output = broker.folder().join(format!("member-{number}.jsonl"));
        let mut command: Command = broker.command(["consume", "bookings", "--group", "readers"]);
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(broker.folder().join(format!("member-{number}.log"))).unwrap())
            .spawn()
            .unwrap();
        Self { child, output }
    }

    fn end(mut self, signal: Signal) -> Vec<(u64, u64)> {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let status = self.child.wait().unwrap();
        assert!(signal == Signal::KILL || status.success(), "{status}");
        let text = std::fs::read_to_string(&self.output).unwrap();
        // What was killed in the middle of a line did not hand that event over.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.map(|line| (number(&line["partition"]), number(&line["offset"]))).collect()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn publish(broker: &Broker, portion: usize) {
    let path = broker.folder().join("portion.jsonl");
    let mut file = File::create(&path).unwrap();
    for event in 0..PORTION {
        writeln!(file, r#"{{"user":"u{}","n":{}}}"#, event % 97, portion * PORTION + event)
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

/// The group in its one topic.
fn described(broker: &Broker) -> Value {
    let told = broker.weir(["group", "describe", "readers", "--json"]);
    match told.status.success() {
        true => told.json()["topics"][0].clone(),
        false => Value::Null,
    }
}

/// How many members hold how many partitions, the most first.
fn shares(broker: &Broker) -> Vec<usize> {
    let group = described(broker);
    let members = group["members"].as_array().cloned().unwrap_or_default();
    let share = |member: &Value| member["partitions"].as_array().unwrap().len();
    let mut shares: Vec<_> = members.iter().map(share).collect();
    shares.sort_unstable_by(|a, b| b.cmp(a));
    shares
}

fn lag(broker: &Broker) -> Option<u64> {
    let group = described(broker);
    Some(group["partitions"].as_array()?.iter().map(|at| number(&at["lag"])).sum())
}

#[test]
fn members_share_a_topic_through_arrivals_deaths_and_a_crash_of_the_broker() {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    broker.done(["topic", "create", "bookings", "--partitions", &PARTITIONS.to_string()]);
    let mut given = Vec::new();

    let first = Member::start(&broker, 1);
    publish(&broker, 0);
    broker.wait_until("one member has all", || shares(&broker) == [6]);
    let second = Member::start(&broker, 2);
    let third = Member::start(&broker, 3);
    publish(&broker, 1);
    broker.wait_until("three members share", || shares(&broker) == [2, 2, 2]);
    broker.wait_until("all is read", || lag(&broker) == Some(0));

    // One says goodbye: nothing of what it had committed comes twice.
    given.push(second.end(Signal::INT));
    broker.wait_until("two members share", || shares(&broker) == [3, 3]);
    broker.kill();
    broker.start_again();
    publish(&broker, 2);
    broker.wait_until("both are back", || {
        let group = described(&broker);
        let members = group["members"].as_array().cloned().unwrap_or_default();
        members.len() == 2 && members.iter().all(|member| !member["client"].is_null())
    });
    broker.wait_until("all is read again", || lag(&broker) == Some(0));
    let before: usize = given.iter().map(Vec::len).sum();
    assert_eq!(before, given[0].len());

    // One dies without a word: the other has everything within the session's time.
    given.push(first.end(Signal::KILL));
    publish(&broker, 3);
    broker.wait_until("one member has all again", || shares(&broker) == [6]);
    broker.wait_until("all is read in the end", || lag(&broker) == Some(0));

    let refused =
        broker.weir(["group", "reset", "readers", "bookings", "--to", "earliest", "--execute"]);
    assert!(!refused.status.success() && refused.stderr.contains("has members"), "{refused:?}");
    given.push(third.end(Signal::INT));

    let mut times: BTreeMap<(u64, u64), u32> = BTreeMap::new();
    for event in given.iter().flatten() {
        *times.entry(*event).or_default() += 1;
    }
    assert_eq!(times.len(), 4 * PORTION, "every event reached a member");
    for one in &given {
        let mut next = BTreeMap::new();
        for (partition, offset) in one {
            let before = next.insert(partition, offset);
            assert!(
                before.is_none_or(|before| before < offset),
                "{partition}/{offset} in its place"
            );
        }
    }
    // All was read and committed before anyone died, so nothing came twice.
    let twice = times.values().filter(|times| **times > 1).count();
    assert_eq!(twice, 0, "events that came twice");
}

#[test]
fn a_group_is_put_elsewhere_and_shown_before() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "2"]);
    let nothing = broker.weir(["group", "describe", "readers"]);
    assert!(nothing.stderr.contains("there is no group readers"), "{nothing:?}");
    publish(&broker, 0);
    let read = || {
        let told = broker.done(["consume", "bookings", "--group", "readers", "--until-end"]);
        told.stdout.lines().count()
    };
    assert_eq!((read(), read()), (PORTION, 0));
    assert_eq!(broker.done(["group", "list", "--json"]).json()[0]["lag"], json!(0));

    let reset = ["group", "reset", "readers", "bookings", "--json", "--to"];
    let shown = broker.done(reset.iter().chain(&["earliest"])).json();
    assert_eq!((&shown["done"], read()), (&json!(false), 0), "only shown");
    let done = broker.done(reset.iter().chain(&["earliest", "--execute"])).json();
    assert_eq!((&done["done"], read()), (&json!(true), PORTION));
    broker.done(reset.iter().chain(&["10", "--execute"]));
    assert_eq!(read(), PORTION - 20);
    broker.done(reset.iter().chain(&["0", "--partition", "1", "--execute"]));
    let second = described(&broker)["partitions"][1].clone();
    assert_eq!((&second["committed"], &second["lag"]), (&json!(0), &second["end"]));
    let wrong = broker.weir(reset.iter().chain(&["0", "--partition", "2"]));
    assert!(!wrong.status.success(), "{wrong:?}");
}
