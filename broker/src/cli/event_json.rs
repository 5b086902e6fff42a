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
use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::record_batch::Event;

/// Writes one event as one line.
pub fn write(
    out: &mut impl Write,
    topic: &TopicName,
    partition: PartitionId,
    offset: Offset,
    event: &Event,
) -> io::Result<()> {
    let headers = event.headers.iter();
    let line = Line {
        topic,
        partition,
        offset,
        timestamp: event.timestamp.0,
        key: Text(event.key.as_deref()),
        value: Text(event.value.as_deref()),
        headers: headers
            .map(|header| HeaderLine { name: &header.name, value: Text(header.value.as_deref()) })
            .collect(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// The fields in the order they are printed.
#[derive(Serialize)]
struct Line<'e> {
    topic: &'e TopicName,
    partition: PartitionId,
    offset: Offset,
    timestamp: u64,
    key: Text<'e>,
    value: Text<'e>,
    headers: Vec<HeaderLine<'e>>,
}

#[derive(Serialize)]
struct HeaderLine<'e> {
    name: &'e str,
    value: Text<'e>,
}

/// Bytes as they stand in a line.
pub fn text<S: Serializer>(bytes: &Option<Bytes>, out: S) -> Result<S::Ok, S::Error> {
    Text(bytes.as_deref()).serialize(out)
}

/// Bytes that are text if they can be.
struct Text<'e>(Option<&'e [u8]>);

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

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use weir_wire::ids::Timestamp;
    use weir_wire::record_batch::Header;

    fn check(event: Event, expected: Expect) {
        let mut out = Vec::new();
        let topic = TopicName::parse("t").unwrap();
        write(&mut out, &topic, PartitionId(1), Offset(2), &event).unwrap();
        expected.assert_eq(str::from_utf8(&out).unwrap());
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
