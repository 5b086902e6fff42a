//! What operators do while events flow: pause and resume, change one limit, look at what a plugin
//! does and says, and get out of what went wrong.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use weir_tests::broker::{Broker, Output};
use weir_tests::load;
use weir_wire::admin::{BindingSpec, Durability};
use weir_wire::ids::PluginName;

fn probe(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../plugins/probes");
    folder.join(name).with_extension("wasm").to_str().unwrap().to_owned()
}

/// Publishes so many events; gives the summary.
fn publish(broker: &Broker, topic: &str, events: usize) -> Value {
    fs::write(broker.folder().join("events.jsonl"), "{\"a\":1}\n".repeat(events)).unwrap();
    broker.weir(["publish", topic, "--input", "events.jsonl", "--json"]).json()
}

fn describe(broker: &Broker, plugin: &str) -> Value {
    broker.done(["plugin", "describe", plugin, "--json"]).json()
}

/// The sentence of a command that fails.
fn refused(broker: &Broker, arguments: &[&str]) -> String {
    let told = broker.weir(arguments);
    assert!(!told.status.success(), "{arguments:?}: {told:?}");
    told.stderr
}

#[test]
fn a_paused_rule_keeps_its_place_and_events_pass_it_by() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    broker.done(["plugin", "push", "no", &probe("reject")]);
    broker.done(["plugin", "bind", "bookings", "no", "--limit", "fuel=20000000"]);
    assert_eq!(publish(&broker, "bookings", 3)["rejected"]["no"], 3);

    let paused = broker.done(["plugin", "pause", "bookings", "no", "--json"]).json();
    assert_eq!(paused["since"], json!([{ "partition": 0, "offset": 0 }]));
    assert_eq!(publish(&broker, "bookings", 2)["accepted"], 2);
    assert!(refused(&broker, &["plugin", "pause", "bookings", "no"]).contains("paused already"));
    let chain = broker.done(["plugin", "chain", "bookings"]).stdout;
    assert!(chain.contains("no@1 (paused)"), "{chain}");
    let stored = broker.done(["consume", "bookings", "--until-end"]).json_lines();
    assert_eq!(
        (stored.len(), &stored[0]["headers"]),
        (2, &json!([])),
        "no stamp: it is no failure"
    );

    // A change of what is paused is tried, and does not put it to work.
    broker.done(["plugin", "push", "no", &probe("refuses-config")]);
    let told = refused(&broker, &["plugin", "bind", "bookings", "no"]);
    assert!(told.contains("refuses its config"), "{told}");
    broker.done(["plugin", "bind", "bookings", "no@1", "--on-failure", "open"]);
    broker.stop();
    broker.start_again();
    assert_eq!(publish(&broker, "bookings", 1)["accepted"], 1, "also after a restart");
    let report = describe(&broker, "no");
    let binding = &report["bindings"][0]["binding"];
    assert_eq!(
        (&binding["paused"], &binding["limits"]["fuel"]),
        (&json!(true), &json!(20_000_000))
    );
    assert_eq!(report["bindings"][0]["partitions"][0]["version"], Value::Null);

    let resumed = broker.done(["plugin", "resume", "bookings", "no", "--json"]).json();
    assert_eq!(resumed["since"], json!([{ "partition": 0, "offset": 3 }]));
    assert_eq!(publish(&broker, "bookings", 4)["rejected"]["no"], 4);
    assert!(refused(&broker, &["plugin", "resume", "bookings", "no"]).contains("is not paused"));
    let at_work = &describe(&broker, "no")["bindings"][0]["partitions"][0];
    assert_eq!((&at_work["version"], &at_work["since"]), (&json!(1), &json!(3)));
}

#[test]
fn one_limit_changes_and_the_others_stay() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    broker.done(["plugin", "push", "count", &probe("accept")]);
    let limits = |change: Output| change.json()["chain"]["bindings"][0]["limits"].clone();
    let bind = |limit: &str| {
        broker.done(["plugin", "bind", "bookings", "count", "--limit", limit, "--json"])
    };
    let first = limits(bind("fuel=7000000"));
    let second = limits(bind("memory_bytes=32MiB"));
    assert_eq!((&second["fuel"], &second["memory_bytes"]), (&json!(7_000_000), &json!(32 << 20)));
    assert_eq!(second["state_keys"], first["state_keys"]);
    let told = refused(&broker, &["plugin", "bind", "bookings", "count", "--limit", "fuel=0"]);
    assert!(told.contains("fuel is 0"), "{told}");
    assert_eq!(limits(bind("fuel=8000000"))["memory_bytes"], 32 << 20);
}

#[test]
fn a_plugin_shows_what_it_did_and_uses() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "2"]);
    broker.done(["plugin", "push", "third", &probe("trap-third")]);
    broker.done(["plugin", "bind", "bookings", "third"]);
    let lines: String =
        (0..60).map(|n| format!("{{\"t\":{}}}\n", 1_357_034_400_000_u64 + n)).collect();
    fs::write(broker.folder().join("events.jsonl"), lines).unwrap();
    let told = broker.weir([
        "publish",
        "bookings",
        "--input",
        "events.jsonl",
        "--timestamp",
        "/t",
        "--json",
    ]);
    let trapped = told.json()["rejected"]["plugin-trap"].as_u64().unwrap();
    assert_eq!(trapped, 20, "{told:?}");

    let report = describe(&broker, "third");
    let binding = &report["bindings"][0];
    let total = &binding["total"];
    assert_eq!(total["verdicts"]["accepted"], 40);
    assert_eq!(total["verdicts"]["faults"], json!({ "plugin-trap": 20 }));
    assert_eq!(total["fuel"]["events"], 60);
    let fuel_max = total["fuel"]["max"].as_u64().unwrap();
    assert!(0 < fuel_max && fuel_max < 10_000, "{total}");
    assert!(total["latency"]["sampled"].as_u64().unwrap() > 0, "{total}");
    assert!(total["memory_bytes"].as_u64().unwrap() >= 64 << 10, "{total}");
    // One for each partition, and a fresh one for whatever came behind a trap.
    let instances = total["instances"].as_u64().unwrap();
    assert!((2..=22).contains(&instances), "{total}");
    assert_eq!(total["breaker"]["state"], "closed", "a third of its calls fail");
    assert_eq!(total["digest"], binding["binding"]["digest"]);
    let page = broker.done(["plugin", "describe", "third"]).stdout;
    assert!(page.contains("failed: plugin-trap 20") && page.contains("10,000,000"), "{page}");

    let lines = broker.done(["plugin", "logs", "third", "--json"]).json_lines();
    let first = &lines[0];
    assert_eq!((&first["source"], &first["level"]), (&json!("host"), &json!("error")));
    let text = first["text"].as_str().unwrap();
    assert!(text.starts_with("plugin-trap: ") && text.contains("thrown away"), "{text}");
    assert_eq!((&first["topic"], &first["version"]), (&json!("bookings"), &json!(1)));
    let told = refused(&broker, &["plugin", "logs", "nobody"]);
    assert!(told.contains("there is no plugin nobody"), "{told}");
}

#[test]
fn a_log_is_followed_over_swaps_and_restarts_until_ctrl_c() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    broker.done(["plugin", "push", "talk", &probe("log-flood")]);
    broker.done(["plugin", "bind", "bookings", "talk", "--limit", "log_bytes=32"]);
    publish(&broker, "bookings", 1);
    let mut follower = broker
        .command(["plugin", "logs", "talk", "--follow", "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut line = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let said = |line: &Value| (line["text"].clone(), line["version"].clone());
    let expected = |version: u32| (json!("0123456789abcdef"), json!(version));
    // Two lines of 16 bytes fit.
    assert_eq!([line(), line()].each_ref().map(said), [expected(1), expected(1)]);

    let mut component = fs::read(probe("log-flood")).unwrap();
    component.extend([0, 2, 1, b'x']);
    fs::write(broker.folder().join("second.wasm"), component).unwrap();
    broker.done(["plugin", "push", "talk", "second.wasm"]);
    broker.done(["plugin", "bind", "bookings", "talk"]);
    publish(&broker, "bookings", 1);
    assert_eq!([line(), line()].each_ref().map(said), [expected(2), expected(2)]);

    broker.stop();
    broker.start_again();
    publish(&broker, "bookings", 1);
    assert_eq!(line(), json!({ "restarted": true }));
    assert_eq!([line(), line()].each_ref().map(said), [expected(2), expected(2)]);

    kill_process(Pid::from_child(&follower), Signal::INT).unwrap();
    assert!(follower.wait().unwrap().success(), "Ctrl-C is how it ends");
    let cut = &describe(&broker, "talk")["bindings"][0]["total"]["log_bytes_cut"];
    assert_eq!(*cut, 16_000 - 32);
}

#[test]
fn a_version_that_is_gone_is_not_rolled_back_to() {
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    for probe_name in ["accept", "replace"] {
        broker.done(["plugin", "push", "rule", &probe(probe_name)]);
    }
    broker.done(["plugin", "bind", "bookings", "rule@1"]);
    let told = refused(&broker, &["plugin", "rollback", "bookings", "rule"]);
    assert!(told.contains("not changed since it was bound"), "{told}");
    broker.done(["plugin", "bind", "bookings", "rule@2"]);
    // A pause is nothing to go back from.
    broker.done(["plugin", "pause", "bookings", "rule"]);
    let back = broker.done(["plugin", "rollback", "bookings", "rule", "--json"]).json();
    let binding = &back["chain"]["bindings"][0];
    assert_eq!((&binding["version"], &binding["paused"]), (&json!(1), &json!(true)));
    broker.done(["plugin", "resume", "bookings", "rule"]);

    broker.done(["plugin", "delete", "rule@2"]);
    let told = refused(&broker, &["plugin", "rollback", "bookings", "rule"]);
    assert!(told.contains("version 2, which was deleted"), "{told}");
    assert_eq!(publish(&broker, "bookings", 1)["accepted"], 1);
}

#[test]
fn one_component_under_two_names_is_two_plugins() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    for name in ["one", "two"] {
        broker.done(["plugin", "push", name, &probe("reject")]);
        broker.done(["plugin", "bind", "bookings", name]);
    }
    publish(&broker, "bookings", 2);
    broker.done(["plugin", "unbind", "bookings", "one"]);
    broker.done(["plugin", "delete", "one@1"]);
    assert_eq!(publish(&broker, "bookings", 3)["rejected"]["no"], 3, "the other still has it");
    broker.stop();
    fs::remove_dir_all(broker.data_dir().join("cache")).unwrap();
    broker.start_again();
    assert_eq!(publish(&broker, "bookings", 1)["rejected"]["no"], 1);
}

#[test]
fn a_component_that_is_missing_fails_its_events_and_can_be_paused() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    for name in ["accept", "replace"] {
        broker.done(["plugin", "push", name, &probe(name)]);
        broker.done(["plugin", "bind", "bookings", name]);
    }
    publish(&broker, "bookings", 2);
    broker.stop();
    let digest = fs::read_dir(broker.data_dir().join("components")).unwrap();
    for component in digest {
        fs::remove_file(component.unwrap().path()).unwrap();
    }
    fs::remove_dir_all(broker.data_dir().join("cache")).unwrap();
    broker.start_again();
    let read = broker.done(["consume", "bookings", "--until-end"]).json_lines();
    assert_eq!(read.len(), 2, "readers are served");
    let told = publish(&broker, "bookings", 1);
    assert_eq!(told["rejected"]["plugin-missing"], 1, "{told}");
    // With two of them, each can be taken out of the way by itself.
    broker.done(["plugin", "pause", "bookings", "replace"]);
    broker.done(["plugin", "pause", "bookings", "accept"]);
    assert_eq!(publish(&broker, "bookings", 1)["accepted"], 1);
    let told = refused(&broker, &["plugin", "resume", "bookings", "accept"]);
    assert!(told.contains("accept") || told.contains("component"), "{told}");
    assert_eq!(publish(&broker, "bookings", 1)["accepted"], 1);
}

#[test]
fn operators_who_change_one_chain_at_once_lose_nothing() {
    const OPERATORS: usize = 6;
    let broker = Broker::start();
    broker.done(["topic", "create", "bookings", "--partitions", "3"]);
    let names: Vec<String> = (0..OPERATORS).map(|number| format!("rule-{number}")).collect();
    for name in &names {
        broker.done(["plugin", "push", name, &probe("accept")]);
    }
    let mut revisions: Vec<u64> = std::thread::scope(|scope| {
        let bind = |name: &String| {
            let change = broker.done(["plugin", "bind", "bookings", name, "--json"]).json();
            change["chain"]["revision"].as_u64().unwrap()
        };
        let all: Vec<_> = names.iter().map(|name| scope.spawn(move || bind(name))).collect();
        all.into_iter().map(|operator| operator.join().unwrap()).collect()
    });
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=OPERATORS as u64).collect::<Vec<_>>(), "one after the other");
    let chain = broker.done(["plugin", "chain", "bookings", "--json"]).json();
    let bound: Vec<_> =
        chain["bindings"].as_array().unwrap().iter().map(|link| link["plugin"].clone()).collect();
    assert_eq!(bound, names.iter().map(|name| json!(name)).collect::<Vec<_>>());
}

/// A plugin that takes a second to be tried keeps its own topic's operators waiting, and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_plugin_keeps_only_its_own_topic_waiting() {
    let broker = Broker::start();
    let client = load::connect(&broker.context()).await;
    let admin = client.admin().unwrap();
    for topic in ["slow", "quick"] {
        load::create_topic(&admin, topic, 1, Durability::Durable).await;
    }
    let name = |text: &str| PluginName::parse(text).unwrap();
    for rule in ["spin-in-start", "accept"] {
        let component = fs::read(probe(rule)).unwrap().into();
        admin.push_plugin(&name(rule), component).await.unwrap();
    }
    let (slow, quick) = (load::topic("slow"), load::topic("quick"));
    admin.bind(&quick, &name("accept"), &BindingSpec::default()).await.unwrap();
    let spinning = {
        let (admin, slow) = (admin.clone(), slow.clone());
        let spin = name("spin-in-start");
        tokio::spawn(async move { admin.bind(&slow, &spin, &BindingSpec::default()).await })
    };
    let mut changes = 0;
    while !spinning.is_finished() {
        match changes % 2 {
            0 => admin.pause(&quick, &name("accept")).await.unwrap(),
            _ => admin.resume(&quick, &name("accept")).await.unwrap(),
        };
        changes += 1;
    }
    let told = spinning.await.unwrap().unwrap_err();
    assert_eq!(told.code(), Some("does-not-start"));
    assert!(changes > 2, "{changes} changes while the other was tried");
}
