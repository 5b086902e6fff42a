//! A dead letter: an event that a plugin refused, kept in another topic together with why.
//!
//! Key, value, timestamp and headers are the event's, as its publisher sent it. What the broker adds
//! is in headers of reserved names, each value as text:
//! ```text
//! weir-dead-letter-topic      flights                 weir-dead-letter-partition  3
//! weir-dead-letter-plugin     daily-limit             weir-dead-letter-version    2
//! weir-dead-letter-digest     6f1c…                   weir-dead-letter-time       1385683200000
//! weir-dead-letter-code       daily-limit             weir-dead-letter-reason     N14228 has had its 2 …
//! weir-dead-letter-publisher  admin                   weir-dead-letter-hops       0
//! and where there is one:
//! weir-dead-letter-retry-after-ms 3600000             weir-dead-letter-failed     true
//! weir-dead-letter-producer   17:0:4711 (id, epoch, sequence)
//! weir-dead-letter-cause      bookings/0#12 (the event was a side event)
//! ```
//! Promises: [`DeadLetter::stamp`] and [`DeadLetter::read`] are inverse, and [`original`] gives back
//! what was stamped; a reader of a younger broker's letter passes over headers it does not know.
//! Not here: who refuses, and who brings the letter to its topic.

use std::str::FromStr;

use bytes::Bytes;

use crate::ids::{
    CAUSE_HEADER, Digest, PartitionId, PluginName, Principal, ProducerEpoch, ProducerId,
    RESERVED_HEADER_PREFIX, Sequence, Timestamp, TopicName,
};
use crate::record_batch::{Event, Header, Headers, Record};

/// The beginning of a dead letter's own headers.
pub const DEAD_LETTER_PREFIX: &str = "weir-dead-letter-";
/// Bytes of the reason that are kept: what a plugin may say is half of it, so only the long story of
/// a failure is cut.
const REASON_BYTES_MAX: usize = 1 << 10;

const TOPIC: &str = "weir-dead-letter-topic";
const PARTITION: &str = "weir-dead-letter-partition";
const PLUGIN: &str = "weir-dead-letter-plugin";
const VERSION: &str = "weir-dead-letter-version";
const DIGEST: &str = "weir-dead-letter-digest";
const CODE: &str = "weir-dead-letter-code";
const REASON: &str = "weir-dead-letter-reason";
const RETRY_AFTER_MS: &str = "weir-dead-letter-retry-after-ms";
const FAILED: &str = "weir-dead-letter-failed";
const TIME: &str = "weir-dead-letter-time";
const HOPS: &str = "weir-dead-letter-hops";
const PUBLISHER: &str = "weir-dead-letter-publisher";
const PRODUCER: &str = "weir-dead-letter-producer";
const CAUSE: &str = "weir-dead-letter-cause";

/// Why an event was refused, where, and who had sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where it was published to.
    pub topic: TopicName,
    /// In which partition it was judged.
    pub partition: PartitionId,
    /// The plugin that refused it.
    pub plugin: PluginName,
    /// The number of the plugin's version.
    pub version: u32,
    /// The component that judged.
    pub digest: Digest,
    /// The code its publisher heard.
    pub code: String,
    /// The sentence its publisher heard.
    pub reason: String,
    /// When trying again can help, counted from `time`.
    pub retry_after_ms: Option<u64>,
    /// The plugin did not say no: it failed, and its failure policy is `closed`.
    pub failed: bool,
    /// The partition time at which it was judged.
    pub time: Timestamp,
    /// How many side events lay between it and a publisher's event.
    pub hops: u8,
    /// Who published it.
    pub publisher: Principal,
    /// Who had numbered it, if anyone.
    pub producer: Option<Numbered>,
    /// Its cause, if it was a side event: topic, partition and ordinal.
    pub cause: Option<String>,
}

/// The numbers a producer had given an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// The producer.
    pub id: ProducerId,
    /// Its life.
    pub epoch: ProducerEpoch,
    /// The event's number there.
    pub sequence: Sequence,
}

/// A dead letter's header that is missing or means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {0} of a dead letter is missing or not what it should be")]
pub struct InvalidDeadLetter(&'static str);

/// Whether these are a dead letter's headers. Only the broker writes such.
pub fn is_dead_letter(headers: Headers<'_>) -> bool {
    headers.iter().any(|(name, _)| name == TOPIC)
}

/// The event of a dead letter as its publisher sent it: without the broker's headers.
pub fn original(mut event: Event) -> Event {
    event.headers.retain(|header| !header.name.starts_with(RESERVED_HEADER_PREFIX));
    event
}

/// A dead letter that was refused by the dead-letter topic itself, as a letter once more: it keeps
/// what is known of its first refusal, so that it can still go back to where it came from.
pub fn again(letter: &Record<'_>) -> Event {
    let mut event = letter.to_event();
    event.headers.retain(|header| {
        let is_broker = header.name.starts_with(RESERVED_HEADER_PREFIX);
        !is_broker || header.name.starts_with(DEAD_LETTER_PREFIX)
    });
    event
}

impl DeadLetter {
    /// The dead letter of `event`, which is as it was sent.
    pub fn stamp(&self, event: &Record<'_>) -> Event {
        let mut letter = original(event.to_event());
        let mut push = |name: &str, value: String| {
            letter.headers.push(Header { name: name.to_owned(), value: Some(Bytes::from(value)) });
        };
        push(TOPIC, self.topic.to_string());
        push(PARTITION, self.partition.to_string());
        push(PLUGIN, self.plugin.to_string());
        push(VERSION, self.version.to_string());
        push(DIGEST, self.digest.to_string());
        push(CODE, self.code.clone());
        push(REASON, self.reason[..self.reason.floor_char_boundary(REASON_BYTES_MAX)].to_owned());
        push(TIME, self.time.to_string());
        push(PUBLISHER, self.publisher.to_string());
        push(HOPS, self.hops.to_string());
        if let Some(ms) = self.retry_after_ms {
            push(RETRY_AFTER_MS, ms.to_string());
        }
        if self.failed {
            push(FAILED, true.to_string());
        }
        if let Some(Numbered { id, epoch, sequence }) = self.producer {
            push(PRODUCER, format!("{id}:{epoch}:{sequence}"));
        }
        let from_relay = event.headers.iter().find(|(name, _)| *name == CAUSE_HEADER);
        let cause = from_relay.and_then(|(_, value)| value).map(String::from_utf8_lossy);
        if let Some(cause) = cause.map(String::from).or_else(|| self.cause.clone()) {
            push(CAUSE, cause);
        }
        letter
    }

    /// What a dead letter says; `None` if the event is none.
    pub fn read(event: &Event) -> Option<Result<Self, InvalidDeadLetter>> {
        let headers = Headers::from(&event.headers[..]);
        is_dead_letter(headers).then(|| Self::read_headers(headers))
    }

    fn read_headers(headers: Headers<'_>) -> Result<Self, InvalidDeadLetter> {
        Ok(Self {
            topic: needed(headers, TOPIC)?,
            partition: PartitionId(needed(headers, PARTITION)?),
            plugin: needed(headers, PLUGIN)?,
            version: needed(headers, VERSION)?,
            digest: needed(headers, DIGEST)?,
            code: needed(headers, CODE)?,
            reason: needed(headers, REASON)?,
            retry_after_ms: optional(headers, RETRY_AFTER_MS)?,
            failed: optional(headers, FAILED)?.unwrap_or(false),
            time: Timestamp(needed(headers, TIME)?),
            hops: needed(headers, HOPS)?,
            publisher: needed(headers, PUBLISHER)?,
            producer: optional(headers, PRODUCER)?,
            cause: optional(headers, CAUSE)?,
        })
    }
}

impl FromStr for Numbered {
    type Err = InvalidDeadLetter;

    fn from_str(text: &str) -> Result<Self, InvalidDeadLetter> {
        let invalid = InvalidDeadLetter(PRODUCER);
        let mut parts = text.split(':');
        let mut next = || parts.next().ok_or_else(|| invalid.clone());
        let (id, epoch, sequence) = (next()?, next()?, next()?);
        match (id.parse(), epoch.parse(), sequence.parse(), parts.next()) {
            (Ok(id), Ok(epoch), Ok(sequence), None) => Ok(Self {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                sequence: Sequence::new(sequence),
            }),
            _ => Err(invalid),
        }
    }
}

fn optional<T: FromStr>(
    headers: Headers<'_>,
    name: &'static str,
) -> Result<Option<T>, InvalidDeadLetter> {
    let Some((_, value)) = headers.iter().find(|(other, _)| *other == name) else {
        return Ok(None);
    };
    let text = value.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let read = text.and_then(|text| text.parse().ok());
    read.map(Some).ok_or(InvalidDeadLetter(name))
}

fn needed<T: FromStr>(headers: Headers<'_>, name: &'static str) -> Result<T, InvalidDeadLetter> {
    optional(headers, name)?.ok_or(InvalidDeadLetter(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn letter() -> DeadLetter {
        DeadLetter {
            topic: TopicName::parse("flights").unwrap(),
            partition: PartitionId(3),
            plugin: PluginName::parse("daily-limit").unwrap(),
            version: 2,
            digest: Digest([0xAB; 32]),
            code: "daily-limit".to_owned(),
            reason: "N14228 has had its 2 of today".to_owned(),
            retry_after_ms: Some(5),
            failed: false,
            time: Timestamp(7),
            hops: 0,
            publisher: Principal::parse("admin").unwrap(),
            producer: Some(Numbered {
                id: ProducerId(17),
                epoch: ProducerEpoch(0),
                sequence: Sequence::new(4711),
            }),
            cause: None,
        }
    }

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.to_owned(), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
    }

    fn event() -> Event {
        Event {
            timestamp: Timestamp(1),
            key: Some(Bytes::from_static(b"N14228")),
            value: Some(Bytes::from_static(b"\xFF{}")),
            headers: vec![
                header("a", "1"),
                header("a", "2"),
                Header { name: "n".into(), value: None },
            ],
        }
    }

    fn told(event: &Event) -> String {
        let line = |header: &Header| {
            let value = header.value.as_deref().map(String::from_utf8_lossy);
            format!("{}: {}\n", header.name, value.unwrap_or("(null)".into()))
        };
        event.headers.iter().map(line).collect()
    }

    #[test]
    fn a_letter_is_the_event_and_why() {
        let stamped = letter().stamp(&event().as_record());
        expect![[r#"
            a: 1
            a: 2
            n: (null)
            weir-dead-letter-topic: flights
            weir-dead-letter-partition: 3
            weir-dead-letter-plugin: daily-limit
            weir-dead-letter-version: 2
            weir-dead-letter-digest: abababababababababababababababababababababababababababababababab
            weir-dead-letter-code: daily-limit
            weir-dead-letter-reason: N14228 has had its 2 of today
            weir-dead-letter-time: 7
            weir-dead-letter-publisher: admin
            weir-dead-letter-hops: 0
            weir-dead-letter-retry-after-ms: 5
            weir-dead-letter-producer: 17:0:4711
        "#]]
        .assert_eq(&told(&stamped));
        assert_eq!(DeadLetter::read(&stamped), Some(Ok(letter())));
        assert_eq!(original(stamped), event());
        assert_eq!(DeadLetter::read(&event()), None);
    }

    #[test]
    fn of_a_side_event_the_cause_is_kept_under_another_name() {
        let mut side = event();
        side.headers.extend([header(CAUSE_HEADER, "bookings/0#12"), header("weir-hops", "1")]);
        let bare =
            DeadLetter { retry_after_ms: None, failed: true, producer: None, hops: 1, ..letter() };
        let stamped = bare.stamp(&side.as_record());
        let read = DeadLetter::read(&stamped).unwrap().unwrap();
        assert_eq!(read, DeadLetter { cause: Some("bookings/0#12".to_owned()), ..bare });
        assert!(!stamped.headers.iter().any(|header| header.name == CAUSE_HEADER));
        assert_eq!(original(stamped), event());
    }

    #[test]
    fn a_letter_refused_once_more_still_tells_of_its_first_refusal() {
        let mut arrived = letter().stamp(&event().as_record());
        arrived.headers.extend([header(CAUSE_HEADER, "flights/3#1"), header("weir-hops", "1")]);
        let twice = again(&arrived.as_record());
        assert_eq!(DeadLetter::read(&twice), Some(Ok(letter())));
        assert_eq!(twice, letter().stamp(&event().as_record()));
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        let long = DeadLetter { reason: "ü".repeat(REASON_BYTES_MAX), ..letter() };
        let read = DeadLetter::read(&long.stamp(&event().as_record())).unwrap().unwrap();
        assert_eq!(read.reason, "ü".repeat(REASON_BYTES_MAX / 2));
    }

    #[test]
    fn headers_that_mean_nothing_are_named() {
        for (name, value, whole) in [
            (PARTITION, "x", false),
            (DIGEST, "abc", false),
            (PRODUCER, "1:2", false),
            (PRODUCER, "1:2:3:4", false),
            (FAILED, "perhaps", false),
            ("weir-dead-letter-yet-unknown", "x", true),
        ] {
            let mut stamped = letter().stamp(&event().as_record());
            stamped.headers.retain(|header| header.name != name);
            stamped.headers.push(header(name, value));
            let read = DeadLetter::read(&stamped).unwrap();
            match whole {
                true => assert_eq!(read, Ok(letter())),
                false => assert_eq!(read, Err(InvalidDeadLetter(name_of(name)))),
            }
        }
        let mut bare = event();
        bare.headers.push(header(TOPIC, "flights"));
        assert_eq!(DeadLetter::read(&bare), Some(Err(InvalidDeadLetter(PARTITION))));
    }

    fn name_of(name: &str) -> &'static str {
        [PARTITION, DIGEST, PRODUCER, FAILED].into_iter().find(|known| *known == name).unwrap()
    }
}
