//! An event as `weir consume` prints it: one line of JSON.
//!
//! ```text
//! {"topic":"flights","partition":0,"offset":7,"timestamp":1357034400000,
//!  "key":"N14228","value":"…","headers":[{"name":"source","value":"EWR"}]}
//! ```
//! Promises: every byte can be told from the line: bytes that are UTF-8 are a JSON string, others
//! `{"base64":"…"}`, null is null; headers keep their order, and a name may stand twice.

use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::Value;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::{Offset, PartitionId, Timestamp, TopicName};
use weir_wire::record_batch::{Event, Header};

/// Writes one event as one line.
pub fn write(
    out: &mut impl Write,
    topic: &TopicName,
    partition: PartitionId,
    offset: Offset,
    event: &Event,
) -> io::Result<()> {
    let line = Line { topic, partition, offset, event: EventLine::of(event) };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// The fields in the order they are printed.
#[derive(Serialize)]
struct Line<'e> {
    topic: &'e TopicName,
    partition: PartitionId,
    offset: Offset,
    #[serde(flatten)]
    event: EventLine<'e>,
}

/// An event by itself.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct EventLine<'e> {
    timestamp: u64,
    key: Text<'e>,
    value: Text<'e>,
    headers: Vec<HeaderLine<'e>>,
}

impl<'e> EventLine<'e> {
    /// Of `event`.
    pub fn of(event: &'e Event) -> Self {
        let header = |header: &'e Header| HeaderLine {
            name: &header.name,
            value: Text(header.value.as_deref()),
        };
        Self {
            timestamp: event.timestamp.0,
            key: Text(event.key.as_deref()),
            value: Text(event.value.as_deref()),
            headers: event.headers.iter().map(header).collect(),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct HeaderLine<'e> {
    name: &'e str,
    value: Text<'e>,
}

/// Bytes as they stand in a line.
pub fn text<S: Serializer>(bytes: &Option<Bytes>, out: S) -> Result<S::Ok, S::Error> {
    Text(bytes.as_deref()).serialize(out)
}

/// Bytes that are text if they can be.
#[derive(Debug, PartialEq, Eq)]
pub struct Text<'e>(pub Option<&'e [u8]>);

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let Some(bytes) = self.0 else { return out.serialize_none() };
        match std::str::from_utf8(bytes) {
            Ok(text) => out.serialize_str(text),
            Err(_) => {
                let mut object = out.serialize_map(Some(1))?;
                object.serialize_entry("base64", &STANDARD.encode(bytes))?;
                object.end()
            }
        }
    }
}

/// The event of a line as it is printed here. Topic, partition and offset may be missing and say
/// nothing; key, value and headers too. The error completes the sentence "FILE line N …".
pub fn read(line: &[u8]) -> Result<Event, String> {
    let Ok(Value::Object(fields)) = serde_json::from_slice(line) else {
        return Err("is no JSON object, as `weir consume` prints them".to_owned());
    };
    const FIELDS: [&str; 7] =
        ["topic", "partition", "offset", "timestamp", "key", "value", "headers"];
    if let Some(name) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(format!(
            "has the field {name:?}, which no event has; the fields are {}",
            FIELDS.join(", ")
        ));
    }
    let of = |name| fields.get(name).unwrap_or(&Value::Null);
    let headers = match of("headers") {
        Value::Null => Vec::new(),
        Value::Array(headers) => headers.iter().map(header).collect::<Result<_, _>>()?,
        _ => return Err(r#"has headers that are no list of {"name","value"}"#.to_owned()),
    };
    let ms = of("timestamp").as_u64().filter(|ms| i64::try_from(*ms).is_ok());
    let event = Event {
        timestamp: Timestamp(ms.ok_or("has no timestamp in ms since 1970")?),
        key: bytes_of(of("key"))?,
        value: bytes_of(of("value"))?,
        headers,
    };
    match event.as_record().payload_bytes() {
        bytes if bytes > EVENT_BYTES_MAX as usize => {
            Err(format!("makes an event of {bytes} bytes; one has at most {EVENT_BYTES_MAX}"))
        }
        _ => Ok(event),
    }
}

fn header(header: &Value) -> Result<Header, String> {
    let name = header.get("name").and_then(Value::as_str).ok_or("has a header without a name")?;
    let value = bytes_of(header.get("value").unwrap_or(&Value::Null))?;
    Ok(Header { name: name.to_owned(), value })
}

/// The bytes that JSON stands for: a string, `{"base64":"…"}`, or null.
pub fn bytes_of(json: &Value) -> Result<Option<Bytes>, String> {
    let other = || format!(r#"has {json} where bytes belong: a string, or {{"base64":"…"}}"#);
    match json {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Bytes::copy_from_slice(text.as_bytes()))),
        Value::Object(object) if object.len() == 1 => {
            let text = object.get("base64").and_then(Value::as_str).ok_or_else(other)?;
            STANDARD.decode(text).map(|bytes| Some(bytes.into())).map_err(|_| other())
        }
        _ => Err(other()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(event: Event, expected: Expect) {
        let mut out = Vec::new();
        let topic = TopicName::parse("t").unwrap();
        write(&mut out, &topic, PartitionId(1), Offset(2), &event).unwrap();
        expected.assert_eq(str::from_utf8(&out).unwrap());
        assert_eq!(read(&out), Ok(event), "what is printed is read back");
    }

    #[test]
    fn an_event_is_one_line() {
        let header = |name: &str, value| Header { name: name.to_owned(), value };
        check(
            Event {
                timestamp: Timestamp(3),
                key: Some(Bytes::from_static(b"k")),
                value: Some(Bytes::from_static(b"{\"a\":\"\xC3\xA9\n\"}")),
                headers: vec![header("h", Some(Bytes::new())), header("h", None)],
            },
            expect![[r#"
                {"topic":"t","partition":1,"offset":2,"timestamp":3,"key":"k","value":"{\"a\":\"é\n\"}","headers":[{"name":"h","value":""},{"name":"h","value":null}]}
            "#]],
        );
        check(
            Event { value: Some(Bytes::from_static(b"\xFF\x00")), ..Event::default() },
            expect![[r#"
                {"topic":"t","partition":1,"offset":2,"timestamp":0,"key":null,"value":{"base64":"/wA="},"headers":[]}
            "#]],
        );
        check(
            Event::default(),
            expect![[r#"
                {"topic":"t","partition":1,"offset":2,"timestamp":0,"key":null,"value":null,"headers":[]}
            "#]],
        );
    }
}
