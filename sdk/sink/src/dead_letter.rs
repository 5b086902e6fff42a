//! The dead letter of an event that could not be delivered: the event as it is, and why.
//!
//! Key, value, timestamp and headers are the event's. What the sink adds is in headers, each value
//! as text, in the manner of the broker's own dead letters (their names begin with `weir-`, which
//! only the broker may write):
//! ```text
//! sink-dead-letter-topic     notices          sink-dead-letter-partition  3
//! sink-dead-letter-offset    7                sink-dead-letter-group      mailer
//! sink-dead-letter-code      bad-address      sink-dead-letter-reason     "x" is no mail address
//! sink-dead-letter-attempts  0                sink-dead-letter-time       1385683200000
//! and where there is one:
//! sink-dead-letter-cause     flights/3#17 (the event was a side event)
//! sink-dead-letter-omitted   value (it does not fit beside these headers; it stands at the offset)
//! ```
//! A letter that cannot be delivered once more says where it was a letter last: from there the road
//! leads back, offset by offset.

use bytes::Bytes;
use weir_client::{ConsumedEvent, Event, Header};
use weir_wire::ids::{CAUSE_HEADER, GroupName, RESERVED_HEADER_PREFIX, Timestamp};

use crate::deliver::Never;

/// The beginning of the headers that a sink adds to a dead letter.
pub const SINK_DEAD_LETTER_PREFIX: &str = "sink-dead-letter-";
/// Bytes of the reason that are kept: servers say a line or two.
const REASON_BYTES_MAX: usize = 1 << 10;

/// The dead letter of `event`.
pub(crate) fn letter(
    event: &ConsumedEvent,
    group: &GroupName,
    why: &Never,
    attempts: u32,
    now: Timestamp,
) -> Event {
    let mut letter = event.event.clone();
    let cause = letter.headers.iter().find(|header| header.name == CAUSE_HEADER);
    let cause = cause.and_then(|header| header.value.clone());
    letter.headers.retain(|header| {
        let name = &header.name;
        !name.starts_with(RESERVED_HEADER_PREFIX) && !name.starts_with(SINK_DEAD_LETTER_PREFIX)
    });
    let reason = &why.reason[..why.reason.floor_char_boundary(REASON_BYTES_MAX)];
    for (name, value) in [
        ("topic", event.topic.to_string()),
        ("partition", event.partition.to_string()),
        ("offset", event.offset.to_string()),
        ("group", group.to_string()),
        ("code", why.code.to_owned()),
        ("reason", reason.to_owned()),
        ("attempts", attempts.to_string()),
        ("time", now.to_string()),
    ] {
        letter.headers.push(header(name, value.into()));
    }
    letter.headers.extend(cause.map(|cause| header("cause", cause)));
    letter
}

/// The same letter without the value, for a topic that takes no event of its size.
pub(crate) fn without_value(mut letter: Event) -> Event {
    letter.value = None;
    letter.headers.push(header("omitted", Bytes::from_static(b"value")));
    letter
}

fn header(name: &str, value: Bytes) -> Header {
    Header { name: format!("{SINK_DEAD_LETTER_PREFIX}{name}"), value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use weir_wire::ids::{Offset, PartitionId, TopicName};

    fn foreign(name: &str, value: &str) -> Header {
        Header { name: name.to_owned(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
    }

    fn refused() -> ConsumedEvent {
        let event = Event {
            timestamp: Timestamp(5),
            key: Some(Bytes::from_static(b"\xFFk")),
            value: Some(Bytes::from_static(b"{}")),
            headers: vec![
                foreign("a", "1"),
                foreign(CAUSE_HEADER, "flights/3#17"),
                foreign("weir-hops", "1"),
                foreign("sink-dead-letter-offset", "of the letter before"),
            ],
        };
        let topic = TopicName::parse("notices").unwrap();
        ConsumedEvent { topic, partition: PartitionId(3), offset: Offset(7), event }
    }

    fn told(letter: &Event) -> String {
        let line = |header: &Header| {
            let value = String::from_utf8_lossy(header.value.as_deref().unwrap());
            format!("{}: {value}\n", header.name)
        };
        letter.headers.iter().map(line).collect()
    }

    #[test]
    fn a_letter_is_the_event_with_why_and_where_from() {
        let (event, group) = (refused(), GroupName::parse("mailer").unwrap());
        let why = Never::new("refused", "ü".repeat(REASON_BYTES_MAX));
        let long = letter(&event, &group, &why, 2, Timestamp(9));
        let reason = long.headers.iter().find(|header| header.name.ends_with("reason"));
        assert_eq!(reason.unwrap().value.as_deref().unwrap().len(), REASON_BYTES_MAX);

        let why = Never::new("refused", "550 no such mailbox");
        let letter = letter(&event, &group, &why, 2, Timestamp(9));
        let Event { timestamp, key, value, .. } = &letter;
        assert_eq!(
            (timestamp, key, value),
            (&event.event.timestamp, &event.event.key, &event.event.value)
        );
        expect![[r#"
            a: 1
            sink-dead-letter-topic: notices
            sink-dead-letter-partition: 3
            sink-dead-letter-offset: 7
            sink-dead-letter-group: mailer
            sink-dead-letter-code: refused
            sink-dead-letter-reason: 550 no such mailbox
            sink-dead-letter-attempts: 2
            sink-dead-letter-time: 9
            sink-dead-letter-cause: flights/3#17
        "#]]
        .assert_eq(&told(&letter));
        let short = without_value(letter);
        assert_eq!(short.value, None);
        assert!(told(&short).ends_with("sink-dead-letter-omitted: value\n"));
    }
}
