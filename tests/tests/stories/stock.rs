//! The rules that weir brings along, bound by the commands of their READMEs, one at a time and as a
//! chain; told through `weir publish` and `weir consume`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use weir_tests::broker::{Broker, Output, program};

/// The project's folder, where READMEs expect to be read.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Runs the commands that a rule's README shows: its first indented lines.
fn bind_as_told(broker: &Broker, plugin: &str) {
    let readme = project().join("plugins").join(plugin).join("README.md");
    let readme = fs::read_to_string(readme).unwrap();
    let commands: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("    weir "))
        .map_while(|line| line.strip_prefix("    "))
        .collect();
    assert!(commands.len() >= 3, "{plugin}: {commands:?}");
    let weir = program();
    let path = format!("{}:{}", weir.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-ec", &commands.join("\n")]);
    shell.env("PATH", path).env("WEIR_CONTEXT", broker.context()).current_dir(project());
    let told = Output::of(&mut shell);
    assert!(told.status.success(), "{plugin}: {told:?}\nbroker: {}", broker.log());
}

/// Publishes lines and gives the summary, and what the refused ones heard.
fn publish(broker: &Broker, topic: &str, lines: &[&str]) -> (Value, Vec<Value>) {
    let (input, rejected) = (broker.folder().join("in.jsonl"), broker.folder().join("no.jsonl"));
    fs::write(&input, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let words = ["publish", topic, "--key", "/user", "--json", "--input"].map(str::to_owned);
    let files = [input.display().to_string(), "--rejected".into(), rejected.display().to_string()];
    let summary = broker.done(words.into_iter().chain(files)).json();
    let refused = fs::read_to_string(rejected).unwrap();
    (summary, refused.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

/// The values of a topic, in order.
fn consume(broker: &Broker, topic: &str) -> Vec<String> {
    let events = broker.done(["consume", topic, "--from", "earliest", "--until-end"]).json_lines();
    events.iter().map(|event| event["value"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_readme_binds_a_rule_that_does_what_it_says() {
    for (plugin, topic, lines, summary, stored) in [
        (
            "daily-limit",
            "flights",
            vec![r#"{"user":"ann","n":1}"#, r#"{"user":"ann","n":2}"#, r#"{"user":"ann","n":3}"#],
            json!({ "sent": 3, "accepted": 2, "dropped": 0, "rejected": { "daily-limit": 1 }, "unknown": 0 }),
            vec![r#"{"user":"ann","n":1}"#, r#"{"user":"ann","n":2}"#],
        ),
        (
            "rate-limit",
            "bookings",
            vec![r#"{"user":"ann"}"#, r#"{"user":null}"#],
            json!({ "sent": 2, "accepted": 1, "dropped": 0, "rejected": { "no-key": 1 }, "unknown": 0 }),
            vec![r#"{"user":"ann"}"#],
        ),
        (
            "json-schema",
            "bookings",
            vec![
                r#"{"user":"ann","id":"AB12CD","status":"booked"}"#,
                r#"{"user":"ann","id":"AB12CD","status":"lost"}"#,
            ],
            json!({ "sent": 2, "accepted": 1, "dropped": 0, "rejected": { "json-schema": 1 }, "unknown": 0 }),
            vec![r#"{"user":"ann","id":"AB12CD","status":"booked"}"#],
        ),
        (
            "redact",
            "bookings",
            vec![r#"{"user":"ann", "card":"4111", "passengers":[{"name":"Ann", "age":7}]}"#],
            json!({ "sent": 1, "accepted": 1, "dropped": 0, "rejected": {}, "unknown": 0 }),
            vec![r#"{"user":"ann", "passengers":[{"name":"***", "age":7}]}"#],
        ),
        (
            "dedup",
            "bookings",
            vec![r#"{"user":"ann","id":1}"#, r#"{"user":"ann","id":1.0}"#],
            json!({ "sent": 2, "accepted": 1, "dropped": 1, "rejected": {}, "unknown": 0 }),
            vec![r#"{"user":"ann","id":1}"#],
        ),
        (
            "route",
            "bookings",
            vec![r#"{"user":"ann","id":7,"status":"cancelled"}"#],
            json!({ "sent": 1, "accepted": 1, "dropped": 0, "rejected": {}, "unknown": 0 }),
            vec![r#"{"user":"ann","id":7,"status":"cancelled"}"#],
        ),
    ] {
        let broker = Broker::start();
        bind_as_told(&broker, plugin);
        let (told, refused) = publish(&broker, topic, &lines);
        assert_eq!(told, summary, "{plugin}: {refused:?}");
        assert_eq!(consume(&broker, topic), stored, "{plugin}");
        if plugin == "route" {
            let sent = || consume(&broker, "cancellations");
            broker.wait_until("the side event", || !sent().is_empty());
            let publisher = sent()[0].clone();
            assert!(publisher.starts_with(r#"{"booking":7,"by":""#), "{publisher}");
        }
    }
}

#[test]
fn a_chain_of_four_judges_in_order_and_keeps_only_what_stands() {
    let mut broker = Broker::start();
    broker.done(["topic", "create", "bookings"]);
    let schema = json!({ "schema": {
        "type": "object",
        "required": ["id", "user", "seats"],
        "properties": { "seats": { "type": "integer", "minimum": 1 } },
    } });
    for (order, plugin, config) in [
        ("1", "json-schema", schema),
        ("2", "dedup", json!({ "by": "/id", "window": "1h" })),
        ("3", "redact", json!({ "fields": { "/card": "remove" } })),
        ("4", "rate-limit", json!({ "rate": 1, "per": "1h", "burst": 3, "cost": "/seats" })),
    ] {
        let component = project().join("plugins").join(plugin).join(plugin).with_extension("wasm");
        broker.done(["plugin", "push", plugin, component.to_str().unwrap()]);
        let config = config.to_string();
        broker.done(["plugin", "bind", "bookings", plugin, "--order", order, "--config", &config]);
    }
    let (summary, refused) = publish(
        &broker,
        "bookings",
        &[
            r#"{"id":1,"user":"ann","seats":2,"card":"4111"}"#,
            r#"{"id":1,"user":"ann","seats":2,"card":"4111"}"#,
            r#"{"id":2,"user":"ann","seats":0}"#,
            r#"{"id":3,"user":"bob", "seats":1}"#,
            // One seat too many; and again, which is no duplicate, since it was never admitted.
            r#"{"id":4,"user":"ann","seats":2}"#,
            r#"{"id":4,"user":"ann","seats":2}"#,
            r#"{"id":4,"user":"ann","seats":1}"#,
            r#"{"id":4,"user":"ann","seats":1}"#,
        ],
    );
    assert_eq!(
        summary,
        json!({ "sent": 8, "accepted": 3, "dropped": 2,
                "rejected": { "json-schema": 1, "rate-limit": 2 }, "unknown": 0 })
    );
    let heard: Vec<String> = refused
        .iter()
        .map(|no| format!("{} {} {}", no["line"], no["code"], no["message"]).replace('"', ""))
        .collect();
    assert_eq!(
        heard[0],
        "3 json-schema At /seats: value is less than the minimum of 1 (schema: /properties/seats/minimum)"
    );
    for (heard, line) in heard[1..].iter().zip([5, 6]) {
        let begin =
            format!("{line} rate-limit ann has used its 1 per 1 h (burst 3); it passes in 3");
        assert!(heard.starts_with(&begin), "{heard}");
    }
    let stored = [
        r#"{"id":1,"user":"ann","seats":2}"#,
        r#"{"id":3,"user":"bob", "seats":1}"#,
        r#"{"id":4,"user":"ann","seats":1}"#,
    ];
    assert_eq!(consume(&broker, "bookings"), stored);

    // What the rules remember is in the log: the day after a crash they still know.
    broker.kill();
    broker.start_again();
    let again = [r#"{"id":3,"user":"bob","seats":1}"#, r#"{"id":5,"user":"ann","seats":1}"#];
    let (summary, _) = publish(&broker, "bookings", &again);
    assert_eq!(
        (&summary["dropped"], &summary["rejected"]),
        (&json!(1), &json!({ "rate-limit": 1 }))
    );
    assert_eq!(consume(&broker, "bookings"), stored);
}
