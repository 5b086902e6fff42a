//! The nouns of weir as types, parsed at the door.
//!
//! Promises: a value of these types is well-formed, so an offset cannot be taken for a sequence
//! and a topic name can be a folder's name. Not here: what any of them means to a partition.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Bytes of a topic name at most: Kafka's limit, which leaves room for a suffix in a file name.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// Bytes of a plugin, group, client or principal name at most.
pub const NAME_BYTES_MAX: usize = 64;
/// Partitions of one topic at most: a partition is a folder, a task and a window of producers.
pub const PARTITIONS_MAX: u32 = 4096;
/// Names that start so belong to the broker: its own topics.
pub const INTERNAL_TOPIC_PREFIX: &str = "__";
/// Headers that start so are written by the broker alone: a publisher's batch with one is refused.
pub const RESERVED_HEADER_PREFIX: &str = "weir-";
/// Names a side event's cause: topic, partition and ordinal in its outbox, as `flights/3#17`.
pub const CAUSE_HEADER: &str = "weir-cause";

/// A name, digest or number that is not one. The text says what is allowed; the caller fixes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} is not valid: {rule}")]
pub struct InvalidId {
    what: &'static str,
    given: String,
    rule: &'static str,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, given: &str, rule: &'static str) -> Self {
        // A hostile name may be long; the answer to it is not.
        Self { what, given: given.chars().take(80).collect(), rule }
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $rule:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Reads a name, or says what a good one looks like.
            pub fn parse(raw: &str) -> Result<Self, InvalidId> {
                let ok: fn(&str) -> bool = $ok;
                if raw.is_empty() || raw.len() > $max || !ok(raw) {
                    return Err(InvalidId::new($what, raw, $rule));
                }
                Ok(Self(raw.into()))
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(raw: &str) -> Result<Self, InvalidId> {
                Self::parse(raw)
            }
        }
        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(raw: String) -> Result<Self, InvalidId> {
                Self::parse(&raw)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

name_type!(
    /// A topic's name, under Kafka's rule for one. Names that start with `__` are the broker's own.
    TopicName, "topic name", TOPIC_NAME_BYTES_MAX,
    "use 1 to 249 of a-z A-Z 0-9 . _ - and neither \".\" nor \"..\"",
    |raw| raw != "." && raw != ".." && raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
);
name_type!(
    /// A plugin's name: what state belongs to, across all its versions.
    PluginName, "plugin name", NAME_BYTES_MAX,
    "use 1 to 64 of a-z 0-9 and -, beginning with a letter",
    |raw| raw.as_bytes()[0].is_ascii_lowercase()
        && raw.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
);
name_type!(
    /// A consumer group's name: what committed offsets belong to.
    GroupName, "group name", NAME_BYTES_MAX,
    "use 1 to 64 of a-z A-Z 0-9 . _ -",
    |raw| raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
);
name_type!(
    /// Who is asking: the name a token stands for. Plugins see it as the publisher.
    Principal, "principal", NAME_BYTES_MAX,
    "use 1 to 64 of a-z A-Z 0-9 . _ - :",
    |raw| raw.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b))
);

impl TopicName {
    /// Whether this is one of the broker's own topics, which no client creates, writes or deletes.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with(INTERNAL_TOPIC_PREFIX)
    }
}

macro_rules! number_type {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_type!(
    /// A topic's number: never used twice, so a topic made anew under an old name is another one.
    TopicId, u32
);
number_type!(
    /// One partition of a topic, from 0.
    PartitionId, u32
);
number_type!(
    /// The place of an admitted event in its partition, from 0, dense.
    Offset, u64
);
number_type!(
    /// The place of a commit in its log, from 0, dense. Refusals take a position and no offset.
    Position, u64
);
number_type!(
    /// Who numbers the events of a batch: given out by the broker, never twice.
    ProducerId, u64
);
number_type!(
    /// The life of a producer id; a younger one fences the older.
    ProducerEpoch, u16
);
number_type!(
    /// A member of a consumer group: given out by the broker, never twice.
    MemberId, u64
);
number_type!(
    /// How often a consumer group's committed offset in a partition was put back.
    ResetEpoch, u32
);
number_type!(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    Timestamp, u64
);
number_type!(
    /// How often a topic's chain was changed.
    ChainRevision, u64
);

impl Offset {
    /// The offset `count` events further on.
    pub fn plus(self, count: u64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl Position {
    /// The position of the next commit.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The number of an event within (producer id, epoch), from 0; after 2^31-1 comes 0 (Kafka's rule).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Sequence(u32);

impl Sequence {
    /// The first of a producer's life.
    pub const ZERO: Self = Self(0);
    const MASK: u32 = i32::MAX as u32;

    /// The sequence with this number, wrapped into 31 bits.
    pub fn new(number: u32) -> Self {
        Self(number & Self::MASK)
    }
    /// The number, below 2^31.
    pub fn number(self) -> u32 {
        self.0
    }
    /// The sequence `count` events further on, wrapping.
    pub fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count) & Self::MASK)
    }
    /// How many events `self` lies behind `earlier`, wrapping: 0 if equal.
    pub fn distance_from(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0) & Self::MASK
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a relay's producer id has and no client's: bit 62. See [`ProducerId::relay`].
const RELAY_BIT: u64 = 1 << 62;

impl ProducerId {
    /// The producer id under which the side events of one partition travel: it follows from the
    /// cause, so a relay that starts again after a crash is the same producer.
    pub fn relay(topic: TopicId, partition: PartitionId) -> Self {
        Self(RELAY_BIT | u64::from(topic.0) << 24 | u64::from(partition.0 & 0x00FF_FFFF))
    }
    /// Whether a client may use this id: relays have ids of their own, and Kafka's are positive.
    pub fn is_for_clients(self) -> bool {
        self.0 < RELAY_BIT
    }
}

/// The sha256 of a component: what a plugin version *is*.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Reads 64 hexadecimal digits.
    pub fn parse(raw: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId::new("digest", raw, "use 64 hexadecimal digits");
        if raw.len() != 64 || !raw.is_ascii() {
            return Err(wrong());
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(raw.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
        }
        Ok(Self(bytes))
    }
    /// The first 12 hexadecimal digits: enough for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Digest {
    type Err = InvalidId;
    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        Self::parse(raw)
    }
}
impl TryFrom<String> for Digest {
    type Error = InvalidId;
    fn try_from(raw: String) -> Result<Self, InvalidId> {
        Self::parse(&raw)
    }
}
impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_at_the_door() {
        for good in ["flights", "a.b_c-D9", "__catalog"] {
            assert_eq!(TopicName::parse(good).expect(good).as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "ü", "a b", &"x".repeat(250)] {
            assert!(TopicName::parse(bad).is_err(), "{bad:?} passed");
        }
        for bad in ["", "9lives", "Daily", "a_b", &"x".repeat(65)] {
            assert!(PluginName::parse(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn sequences_wrap_like_kafkas() {
        let last = Sequence::new(i32::MAX as u32);
        assert_eq!(last.plus(1), Sequence::ZERO);
        assert_eq!(Sequence::new(4).distance_from(last), 5);
    }

    #[test]
    fn a_relays_producer_id_is_no_clients() {
        let id = ProducerId::relay(TopicId(7), PartitionId(3));
        assert!(!id.is_for_clients());
        assert_ne!(id, ProducerId::relay(TopicId(7), PartitionId(4)));
    }

    #[test]
    fn digests_round_trip() {
        let digest = Digest([0xA5; 32]);
        assert_eq!(Digest::parse(&digest.to_string()), Ok(digest));
        assert!(Digest::parse("é".repeat(32).as_str()).is_err());
    }
}
