//! How long a topic keeps its events. Words and defaults are those of Kafka's topic settings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of a segment that a topic may ask for.
pub const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(1 << 30);
/// The shortest time to keep events, in ms: below, more segments than events would be written.
pub const RETENTION_MS_MIN: u64 = 1_000;

/// What becomes of old events. Kafka's `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Cleanup {
    /// They go when they are older, or the partition is larger, than the topic says.
    #[default]
    #[serde(rename = "delete")]
    Delete,
    /// Of each key the last event stays, for ever; one without a value (a tombstone) ends the key. Events
    /// without a key stay.
    #[serde(rename = "compact")]
    Compact,
    /// Both.
    #[serde(rename = "compact,delete")]
    CompactDelete,
}

/// A topic's settings for what it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// What becomes of old events.
    pub cleanup: Cleanup,
    /// Ms from when an event was stored until it may go; `None` keeps it. Kafka's `retention.ms`.
    pub ms: Option<u64>,
    /// Bytes that a partition keeps: the oldest segments go as long as so much is left; `None` is any
    /// size. Kafka's `retention.bytes`.
    pub bytes: Option<u64>,
    /// Bytes of a segment, which goes as a whole; `None` is 64 MiB. Kafka's `segment.bytes`.
    pub segment_bytes: Option<u64>,
}

impl Retention {
    /// Whether time and size count.
    pub fn removes(&self) -> bool {
        self.cleanup != Cleanup::Compact
    }

    /// Whether keys do.
    pub fn compacts(&self) -> bool {
        self.cleanup != Cleanup::Delete
    }

    /// Whether nothing ever goes.
    pub fn keeps_everything(&self) -> bool {
        !self.compacts() && self.ms.is_none() && self.bytes.is_none()
    }

    /// Why these settings are none, in a sentence for the operator.
    pub fn check(&self) -> Result<(), String> {
        if self.ms.is_some_and(|ms| ms < RETENTION_MS_MIN) {
            return Err(format!("retention_ms is {RETENTION_MS_MIN} (a second) or more"));
        }
        if self.segment_bytes.is_some_and(|bytes| !SEGMENT_BYTES.contains(&bytes)) {
            let (least, most) = (SEGMENT_BYTES.start(), SEGMENT_BYTES.end());
            return Err(format!("segment_bytes is from {least} (64 KiB) to {most} (1 GiB)"));
        }
        Ok(())
    }
}

impl fmt::Display for Cleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Compact => "compact",
            Self::CompactDelete => "compact,delete",
        })
    }
}

impl FromStr for Cleanup {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "delete" => Ok(Self::Delete),
            "compact" => Ok(Self::Compact),
            "compact,delete" | "delete,compact" => Ok(Self::CompactDelete),
            _ => Err(format!("{text} is none of delete, compact and compact,delete")),
        }
    }
}
