//! Real events: departures from New York in 2013, see `data/README.md`.

use std::path::PathBuf;

use serde_json::json;

use crate::broker::Broker;

/// The file of 10,000 lines, each a JSON object.
pub fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/data/flights-10k.jsonl"))
}

/// Its lines, without the line feeds.
pub fn lines() -> Vec<String> {
    let text = std::fs::read_to_string(path()).expect("the sample is part of the project");
    text.lines().map(str::to_owned).collect()
}

/// The component of the rule daily-limit that the project carries.
pub fn daily_limit() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/daily-limit/daily-limit.wasm"))
}

/// Makes the topics `flights`, with these settings, and `notices`, and binds the rule: so many flights of
/// an aircraft a day.
pub fn under_the_rule(broker: &Broker, limit: u64, settings: &[&str]) {
    let config = json!({ "limit": limit, "key": "event", "time": "event", "notice": "notices" });
    broker.done([&["topic", "create", "flights"], settings].concat());
    broker.done(["topic", "create", "notices"]);
    broker.done([
        "plugin",
        "push",
        "daily-limit",
        daily_limit().to_str().expect("a path in UTF-8"),
    ]);
    let bind = ["plugin", "bind", "flights", "daily-limit", "--emit", "notices", "--config"];
    broker.done([&bind[..], &[&config.to_string()]].concat());
}

/// Waits until no side event of `flights` is on its way any more.
pub fn wait_for_notices(broker: &Broker) {
    broker.wait_until("every notice is in its topic", || {
        let topic = broker.done(["topic", "describe", "flights", "--json"]).json();
        let partitions = topic["partitions"].as_array().expect("a topic has partitions");
        partitions.iter().all(|partition| partition["outbox_pending"] == 0)
    });
}
