//! A rule changes the form of its state: what it has counted by key it goes on to count by letter,
//! and back again; a version that does not take the state over leaves the old one at work; and a
//! broker that is killed meanwhile has the old or the new.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use weir_tests::broker::Broker;

fn probe(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/probes");
    folder.join(name).with_extension("wasm").to_str().unwrap().to_owned()
}

/// Publishes one event per key; gives how many were accepted and how many were over the limit.
fn publish(broker: &Broker, topic: &str, keys: &[&str]) -> (u64, u64) {
    let lines: String = keys.iter().map(|key| format!("{}\n", json!({ "k": key }))).collect();
    fs::write(broker.folder().join("events.jsonl"), lines).unwrap();
    let told =
        broker.weir(["publish", topic, "--input", "events.jsonl", "--key", "/k", "--json"]).json();
    let limited = told["rejected"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    (told["accepted"].as_u64().unwrap(), limited)
}

fn bind(broker: &Broker, topic: &str, version: &str, limit: u64) -> Value {
    let config = json!({ "limit": limit }).to_string();
    let plugin = format!("tally@{version}");
    broker.done(["plugin", "bind", topic, &plugin, "--config", &config, "--json"]).json()
}

/// A broker with a topic, and two versions of one rule: by key, and by the key's first letter.
fn with_two_versions(mut broker: Broker) -> Broker {
    broker.start_again();
    broker.done(["topic", "create", "bookings"]);
    broker.done(["plugin", "push", "tally", &probe("counter")]);
    broker.done(["plugin", "push", "tally", &probe("per-letter")]);
    broker
}

#[test]
fn counts_by_key_become_counts_by_letter_and_a_rollback_finds_the_old_ones() {
    let mut broker = with_two_versions(Broker::for_crashes());
    let versions = broker.done(["plugin", "describe", "tally", "--json"]).json();
    let schemas = versions["versions"].as_array().unwrap().iter().map(|of| of["schema"].clone());
    assert_eq!(schemas.collect::<Vec<_>>(), ["", "per-letter"]);

    bind(&broker, "bookings", "1", 4);
    assert_eq!(publish(&broker, "bookings", &["alice", "alice", "anna", "bert"]), (4, 0));
    let change = bind(&broker, "bookings", "2", 4);
    assert_eq!(change["chain"]["bindings"][0]["keyspace"], "per-letter@2");
    assert_eq!(change["since"], json!([{ "partition": 0, "offset": 4 }]));
    assert_eq!(change["unmigrated"], json!([]));
    // a: three so far; b: one.
    assert_eq!(publish(&broker, "bookings", &["adam", "arne", "bea"]), (2, 1));
    broker.kill();
    broker.start_again();
    assert_eq!(publish(&broker, "bookings", &["anton", "bo", "bob", "ben"]), (2, 2));
    let chain = broker.done(["plugin", "chain", "bookings"]).stdout;
    assert!(chain.contains("per-letter@2"), "{chain}");

    let back = broker.done(["plugin", "rollback", "bookings", "tally", "--json"]).json();
    assert_eq!(back["chain"]["bindings"][0]["keyspace"], "");
    assert_eq!(
        publish(&broker, "bookings", &["alice", "alice", "alice", "adam"]),
        (3, 1),
        "alice had two of four at the swap"
    );
    let again = bind(&broker, "bookings", "2", 8);
    assert_eq!(again["chain"]["bindings"][0]["keyspace"], "per-letter@4");
    assert_eq!(
        publish(&broker, "bookings", &["anton", "anton"]),
        (1, 1),
        "alice five, anna and adam one each: seven of eight"
    );

    // What the log says is what the checkpoint says, and what was found without it.
    broker.stop();
    assert!(broker.weir(["check", "weir-data"]).status.success());
    broker.delete_views();
    broker.start_again();
    assert_eq!(publish(&broker, "bookings", &["anton", "bea"]), (1, 1));
    broker.stop();
    assert!(broker.weir(["check", "weir-data"]).status.success());
}

#[test]
fn a_version_that_does_not_take_the_state_over_leaves_the_old_one_at_work() {
    let broker = with_two_versions(Broker::for_crashes());
    bind(&broker, "bookings", "1", 2);
    assert_eq!(publish(&broker, "bookings", &["alice", "!", "bob"]), (3, 0));
    let refused = |arguments: &[&str]| {
        let told = broker.weir(arguments);
        assert!(!told.status.success(), "{told:?}");
        told.stderr
    };
    let why = refused(&["plugin", "bind", "bookings", "tally@2", "--config", "{\"limit\":2}"]);
    let words = "plugin tally@2 cannot have the state of bookings/0: it does not take over key \"!\" of the schema \"\": plugin-trap";
    assert!(why.contains(words) && why.contains("nothing was changed"), "{why}");
    let chain = broker.done(["plugin", "chain", "bookings", "--json"]).json();
    assert_eq!((&chain["revision"], &chain["bindings"][0]["version"]), (&json!(1), &json!(1)));
    assert_eq!(publish(&broker, "bookings", &["alice", "alice"]), (1, 1));

    // The other way there is no way: a version without a schema cannot read what has one.
    broker.done(["topic", "create", "others"]);
    bind(&broker, "others", "2", 2);
    assert_eq!(publish(&broker, "others", &["alice"]), (1, 0));
    let why = refused(&["plugin", "bind", "others", "tally@1"]);
    let words = "(1 keys of the schema \"per-letter\"), and it exports no weir:plugin/migration";
    assert!(why.contains(words), "{why}");
    assert_eq!(publish(&broker, "others", &["ann", "ann"]), (1, 1));
    let why = refused(&["plugin", "push", "bad", &probe("bad-schema")]);
    assert!(why.contains("schema \"per week\" is not valid"), "{why}");
}

/// Killed at ever later moments of a migration of some thousand entries.
#[test]
fn a_broker_that_is_killed_meanwhile_has_the_old_or_the_new() {
    const KEYS: u64 = 3_000;
    let mut broker = with_two_versions(Broker::for_crashes());
    let keys: Vec<String> = (0..KEYS).map(|n| format!("a{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (mut old, mut new) = (0, 0);
    for attempt in 0..6_u64 {
        let topic = format!("topic-{attempt}");
        broker.done(["topic", "create", &topic]);
        // One more of each key, and of the letter.
        bind(&broker, &topic, "1", KEYS + 1);
        assert_eq!(publish(&broker, &topic, &keys), (KEYS, 0));
        let config = json!({ "limit": KEYS + 1 }).to_string();
        let mut swap = broker.command(["plugin", "bind", &topic, "tally@2", "--config", &config]);
        let swap = swap.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut swap = swap.spawn().unwrap();
        after(Duration::from_millis(attempt * attempt * 15));
        broker.kill();
        let _ = swap.wait().unwrap();
        broker.start_again();
        let chain = broker.done(["plugin", "chain", &topic, "--json"]).json();
        match chain["bindings"][0]["version"].as_u64().unwrap() {
            1 => old += 1,
            2 => new += 1,
            other => panic!("version {other}"),
        }
        if chain["bindings"][0]["version"] == 1 {
            assert_eq!(publish(&broker, &topic, &["a0"]), (1, 0), "as if nothing had happened");
            let change = bind(&broker, &topic, "2", KEYS + 2);
            assert_eq!(change["unmigrated"], json!([]));
        }
        assert_eq!(
            publish(&broker, &topic, &["a", "a"]),
            (1, 1),
            "every entry was taken over, and once: attempt {attempt}"
        );
    }
    assert_eq!(old + new, 6);
    broker.stop();
    let told = broker.weir(["check", "weir-data", "--json"]);
    assert!(told.status.success(), "{told:?}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the moment of the kill is what is tried; there is no event to wait for"
)]
fn after(time: Duration) {
    thread::sleep(time);
}
