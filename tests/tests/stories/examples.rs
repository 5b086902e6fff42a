//! The examples of the client's SDK, run as they are: publish, read as a group with typed values and
//! automatic commits, and once more in the order of time.

use std::path::PathBuf;
use std::process::Command;

use weir_tests::broker::{Broker, Output};

/// An example, as cargo builds it with the tests.
fn example(name: &str) -> PathBuf {
    // target/debug/deps/stories-0123 -> target/debug/examples/NAME
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing: build all targets first", path.display());
    path
}

fn run(broker: &Broker, name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(example(name));
    let told = Output::of(command.args(arguments).env("WEIR_CONTEXT", broker.context()));
    assert!(told.status.success(), "{name}: {told:?}");
    told.stdout
}

#[test]
fn the_examples_do_what_they_say() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "3"]);
    let told = run(&broker, "producer", &["bookings"]);
    assert_eq!(told.lines().count(), 3, "{told}");
    assert!(told.contains("12A: Accepted"), "{told}");

    std::fs::write(broker.folder().join("more.jsonl"), "{\"seat\":\"12A\"}\n[]\n").unwrap();
    broker.done(["publish", "bookings", "--input", "more.jsonl"]);
    let told = run(&broker, "typed", &["bookings"]);
    let lines: Vec<_> = told.lines().collect();
    assert!(lines[0].starts_with("skipped: the event at offset"), "{told}");
    assert_eq!(lines[1..], ["12A: 2", "12B: 1", "12C: 1"]);
    assert_eq!(run(&broker, "typed", &["bookings"]), "", "its commits were made by themselves");

    let told = run(&broker, "replay", &["bookings", "0", "9000000000000"]);
    assert_eq!(told.lines().count(), 5, "{told}");
    let times = told.lines().map(|line| line.split(':').next().unwrap().parse::<u64>().unwrap());
    assert!(times.is_sorted(), "{told}");
    // The producer's events say nothing of a time.
    assert_eq!(run(&broker, "replay", &["bookings", "0", "1"]).lines().count(), 3);
}
