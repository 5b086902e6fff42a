//! The side event that tells of a key's first refusal of a day.

use parts::key::Key;
use serde_json::json;
use weir_plugin::{Event, context};

use crate::day::Day;

/// The notice: about the same key, at the time that the limit is counted in. README.md has its shape.
pub fn event(key: &Key<'_>, day: Day, limit: i64, time: u64) -> Event {
    let value = json!({
        "key": key.text(),
        "day": day.to_string(),
        "limit": limit,
        "opens_at": format!("{day:#}"),
        "topic": context::topic(),
    });
    Event::new(value.to_string()).key(key.bytes()).timestamp_ms(time)
}
