//! The binding's configuration: a schema, compiled before the first event.

use jsonschema::{PatternOptions, ValidationError, Validator};
use parts::config::Fields;
use parts::text;
use serde_json::Value;

const EXAMPLE: &str = r#"{"schema":{"type":"object","required":["id"]}}"#;

/// An error is one sentence for the operator, not the whole schema again.
const WHY_BYTES_MAX: usize = 300;

/// Reads the JSON and compiles the schema; an error is one sentence that says what to write.
pub fn validator(json: &str) -> Result<Validator, String> {
    let mut fields = Fields::parse(json, &["schema", "formats"], EXAMPLE)?;
    let formats = match fields.get("formats").map(Value::as_bool) {
        None => true,
        Some(Some(formats)) => formats,
        Some(None) => return Err(r#""formats" must be true ("format" is checked) or false"#.into()),
    };
    let schema = match fields.take("schema") {
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => schema,
        Some(_) => {
            return Err(format!(r#""schema" must be a JSON schema: an object, as in {EXAMPLE}"#));
        }
        None => return Err(format!(r#""schema" is missing; write it, as in {EXAMPLE}"#)),
    };
    jsonschema::options()
        .should_validate_formats(formats)
        // Backtracking would let a publisher choose what a pattern costs.
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(|error| refusal(&error))
}

fn refusal(error: &ValidationError<'_>) -> String {
    let why = text::line(&error.to_string(), WHY_BYTES_MAX);
    let at = match error.instance_path().as_str() {
        "" => String::new(),
        path => format!(" at {}", text::line(path, WHY_BYTES_MAX)),
    };
    format!(
        r##"the schema cannot be used{at}: {why}; put what "$ref" names under "$defs" (nothing is fetched), and use patterns without look-around and back-references"##
    )
}
