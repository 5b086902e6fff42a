//! What of a topic can be changed while it serves.

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{Offset, PartitionId};
use crate::retention::{Cleanup, Retention};

/// Changes to a topic. What is absent stays as it is; `null` takes a limit away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSettings {
    /// See [`Retention::cleanup`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cleanup: Option<Cleanup>,
    /// See [`Retention::ms`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub retention_ms: Option<Option<u64>>,
    /// See [`Retention::bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub retention_bytes: Option<Option<u64>>,
    /// See [`Retention::segment_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
    pub segment_bytes: Option<Option<u64>>,
}

/// A field that is there, with a value or with `null`.
fn there<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl TopicSettings {
    /// `before` with these changes.
    pub fn applied_to(&self, before: Retention) -> Retention {
        Retention {
            cleanup: self.cleanup.unwrap_or(before.cleanup),
            ms: self.retention_ms.unwrap_or(before.ms),
            bytes: self.retention_bytes.unwrap_or(before.bytes),
            segment_bytes: self.segment_bytes.unwrap_or(before.segment_bytes),
        }
    }
}

/// What a cleaning that an operator asked for did with a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionCleaned {
    /// Which.
    pub partition: PartitionId,
    /// Bytes stored before.
    pub bytes_before: u64,
    /// Bytes stored now; as before if nothing was to be cleaned.
    pub bytes_after: u64,
    /// The first offset that is kept.
    pub earliest: Offset,
    /// Why nothing was cleaned, if that failed; the partition serves on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_stays_and_null_takes_away() {
        let before = Retention { ms: Some(5_000), bytes: Some(9), ..Retention::default() };
        let read = |text| serde_json::from_str::<TopicSettings>(text).unwrap();
        assert_eq!(read("{}").applied_to(before), before);
        let changed = read(r#"{"retention_ms":null,"segment_bytes":70000,"cleanup":"compact"}"#);
        let expected = Retention {
            cleanup: Cleanup::Compact,
            ms: None,
            bytes: Some(9),
            segment_bytes: Some(70_000),
        };
        assert_eq!(changed.applied_to(before), expected);
        let again = serde_json::to_string(&changed).unwrap();
        assert_eq!(read(&again), changed);
        assert!(serde_json::from_str::<TopicSettings>(r#"{"retention":1}"#).is_err());
    }
}
