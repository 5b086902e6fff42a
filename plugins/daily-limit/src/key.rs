//! What an event is counted by.
//!
//! Numbers are named as serde_json writes them, and not by `parts::number`: the rule's verdicts are
//! compared with those of the same rule in other languages.

use parts::key::{Key, Purpose, Source};
use serde_json::Value;
use weir_plugin::Event;

use crate::config::KeySource;

const PURPOSE: Purpose = Purpose {
    by: "its daily limit is counted by",
    by_it: "a daily limit is counted by it",
    done: "counted",
};

/// The key of an event, or what was looked for and not found.
pub fn of<'a>(event: &'a Event, source: &KeySource) -> Result<Key<'a>, String> {
    match source {
        KeySource::Event => Key::of(event, &Source::Event, &PURPOSE),
        KeySource::Pointer(pointer) => {
            Key::new(found_at(pointer, &event.value)?.into_bytes(), &PURPOSE)
        }
    }
}

fn found_at(pointer: &str, value: &[u8]) -> Result<String, String> {
    let json: Value = serde_json::from_slice(value)
        .map_err(|_| format!("The value is not JSON, so {pointer} was not looked for"))?;
    match json.pointer(pointer) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(flag)) => Ok(flag.to_string()),
        None => Err(format!("There is nothing at {pointer}; {}", PURPOSE.by_it)),
        Some(Value::Null) => Err(format!("There is null at {pointer}; {}", PURPOSE.by_it)),
        Some(Value::Array(_) | Value::Object(_)) => Err(format!(
            "What is at {pointer} must be a string, a number or a bool to be counted by"
        )),
    }
}
