//! The rule's promises, as sentences: what an operator configures, what a publisher hears.

use json_schema::JsonSchema;
use weir_plugin::{Event, Filter, Verdict, fake};

/// A booking, with most of what schemas have.
const BOOKING: &str = r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["id", "passengers", "status"],
  "properties": {
    "id": { "type": "string", "pattern": "^[A-Z0-9]{6}$" },
    "status": { "enum": ["booked", "cancelled"] },
    "at": { "type": "string", "format": "date-time" },
    "passengers": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/passenger" } }
  },
  "additionalProperties": false,
  "$defs": { "passenger": {
    "type": "object",
    "required": ["name"],
    "properties": { "name": { "type": "string" }, "age": { "type": "integer", "minimum": 0 } }
  } }
}"##;

fn judge(rule: &mut JsonSchema, value: impl Into<Vec<u8>>) -> String {
    match fake::Host::default().judge(rule, Event::new(value)) {
        Verdict::Accept => "accept".into(),
        Verdict::Reject(no) => {
            assert!(no.message.len() <= 512 && no.retry_after_ms.is_none());
            format!("{}: {}", no.code, no.message)
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn each_value_gets_its_verdict() {
    let mut rule = JsonSchema::configure(&format!(r#"{{"schema":{BOOKING}}}"#)).expect("a config");
    let booking = |rest: &str| format!(r#"{{"id":"AB12CD","status":"booked"{rest}}}"#);
    let ann = r#","passengers":[{"name":"Ann","age":7}]"#;
    for (value, verdict) in [
        (booking(ann), "accept"),
        (booking(&format!(r#"{ann},"at":"2013-01-01T10:00:00Z""#)), "accept"),
        (
            booking(""),
            r#"json-schema: At the top: "passengers" is a required property (schema: /required)"#,
        ),
        (
            booking(r#","passengers":[]"#),
            "json-schema: At /passengers: value has less than 1 item (schema: /properties/passengers/minItems)",
        ),
        (
            booking(r#","passengers":[{"name":"Ann","age":-1}]"#),
            "json-schema: At /passengers/0/age: value is less than the minimum of 0 (schema: /$defs/passenger/properties/age/minimum)",
        ),
        (
            booking(&format!(r#"{ann},"at":"noon""#)),
            r#"json-schema: At /at: value is not a "date-time" (schema: /properties/at/format)"#,
        ),
        (
            booking(&format!(r#"{ann},"x":1"#)),
            "json-schema: At the top: Additional properties are not allowed ('x' was unexpected) (schema: /additionalProperties)",
        ),
        ("7".into(), r#"json-schema: At the top: value is not of type "object" (schema: /type)"#),
        (
            r#"{"id":"#.into(),
            "not-json: The value is not JSON: EOF while parsing a value at line 1 column 6; send one JSON value per event",
        ),
        (
            "".into(),
            "not-json: The value is not JSON: EOF while parsing a value at line 1 column 0; send one JSON value per event",
        ),
    ] {
        assert_eq!(judge(&mut rule, value.clone()), verdict, "{value}");
    }
    let deep = "[".repeat(5_000) + &"]".repeat(5_000);
    assert!(judge(&mut rule, deep).starts_with("not-json: The value is not JSON: recursion limit"));
}

#[test]
fn messages_fit_whatever_a_publisher_sends() {
    let config = r#"{"schema":{"additionalProperties":{"additionalProperties":{"type":"null"}}}}"#;
    let mut rule = JsonSchema::configure(config).expect("a config");
    for name in ["x".repeat(5000), "\\u0000".repeat(500), "\u{10ffff}".repeat(500)] {
        let told = judge(&mut rule, format!(r#"{{"{name}":{{"{name}":"{name}"}}}}"#));
        assert!(told.starts_with("json-schema: At /"), "{told}");
        assert!(!told.contains(char::is_control));
    }
    let config = r#"{"schema":{"additionalProperties":false}}"#;
    let mut rule = JsonSchema::configure(config).expect("a config");
    judge(&mut rule, format!(r#"{{"{}":1}}"#, "\u{10ffff}".repeat(500)));
}

#[test]
fn each_draft_is_its_own() {
    for (schema, value, passes) in [
        (
            r#"{"$schema":"http://json-schema.org/draft-04/schema#","maximum":1,"exclusiveMaximum":true}"#,
            "1",
            false,
        ),
        (
            r#"{"$schema":"http://json-schema.org/draft-07/schema#","items":[{"type":"null"}]}"#,
            "[1]",
            false,
        ),
        (r#"{"prefixItems":[{"type":"null"}]}"#, "[1]", false),
        (
            r#"{"$schema":"http://json-schema.org/draft-07/schema#","prefixItems":[{"type":"null"}]}"#,
            "[1]",
            true,
        ),
        ("true", "1", true),
        ("false", "1", false),
    ] {
        let mut rule = JsonSchema::configure(&format!(r#"{{"schema":{schema}}}"#)).expect(schema);
        assert_eq!(judge(&mut rule, value) == "accept", passes, "{schema}");
    }
    let mut rule =
        JsonSchema::configure(r#"{"schema":{"format":"date"},"formats":false}"#).expect("a config");
    assert_eq!(judge(&mut rule, r#""noon""#), "accept");
}

#[test]
fn what_is_wrong_is_refused_in_a_sentence_that_says_what_to_write() {
    for (config, says) in [
        ("{}", r#""schema" is missing"#),
        (r#"{"schema":"x"}"#, r#""schema" must be a JSON schema"#),
        (r#"{"schema":{},"formats":1}"#, r#""formats" must be true"#),
        (r#"{"schema":{"type":"strin"}}"#, "the schema cannot be used at /type"),
        (r#"{"schema":{"minimum":"1"}}"#, "the schema cannot be used at /minimum"),
        (r##"{"schema":{"$ref":"#/$defs/none"}}"##, "the schema cannot be used"),
        (r#"{"schema":{"$ref":"https://example.com/x.json"}}"#, "nothing is fetched"),
        (r#"{"schema":{"$ref":"file:///etc/passwd"}}"#, "nothing is fetched"),
        (r#"{"schema":{"pattern":"(?=a)b"}}"#, "without look-around"),
    ] {
        let error = JsonSchema::configure(config).err().expect(config);
        assert!(error.contains(says) && !error.contains("root:"), "{config} gave: {error}");
    }
}

#[test]
fn a_pattern_that_would_backtrack_is_quick() {
    let mut rule = JsonSchema::configure(r#"{"schema":{"pattern":"^(a+)+$"}}"#).expect("a config");
    let told = judge(&mut rule, format!(r#""{}!""#, "a".repeat(50_000)));
    assert!(told.starts_with("json-schema: "), "{told}");
}
