//! Real events: departures from New York in 2013, see `data/README.md`.

use std::path::PathBuf;

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
