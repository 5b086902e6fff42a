//! Lets only such values pass as a JSON schema allows, and tells the publisher of each other one
//! where it fails and by which line of the schema.
//!
//! The schema is the config's own: nothing is fetched, neither from files nor from the network. It
//! is compiled once per instance, and patterns run in time that is linear in the value. There is no
//! state.
//!
//! README.md says all of this for those who use the rule.

mod config;

#[cfg(target_arch = "wasm32")]
mod seed;

use jsonschema::{ValidationError, Validator};
use parts::text;
use serde_json::Value;
use weir_plugin::{Event, Filter, Rejection, Verdict, export};

/// The refusal of a value that the schema does not allow.
pub const NOT_ALLOWED: &str = "json-schema";
/// The refusal of a value that is no JSON at all.
pub const NOT_JSON: &str = "not-json";

/// What a message shows of a place in the value, of what is wrong with it, and of the place in the
/// schema: with the words between them less than the 512 bytes that a message takes.
const POINTER_BYTES_MAX: usize = 130;
const WHAT_BYTES_MAX: usize = 200;

/// The rule.
pub struct JsonSchema(Validator);

impl Filter for JsonSchema {
    fn configure(config: &str) -> Result<Self, String> {
        config::validator(config).map(JsonSchema)
    }

    fn process(&mut self, event: Event) -> Verdict {
        let value: Value = match serde_json::from_slice(&event.value) {
            Ok(value) => value,
            Err(why) => {
                let why = text::line(&why.to_string(), WHAT_BYTES_MAX);
                let message =
                    format!("The value is not JSON: {why}; send one JSON value per event");
                return Rejection::new(NOT_JSON, message).into();
            }
        };
        match self.0.validate(&value) {
            Ok(()) => Verdict::Accept,
            Err(error) => Rejection::new(NOT_ALLOWED, sentence(&error)).into(),
        }
    }
}

export!(JsonSchema);

/// Where, what, and by which part of the schema. Without the value itself: it may be long, and
/// refusals are kept in places where values are not.
fn sentence(error: &ValidationError<'_>) -> String {
    let pointer = |path: &str| match path {
        "" => "the top".to_owned(),
        path => text::line(path, POINTER_BYTES_MAX),
    };
    format!(
        "At {}: {} (schema: {})",
        pointer(error.instance_path().as_str()),
        text::line(&error.masked().to_string(), WHAT_BYTES_MAX),
        pointer(error.schema_path().as_str()),
    )
}
