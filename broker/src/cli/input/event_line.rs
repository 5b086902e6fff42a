//! Makes an event of one line, or says in one sentence why it is none. Pure.
//!
//! Promises: the value is the line's bytes as they are; the key and the timestamp are read from
//! the line and change nothing in it. Not here: files, and which line it was.

use std::str::FromStr;

use bytes::Bytes;
use serde_json::value::RawValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::Event;

use super::pointer::{self, Pointer};

/// Letters of a bad line that its sentence shows: enough to find it, short enough to read.
const EXCERPT_CHARS_MAX: usize = 60;

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON value; blank lines only at the end.
    Jsonl,
    /// Any bytes, not looked into; a blank line is an empty event.
    Raw,
}

/// How lines become events.
#[derive(Debug, Clone)]
pub struct LineRule {
    /// What a line is.
    pub format: Format,
    /// Where in the JSON the key stands: a string's bytes, a number or bool as it is written,
    /// null or nothing for no key.
    pub key: Option<Pointer>,
    /// Where in the JSON the timestamp stands: a number of ms, or an RFC 3339 string. Every line
    /// has to have one. Without a pointer the event is stamped with the time it is read.
    pub timestamp: Option<Pointer>,
}

/// An event, and whether there was anything where its key should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The event.
    pub event: Event,
    /// True without a key pointer, and where the key is null.
    pub has_key_field: bool,
}

impl LineRule {
    /// Reads one line (without its end) into an event; `now` stamps it where no pointer does.
    /// The error completes the sentence "FILE line N …".
    pub fn parse(&self, line: &[u8], now: Timestamp) -> Result<Parsed, String> {
        if self.format == Format::Raw {
            return self.event(line, None, now).map(|event| Parsed { event, has_key_field: true });
        }
        let json = std::str::from_utf8(line).map_err(|error| {
            format!("is not UTF-8 (byte {} is not), which JSON has to be", error.valid_up_to() + 1)
        })?;
        let not_json = |error| not_json(json, &error);
        let (key, has_key_field) = match &self.key {
            Some(pointer) => match pointer.find(json).map_err(not_json)? {
                Some(value) => (key_of(value, pointer)?, true),
                None => (None, false),
            },
            None => (None, true),
        };
        let timestamp = match &self.timestamp {
            Some(pointer) => timestamp_of(pointer.find(json).map_err(not_json)?, pointer, json)?,
            None if self.key.is_none() => {
                pointer::check(json).map_err(not_json)?;
                now
            }
            None => now,
        };
        Ok(Parsed { event: self.event(line, key, timestamp)?, has_key_field })
    }

    fn event(
        &self,
        line: &[u8],
        key: Option<Bytes>,
        timestamp: Timestamp,
    ) -> Result<Event, String> {
        let bytes = line.len() + key.as_ref().map_or(0, Bytes::len);
        if bytes > EVENT_BYTES_MAX as usize {
            return Err(too_long(bytes));
        }
        Ok(Event { timestamp, key, value: Some(Bytes::copy_from_slice(line)), headers: Vec::new() })
    }
}

/// What a line over the limit is told.
pub fn too_long(bytes: usize) -> String {
    format!("makes an event of {bytes} bytes or more; key and value have at most {EVENT_BYTES_MAX}")
}

fn key_of(value: &RawValue, pointer: &Pointer) -> Result<Option<Bytes>, String> {
    let text = value.get();
    match text.as_bytes()[0] {
        b'"' => Ok(Some(string_of(text)?.into_bytes().into())),
        b'n' => Ok(None),
        b'{' | b'[' => Err(format!(
            "has {} at {pointer} (--key): a key is a string, a number, true, false or null",
            if text.starts_with('{') { "an object" } else { "an array" },
        )),
        _ => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
    }
}

fn timestamp_of(
    value: Option<&RawValue>,
    pointer: &Pointer,
    json: &str,
) -> Result<Timestamp, String> {
    let Some(value) = value else {
        return Err(format!(
            "has nothing at {pointer} (--timestamp); its fields are: {}",
            pointer::fields(json)
        ));
    };
    let text = value.get();
    let time = match text.as_bytes()[0] {
        b'"' => rfc3339(&string_of(text)?),
        _ => milliseconds(text),
    };
    time.ok_or_else(|| {
        format!(
            "has {} at {pointer} (--timestamp): give a number of ms since 1970 or an RFC 3339 \
             time such as \"2013-01-01T10:00:00Z\"",
            excerpt(text)
        )
    })
}

/// Serde reads ill-formed surrogate escapes only when the string is wanted, so this can fail on
/// a line that was JSON so far.
fn string_of(text: &str) -> Result<String, String> {
    serde_json::from_str(text).map_err(|error| not_json(text, &error))
}

/// A whole number of ms that fits a record batch. `1e3` and `1000.0` are whole numbers too.
fn milliseconds(text: &str) -> Option<Timestamp> {
    /// Above this, floating point skips whole numbers.
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    let ms = text.parse().ok().or_else(|| {
        let number = f64::from_str(text).ok()?;
        let is_exact = number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number);
        is_exact.then_some(number as u64)
    })?;
    i64::try_from(ms).is_ok().then_some(Timestamp(ms))
}

/// Reads an RFC 3339 time of 1970 or later; parts of a ms are cut off.
pub fn rfc3339(text: &str) -> Option<Timestamp> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp)
}

fn not_json(json: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    // There is one line, and it has a number in the file: serde's own "line 1" would mislead.
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("is not valid JSON ({what} at column {}): {}", error.column(), excerpt(json))
}

fn excerpt(text: &str) -> String {
    let short: String = text.chars().take(EXCERPT_CHARS_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    pointer::printable(&short) + more
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn rule(key: &str, timestamp: &str) -> LineRule {
        let pointer = |text: &str| (!text.is_empty()).then(|| text.parse().expect(text));
        LineRule { format: Format::Jsonl, key: pointer(key), timestamp: pointer(timestamp) }
    }

    /// `key | timestamp`, or the sentence.
    fn check(rule: &LineRule, line: &str, expected: Expect) {
        let said = match rule.parse(line.as_bytes(), Timestamp(99)) {
            Ok(Parsed { event, has_key_field }) => {
                assert_eq!(event.value.as_deref(), Some(line.as_bytes()), "the value is the line");
                let key = match (&event.key, has_key_field) {
                    (Some(key), true) => format!("{:?}", String::from_utf8_lossy(key)),
                    (None, true) => "no key".to_owned(),
                    (_, false) => "no key field".to_owned(),
                };
                format!("{key} | {}", event.timestamp)
            }
            Err(sentence) => sentence,
        };
        expected.assert_eq(&said);
    }

    #[test]
    fn the_key_is_what_the_pointer_finds() {
        let rule = rule("/k", "");
        check(&rule, r#"{"k":"N14228"}"#, expect![[r#""N14228" | 99"#]]);
        check(&rule, r#"{"k":"a\u00e9\"b"}"#, expect![[r#""aé\"b" | 99"#]]);
        check(&rule, r#"{"k":1.50}"#, expect![[r#""1.50" | 99"#]]);
        check(&rule, r#"{"k":true}"#, expect![[r#""true" | 99"#]]);
        check(&rule, r#"{"k":""}"#, expect![[r#""" | 99"#]]);
        check(&rule, r#"{"k":null}"#, expect!["no key | 99"]);
        check(&rule, r#"{"j":1}"#, expect!["no key field | 99"]);
        check(
            &rule,
            r#"{"k":{}}"#,
            expect![
                "has an object at /k (--key): a key is a string, a number, true, false or null"
            ],
        );
        check(
            &rule,
            r#"{"k":[1]}"#,
            expect!["has an array at /k (--key): a key is a string, a number, true, false or null"],
        );
        check(
            &rule,
            r#"{"k":"\ud800"}"#,
            expect![[r#"is not valid JSON (unexpected end of hex escape at column 8): "\ud800""#]],
        );
    }

    #[test]
    fn the_timestamp_is_ms_or_rfc_3339_and_has_to_be_there() {
        let rule = rule("", "/t");
        check(&rule, r#"{"t":1357034400000}"#, expect!["no key | 1357034400000"]);
        check(&rule, r#"{"t":1.3570344e12}"#, expect!["no key | 1357034400000"]);
        check(&rule, r#"{"t":0}"#, expect!["no key | 0"]);
        check(&rule, r#"{"t":"2013-01-01T10:00:00Z"}"#, expect!["no key | 1357034400000"]);
        check(
            &rule,
            r#"{"t":"2013-01-01T12:00:00.0019+02:00"}"#,
            expect!["no key | 1357034400001"],
        );
        check(
            &rule,
            r#"{"t":null}"#,
            expect![[
                r#"has null at /t (--timestamp): give a number of ms since 1970 or an RFC 3339 time such as "2013-01-01T10:00:00Z""#
            ]],
        );
        check(
            &rule,
            r#"{"t":"1357034400000"}"#,
            expect![[
                r#"has "1357034400000" at /t (--timestamp): give a number of ms since 1970 or an RFC 3339 time such as "2013-01-01T10:00:00Z""#
            ]],
        );
        check(
            &rule,
            r#"{"t":-1}"#,
            expect![[
                r#"has -1 at /t (--timestamp): give a number of ms since 1970 or an RFC 3339 time such as "2013-01-01T10:00:00Z""#
            ]],
        );
        check(
            &rule,
            r#"{"t":1.5}"#,
            expect![[
                r#"has 1.5 at /t (--timestamp): give a number of ms since 1970 or an RFC 3339 time such as "2013-01-01T10:00:00Z""#
            ]],
        );
        check(
            &rule,
            r#"{"t":9223372036854775808}"#,
            expect![[
                r#"has 9223372036854775808 at /t (--timestamp): give a number of ms since 1970 or an RFC 3339 time such as "2013-01-01T10:00:00Z""#
            ]],
        );
        check(
            &rule,
            r#"{"t":"1969-12-31T23:59:59Z"}"#,
            expect![[
                r#"has "1969-12-31T23:59:59Z" at /t (--timestamp): give a number of ms since 1970 or an RFC 3339 time such as "2013-01-01T10:00:00Z""#
            ]],
        );
        check(
            &rule,
            r#"{"time":1,"x/y":2}"#,
            expect!["has nothing at /t (--timestamp); its fields are: /time /x~1y"],
        );
    }

    #[test]
    fn what_is_no_json_is_no_event() {
        for rule in [rule("", ""), rule("/k", ""), rule("", "/t"), rule("/k", "/t")] {
            check(
                &rule,
                r#"{"k":"N142"#,
                expect![[
                    r#"is not valid JSON (EOF while parsing a string at column 10): {"k":"N142"#
                ]],
            );
        }
        check(
            &rule("", ""),
            "",
            expect!["is not valid JSON (EOF while parsing a value at column 0): "],
        );
        check(
            &rule("", ""),
            "[1] 2",
            expect!["is not valid JSON (trailing characters at column 5): [1] 2"],
        );
        let sentence = rule("", "").parse(b"\"\xFF\"", Timestamp(0)).unwrap_err();
        assert_eq!(sentence, "is not UTF-8 (byte 2 is not), which JSON has to be");
    }

    #[test]
    fn an_event_has_a_largest_size() {
        let line = vec![b'x'; EVENT_BYTES_MAX as usize + 1];
        let raw = LineRule { format: Format::Raw, key: None, timestamp: None };
        assert!(raw.parse(&line[1..], Timestamp(0)).is_ok());
        assert!(
            raw.parse(&line, Timestamp(0)).unwrap_err().starts_with("makes an event of 1048577")
        );
    }

    #[test]
    fn raw_lines_are_not_looked_into() {
        let raw = LineRule { format: Format::Raw, key: None, timestamp: None };
        let parsed = raw.parse(b"\xFF\r", Timestamp(5)).unwrap();
        assert_eq!(parsed.event.value.as_deref(), Some(&b"\xFF\r"[..]));
        assert_eq!(parsed.event.timestamp, Timestamp(5));
    }
}
