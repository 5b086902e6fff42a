//! The admin API's requests and answers, as JSON over HTTP. `broker/openapi.json` describes the
//! routes; this is the schema both sides compile against.
//!
//! ```text
//! GET    /v1/status                                  Status
//! GET    /v1/clock                                   ClockStatus
//! POST   /v1/clock/accept                            ClockStatus
//! GET    /v1/topics                                  [TopicDescription]
//! POST   /v1/topics                  TopicSpec       TopicDescription
//! GET    /v1/topics/{topic}                          TopicDescription
//! PATCH  /v1/topics/{topic}          TopicSettings   TopicDescription
//! DELETE /v1/topics/{topic}
//! POST   /v1/topics/{topic}/clean                    [PartitionCleaned]
//! GET    /v1/plugins                                 [PluginDescription]
//! GET    /v1/plugins/{plugin}                        PluginReport
//! GET    /v1/plugins/{plugin}/logs?after&topic&wait_ms  PluginLog
//! POST   /v1/plugins/{plugin}/versions  (wasm bytes) PluginVersion
//! DELETE /v1/plugins/{plugin}/versions/{version}
//! GET    /v1/topics/{topic}/chain                    Chain
//! PUT    /v1/topics/{topic}/chain/{plugin}  BindingSpec  ChainChange
//! DELETE /v1/topics/{topic}/chain/{plugin}           ChainChange
//! POST   /v1/topics/{topic}/chain/{plugin}/rollback  ChainChange
//! POST   /v1/topics/{topic}/chain/{plugin}/pause     ChainChange
//! POST   /v1/topics/{topic}/chain/{plugin}/resume    ChainChange
//! GET    /v1/groups                                  [GroupSummary]
//! GET    /v1/groups/{group}                          GroupDescription
//! POST   /v1/groups/{group}/reset    ResetSpec       GroupReset
//! GET    /openapi.json
//! ```
//! Every request carries `Authorization: Bearer TOKEN`. A failure is a [`Problem`] with an HTTP
//! status of 4xx (fix it) or 5xx (503: retry).

mod group;
mod limits;
mod plugin_log;
mod plugin_report;
mod topic_settings;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ids::{
    ChainRevision, Digest, Offset, PartitionId, PluginName, Timestamp, TopicId, TopicName,
};
use crate::keyspace::{Keyspace, Schema};
use crate::proto;
use crate::retention::{Cleanup, Retention};

pub use self::group::{
    GroupDescription, GroupMember, GroupPartition, GroupReset, GroupSummary, GroupTopic, ResetSpec,
    ResetTo,
};
pub use self::limits::{LimitChanges, Limits};
pub use self::plugin_log::{LineSource, LogLevel, PluginLine, PluginLog};
pub use self::plugin_report::{
    BindingReport, BreakerReport, BreakerState, FuelUse, Latency, PartitionReport, PluginReport,
    VerdictCounts,
};
pub use self::topic_settings::{PartitionCleaned, TopicSettings};

/// What went wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable, for programs; the fault codes of the data protocol and a few of this API.
    pub code: String,
    /// One sentence for people.
    pub message: String,
}

/// The broker at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// How many topics of users.
    pub topics: u32,
    /// How many partitions of users' topics are open.
    pub partitions: u32,
    /// Partitions that stand still, with the reason: an operator has to act.
    pub stopped: Vec<String>,
    /// What is wrong with the machine's clock, if anything: an operator has to act.
    #[serde(default)]
    pub clock_alarm: Option<String>,
}

/// The machine's clock, and how far the broker believes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// The machine's time.
    pub wall: Timestamp,
    /// The broker's time.
    pub broker: Timestamp,
    /// By how many ms the machine's is ahead of the broker's; negative if it is behind.
    pub ahead_ms: i64,
    /// What is wrong, if anything.
    pub alarm: Option<String>,
}

/// When an answer may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// After fdatasync.
    #[default]
    Durable,
    /// After the write: a power cut can lose it.
    Os,
}

impl From<Durability> for proto::Durability {
    fn from(durability: Durability) -> Self {
        match durability {
            Durability::Durable => Self::Durable,
            Durability::Os => Self::Os,
        }
    }
}

/// A topic to be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicSpec {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; 1 if not said.
    #[serde(default = "one")]
    pub partitions: u32,
    /// When its answers may leave.
    #[serde(default)]
    pub durability: Durability,
    /// See [`Retention::ms`].
    #[serde(default)]
    pub retention_ms: Option<u64>,
    /// See [`Retention::bytes`].
    #[serde(default)]
    pub retention_bytes: Option<u64>,
    /// See [`Retention::cleanup`].
    #[serde(default)]
    pub cleanup: Cleanup,
    /// See [`Retention::segment_bytes`].
    #[serde(default)]
    pub segment_bytes: Option<u64>,
}

impl TopicSpec {
    /// A durable topic of one partition that keeps everything.
    pub fn named(name: TopicName) -> Self {
        Self {
            name,
            partitions: 1,
            durability: Durability::Durable,
            retention_ms: None,
            retention_bytes: None,
            cleanup: Cleanup::Delete,
            segment_bytes: None,
        }
    }

    /// What it keeps.
    pub fn retention(&self) -> Retention {
        Retention {
            cleanup: self.cleanup,
            ms: self.retention_ms,
            bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
        }
    }
}

fn one() -> u32 {
    1
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicDescription {
    /// Its name.
    pub name: TopicName,
    /// Its number.
    pub id: TopicId,
    /// When its answers may leave.
    pub durability: Durability,
    /// See [`Retention::ms`].
    pub retention_ms: Option<u64>,
    /// See [`Retention::bytes`].
    pub retention_bytes: Option<u64>,
    /// See [`Retention::cleanup`].
    #[serde(default)]
    pub cleanup: Cleanup,
    /// See [`Retention::segment_bytes`].
    #[serde(default)]
    pub segment_bytes: Option<u64>,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionDescription {
    /// Which.
    pub partition: PartitionId,
    /// The first offset still there.
    pub earliest: Offset,
    /// The offset of the next event.
    pub high_watermark: Offset,
    /// Bytes of its segments.
    pub stored_bytes: u64,
    /// The partition time of the last commit.
    pub partition_time: Timestamp,
    /// The chain at work.
    pub chain_revision: ChainRevision,
    /// Why it stands still, if it does.
    pub stopped: Option<String>,
    /// Events judged since the broker started, by outcome.
    pub judged: JudgedCounts,
    /// Side events not yet in their topics.
    pub outbox_pending: u64,
    /// Side events that no topic took, since the broker started: theirs was gone, or they were too
    /// large for it.
    #[serde(default)]
    pub side_events_lost: u64,
    /// Side events that their topics' own plugins refused or dropped, since the broker started.
    #[serde(default)]
    pub side_events_refused: u64,
}

/// Events judged since the broker started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JudgedCounts {
    /// In the log.
    pub accepted: u64,
    /// Taken away by a plugin.
    pub dropped: u64,
    /// Refused by a plugin.
    pub rejected: u64,
    /// Refused because a plugin failed.
    pub faulted: u64,
    /// Let pass although a plugin failed (policy `open`).
    pub passed_open: u64,
    /// Innocent ones of a refused all-or-nothing batch.
    pub aborted: u64,
    /// Answered from the record: retries.
    pub duplicates: u64,
    /// Refused ones that were kept as dead letters.
    #[serde(default)]
    pub dead_letters: u64,
    /// Refused ones that were not, since they had come through too many topics already.
    #[serde(default)]
    pub dead_letters_lost: u64,
}

/// A plugin and its versions, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginDescription {
    /// Its name.
    pub name: PluginName,
    /// Its versions.
    pub versions: Vec<PluginVersion>,
}

/// One version of a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginVersion {
    /// Its plugin.
    pub name: PluginName,
    /// 1, 2, 3 … in order of upload. A digest or the first 8 or more digits of one names it as well.
    pub version: u32,
    /// What it is.
    pub digest: Digest,
    /// Bytes of the component.
    pub bytes: u64,
    /// When it came.
    pub pushed_at: Timestamp,
    /// The form in which it keeps its state; empty if it declares none.
    #[serde(default)]
    pub schema: Schema,
    /// Topics whose chain has it.
    #[serde(default)]
    pub bound_to: Vec<TopicName>,
}

/// What becomes of an event on which the plugin failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// Rejected, retryable; nothing stored.
    #[default]
    Closed,
    /// Passes, stamped with a header, and counted.
    Open,
}

/// A binding to be made, or changed: on a topic that has the plugin already, this swaps it. What is
/// not said stays as it is there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BindingSpec {
    /// Which version: a number, a digest, or the beginning of one; the newest if not said.
    pub version: Option<String>,
    /// Its place: chains run in rising order, equal ones by name. A new binding's default is 0.
    pub order: Option<i32>,
    /// Handed to `configure` as JSON. A new binding's default is `{}`.
    pub config: Option<serde_json::Value>,
    /// What becomes of events on which it fails. A new binding's default is `closed`.
    pub on_failure: Option<FailurePolicy>,
    /// Topics it may emit side events to; if none is named here, those that the config names.
    pub emit: Vec<TopicName>,
    /// What it may use up; a limit that is not named stays as it is. A new binding has the defaults.
    pub limits: Option<LimitChanges>,
    /// The topic that keeps the events it refuses; `null` keeps none. A new binding's default is none.
    #[serde(deserialize_with = "said", skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Option<TopicName>>,
}

/// A field that is there: not said is one thing, and said to be `null` another.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// One link of a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The plugin.
    pub plugin: PluginName,
    /// Its version's number.
    pub version: u32,
    /// Its version.
    pub digest: Digest,
    /// Its place.
    pub order: i32,
    /// Its config, JSON.
    pub config: serde_json::Value,
    /// What becomes of events on which it fails.
    pub on_failure: FailurePolicy,
    /// Topics it may emit to.
    pub emit: Vec<TopicName>,
    /// What it may use up.
    pub limits: Limits,
    /// The topic that keeps the events it refuses.
    #[serde(default)]
    pub dead_letter: Option<TopicName>,
    /// Whether an operator has paused it: it keeps its place, config, limits and state, and events
    /// pass it by. That is no failure: its failure policy has no part in it.
    #[serde(default)]
    pub paused: bool,
    /// Where its state is: `SCHEMA@REVISION`, with the chain revision that took it over; empty where
    /// no version ever declared a schema.
    #[serde(default)]
    pub keyspace: Keyspace,
}

/// A topic's plugins in the order they judge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Chain {
    /// Counts the changes.
    pub revision: ChainRevision,
    /// The links.
    pub bindings: Vec<Binding>,
}

/// A chain after a change, and from which offset of each partition on it judges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainChange {
    /// The chain as it is now.
    pub chain: Chain,
    /// The first offset that the new chain can fill, per partition.
    pub since: Vec<ChangedAt>,
    /// Partitions that could not change yet, with the reason: there the chain before it judges until
    /// the partition is opened again.
    #[serde(default)]
    pub pending: Vec<NotChanged>,
    /// Partitions where the new chain is at work and a plugin in it did not take over its state: every
    /// event is a fault of it there, until it is rolled back or another version is bound.
    #[serde(default)]
    pub unmigrated: Vec<NotChanged>,
}

/// A partition in which a recorded chain change did not take effect yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotChanged {
    /// Which.
    pub partition: PartitionId,
    /// Why, and what to do.
    pub why: String,
}

/// Where a chain change took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedAt {
    /// In which partition.
    pub partition: PartitionId,
    /// Events from here on were judged by the new chain, those below by the old one.
    pub offset: Offset,
}
