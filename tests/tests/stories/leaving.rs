//! How a group's members end: killed, told to, or because nobody reads what they print; and what the
//! next one is given then.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_client::{Consumer, ConsumerOptions, From};
use weir_tests::broker::Broker;
use weir_tests::flights;
use weir_tests::load::{connect, topic};
use weir_wire::ids::GroupName;

/// Nothing here waits for it: who is said to move at once does so on a goodbye.
const LONGEST_SESSION: Duration = Duration::from_secs(300);

fn prepare(partitions: &str) -> Broker {
    let broker = Broker::start();
    broker.done(["topic", "create", "flights", "--partitions", partitions]);
    let input = flights::path();
    broker.done(["publish", "flights", "--input", input.to_str().unwrap(), "--key", "/tailnum"]);
    broker
}

fn member(broker: &Broker) -> Child {
    let mut command = broker.command(["consume", "flights", "--group", "readers"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The group's offsets, once it has any.
fn committed(broker: &Broker) -> BTreeMap<u64, u64> {
    let told = broker.weir(["group", "describe", "readers", "--json"]);
    let Ok(group) = serde_json::from_str::<Value>(&told.stdout) else { return BTreeMap::new() };
    let partitions = group["topics"][0]["partitions"].as_array().cloned().unwrap_or_default();
    let offset = |at: &Value| Some((at["partition"].as_u64()?, at["committed"].as_u64()?));
    partitions.iter().filter_map(offset).collect()
}

/// Partition and offset of each whole line.
fn places(text: &str) -> Vec<(u64, u64)> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let place =
        |line: Value| (line["partition"].as_u64().unwrap(), line["offset"].as_u64().unwrap());
    lines.map(place).collect()
}

/// Behind the last event of each partition.
fn ends(places: &[(u64, u64)]) -> BTreeMap<u64, u64> {
    let mut ends = BTreeMap::new();
    for (partition, offset) in places {
        let end = ends.entry(*partition).or_insert(0);
        assert_eq!(*end, *offset, "partition {partition} without a gap");
        *end += 1;
    }
    ends
}

#[test]
fn a_killed_member_costs_repeats_of_its_last_second_and_skips_nothing() {
    let broker = prepare("3");
    let mut first = member(&broker);
    let mut pipe = BufReader::new(first.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..3_000 {
        pipe.read_line(&mut text).unwrap();
    }
    // It goes on as far as the pipe takes it, and commits what it has written out.
    broker.wait_until("something is committed", || !committed(&broker).is_empty());
    kill_process(Pid::from_child(&first), Signal::KILL).unwrap();
    first.wait().unwrap();
    pipe.read_to_string(&mut text).unwrap();
    let printed = ends(&places(&text));

    let committed = committed(&broker);
    let behind = |at: &u64| printed[at] - committed[at];
    assert!(committed.keys().all(|at| committed[at] <= printed[at]), "{committed:?} {printed:?}");
    let told = broker.done(["consume", "flights", "--group", "readers", "--until-end"]);
    let again = places(&told.stdout);
    let mut next = committed.clone();
    for (partition, offset) in &again {
        let due = next.entry(*partition).or_insert(0);
        assert_eq!(*due, *offset, "it goes on where the group was");
        *due += 1;
    }
    assert_eq!(next.values().sum::<u64>(), 10_000, "all of it was given");
    let repeats: u64 = committed.keys().map(behind).sum();
    let before = committed.values().sum::<u64>() as usize;
    assert_eq!((again.len() + before) as u64, 10_000);
    let all = printed.values().sum::<u64>();
    assert!(repeats < all, "{repeats} of {all} events were printed again");
}

#[test]
fn a_member_that_is_told_to_end_leaves_nothing_to_be_repeated() {
    let broker = prepare("2");
    let mut printed = Vec::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut one = member(&broker);
        let mut pipe = BufReader::new(one.stdout.take().unwrap());
        let mut text = String::new();
        for _ in 0..1_000 {
            pipe.read_line(&mut text).unwrap();
        }
        kill_process(Pid::from_child(&one), signal).unwrap();
        pipe.read_to_string(&mut text).unwrap();
        assert!(one.wait().unwrap().success());
        printed.extend(places(&text));
        assert_eq!(ends(&printed), committed(&broker), "what was printed is committed");
    }
    // The goodbye was heard: nobody waits for a session to end.
    let rest = broker.done(["consume", "flights", "--group", "readers", "--until-end"]);
    printed.extend(places(&rest.stdout));
    assert_eq!(ends(&printed).values().sum::<u64>(), 10_000, "each event once");
}

#[test]
fn who_prints_for_nobody_ends() {
    let broker = prepare("1");
    let mut one = member(&broker);
    let mut pipe = BufReader::new(one.stdout.take().unwrap());
    let mut text = String::new();
    for _ in 0..10_000 {
        pipe.read_line(&mut text).unwrap();
    }
    // All is printed, so it does not find out by writing.
    broker.wait_until("all is committed", || committed(&broker).values().sum::<u64>() == 10_000);
    drop(pipe);
    let told = one.wait_with_output().unwrap();
    assert!(told.status.success() && told.stderr.is_empty(), "{told:?}");
}

async fn open(broker: &Broker) -> Consumer {
    let options = ConsumerOptions {
        from: From::Committed,
        group: Some(GroupName::parse("readers").unwrap()),
        auto_commit: Some(Duration::from_secs(3_600)),
        session_timeout: LONGEST_SESSION,
        ..ConsumerOptions::default()
    };
    connect(&broker.context()).await.consumer(&topic("flights"), options).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_gives_the_partitions_to_others_at_once_and_repeats_nothing() {
    let broker = prepare("4");
    let mut first = open(&broker).await;
    let mut given = Vec::new();
    for _ in 0..4_000 {
        let event = first.next().await.unwrap().unwrap();
        given.push((u64::from(event.partition.0), event.offset.0));
    }
    // The last is in hand, and finished: only its caller knows.
    first.commit().await.unwrap();
    let mut second = open(&broker).await;
    first.close().await.unwrap();
    while given.len() < 10_000 {
        let event = second.next().await.unwrap().unwrap();
        given.push((u64::from(event.partition.0), event.offset.0));
    }
    assert_eq!(ends(&given).values().sum::<u64>(), 10_000, "each event once, in order");
    second.close().await.unwrap();
}
