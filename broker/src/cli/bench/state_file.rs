//! A plugin's state as a file: one line of JSON per key.
//!
//! ```text
//! {"key":"N14228","value":{"counter":2},"expires_at":1357084800000}
//! ```
//! Promises: what is written is read back the same. Bytes that are UTF-8 are a string, others
//! `{"base64":"…"}`; a value of 8 bytes that is no readable text is shown as the counter it most
//! likely is, `{"counter":N}`.

use std::fmt;
use std::path::Path;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use weir_log::commit::StateValue;
use weir_plugin_host::{STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};
use weir_wire::ids::Timestamp;

use super::super::Failure;
use super::super::event_json::{Text, bytes_of};
use crate::table::when;

/// Bytes of a state file at most: beyond, it is no test's any more.
const STATE_FILE_BYTES_MAX: u64 = 1 << 30;

/// One key, for a line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Row<'s> {
    key: Text<'s>,
    value: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
}

impl<'s> Row<'s> {
    /// Of a key that holds `value`; `None` was deleted.
    pub fn new(key: &'s [u8], value: Option<&[u8]>, expires_at: Option<Timestamp>) -> Self {
        let value = value.map_or(Value::Null, shown);
        Self { key: Text(Some(key)), value, expires_at: expires_at.map(|at| at.0) }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = serde_json::to_string(&self.key).map_err(|_| fmt::Error)?;
        match (&self.value, self.expires_at) {
            (Value::Null, _) => write!(f, "{key} is deleted"),
            (value, None) => write!(f, "{key} = {value}"),
            (value, Some(at)) => write!(f, "{key} = {value} until {}", when(Timestamp(at))),
        }
    }
}

/// A value as JSON.
fn shown(value: &[u8]) -> Value {
    let text = std::str::from_utf8(value).ok();
    let is_readable = text.is_some_and(|text| !text.chars().any(char::is_control));
    match <[u8; 8]>::try_from(value) {
        Ok(counter) if !is_readable => json!({ "counter": i64::from_le_bytes(counter) }),
        _ => serde_json::to_value(Text(Some(value))).expect("text is JSON"),
    }
}

/// A state file's keys, and what they hold.
pub fn read(path: &Path) -> Result<Vec<(Bytes, StateValue)>, Failure> {
    let unreadable = |error: std::io::Error| {
        Failure::new(format!("cannot read {}: {error}; check the path", path.display()))
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if STATE_FILE_BYTES_MAX < bytes {
        return Err(Failure::new(format!(
            "{} has {bytes} bytes; a state file has at most {STATE_FILE_BYTES_MAX}",
            path.display()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            row(line).map_err(|why| {
                Failure::new(format!("{} line {number} {why}; nothing was judged", path.display()))
            })
        })
        .collect()
}

/// One line; the error completes the sentence "FILE line N …".
fn row(line: &str) -> Result<(Bytes, StateValue), String> {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else {
        return Err(r#"is no JSON object; write {"key":"…","value":"…"}"#.to_owned());
    };
    if let Some(name) =
        fields.keys().find(|name| !["key", "value", "expires_at"].contains(&name.as_str()))
    {
        return Err(format!("has the field {name:?}; a key has key, value and expires_at"));
    }
    let of = |name| fields.get(name).unwrap_or(&Value::Null);
    let key = bytes_of(of("key"))?.ok_or("has no key")?;
    let value = match of("value") {
        Value::Object(object) if object.contains_key("counter") => {
            let counter = object["counter"].as_i64().ok_or("has a counter that is no number")?;
            Bytes::copy_from_slice(&counter.to_le_bytes())
        }
        value => bytes_of(value)?.ok_or("has no value")?,
    };
    let expires_at = match of("expires_at") {
        Value::Null => None,
        at => Some(Timestamp(at.as_u64().ok_or("has an expires_at that is no number of ms")?)),
    };
    if STATE_KEY_BYTES_MAX < key.len() || STATE_VALUE_BYTES_MAX < value.len() {
        return Err(format!(
            "has more than a key may: {STATE_KEY_BYTES_MAX} bytes of key and \
             {STATE_VALUE_BYTES_MAX} of value"
        ));
    }
    Ok((key, StateValue { bytes: value, expires_at }))
}

/// Writes the keys in their order.
pub fn write<'s>(
    path: &Path,
    entries: impl Iterator<Item = (&'s [u8], &'s [u8], Option<Timestamp>)>,
) -> Result<(), Failure> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable();
    let mut text = String::new();
    for (key, value, expires_at) in entries {
        text += &serde_json::to_string(&Row::new(key, Some(value), expires_at))
            .expect("a row is made of strings and numbers");
        text.push('\n');
    }
    std::fs::write(path, text).map_err(|error| {
        Failure::new(format!(
            "cannot write {}: {error}; choose another --state-out file",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(line: &str, expected: Expect) {
        expected.assert_eq(&match row(line) {
            Ok((key, value)) => format!("{key:?} = {:?} {:?}", value.bytes, value.expires_at),
            Err(why) => why,
        });
    }

    #[test]
    fn a_key_is_a_line() {
        check(r#"{"key":"a","value":"b"}"#, expect![[r#"b"a" = b"b" None"#]]);
        check(
            r#"{"key":{"base64":"/w=="},"value":{"counter":-1},"expires_at":7}"#,
            expect![[r#"b"\xff" = b"\xff\xff\xff\xff\xff\xff\xff\xff" Some(Timestamp(7))"#]],
        );
        check("{}", expect!["has no key"]);
        check("[]", expect![[r#"is no JSON object; write {"key":"…","value":"…"}"#]]);
        check(r#"{"key":"a","value":null}"#, expect!["has no value"]);
        check(
            r#"{"key":"a","value":1}"#,
            expect![[r#"has 1 where bytes belong: a string, or {"base64":"…"}"#]],
        );
        check(
            r#"{"key":"a","value":"b","ttl":1}"#,
            expect![[r#"has the field "ttl"; a key has key, value and expires_at"#]],
        );
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let zero = 0_i64.to_le_bytes();
        let rows: Vec<(&[u8], &[u8], Option<Timestamp>)> = vec![
            (b"", b"", None),
            (b"eight", b"8 bytes!", Some(Timestamp(3))),
            (b"n", &zero, None),
            (b"\xff\n", b"\x00\xff", Some(Timestamp(u64::MAX))),
        ];
        write(file.path(), rows.clone().into_iter()).unwrap_or_else(|why| panic!("{why}"));
        let read = read(file.path()).unwrap_or_else(|why| panic!("{why}"));
        let read: Vec<_> = read
            .iter()
            .map(|(key, value)| (&key[..], &value.bytes[..], value.expires_at))
            .collect();
        assert_eq!(read, rows);
    }
}
