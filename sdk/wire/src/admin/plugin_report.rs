//! A plugin at work: what it said, how long it took, and what it uses of what it may, per binding
//! and partition.
//!
//! Counts and measures begin when the broker starts and go on over swaps, pauses and rollbacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Binding, PluginVersion};
use crate::ids::{Digest, Offset, PartitionId, PluginName, Timestamp, TopicName};

/// A plugin, its versions, oldest first, and how it does where it is bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PluginReport {
    /// Its name.
    pub name: PluginName,
    /// Its versions.
    pub versions: Vec<PluginVersion>,
    /// When the broker started: counts and measures begin there.
    #[serde(default)]
    pub counted_since: Timestamp,
    /// Where it is bound, by topic.
    #[serde(default)]
    pub bindings: Vec<BindingReport>,
}

/// A plugin on one topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BindingReport {
    /// The topic.
    pub topic: TopicName,
    /// The binding, with its limits.
    pub binding: Binding,
    /// All partitions together: counts added up, measures of all events, the most of what is held.
    pub total: PartitionReport,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionReport>,
}

/// A binding in one partition.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct PartitionReport {
    /// Which; `None` for all together.
    pub partition: Option<PartitionId>,
    /// Why there are no numbers, if there are none.
    pub silent: Option<String>,
    /// Why every event is a fault of it, if it did not take over the state of the version before.
    #[serde(default)]
    pub unmigrated: Option<String>,
    /// The version at work; `None` if it is paused or not at work here.
    pub version: Option<u32>,
    /// Its component.
    pub digest: Option<Digest>,
    /// The first offset that this version could fill; `None` if that was not recorded.
    pub since: Option<Offset>,
    /// What became of the events it was asked about.
    pub verdicts: VerdictCounts,
    /// How long it took for an event.
    pub latency: Latency,
    /// What it used up for an event; the limit is the binding's `fuel`.
    pub fuel: FuelUse,
    /// Bytes of linear memory of the instance at work; the limit is the binding's `memory_bytes`.
    pub memory_bytes: u64,
    /// Instances made.
    pub instances: u64,
    /// Side events that stand.
    pub side_events: u64,
    /// Bytes of log lines that were over a limit and are gone.
    pub log_bytes_cut: u64,
    /// Keys of its state; the limit is the binding's `state_keys`.
    pub state_keys: u64,
    /// Bytes of its state; the limit is the binding's `state_bytes`.
    pub state_bytes: u64,
    /// Whether it is called.
    pub breaker: BreakerReport,
}

/// What a plugin said of the events it was asked about. An event in a batch that was refused as a
/// whole counts too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerdictCounts {
    /// Passed as they came.
    pub accepted: u64,
    /// Passed as others.
    pub replaced: u64,
    /// Taken away.
    pub dropped: u64,
    /// Refused, by code.
    pub rejected: BTreeMap<String, u64>,
    /// Refused with codes beyond the first so many.
    pub rejected_otherwise: u64,
    /// It failed, or was not called because it keeps failing, by cause.
    pub faults: BTreeMap<String, u64>,
    /// Of those, let pass by its failure policy.
    pub passed_open: u64,
}

impl VerdictCounts {
    /// Refused by the plugin.
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum::<u64>() + self.rejected_otherwise
    }

    /// Events on which it failed, or was not called because it keeps failing.
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// Adds another partition's.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.replaced += other.replaced;
        self.dropped += other.dropped;
        self.rejected_otherwise += other.rejected_otherwise;
        self.passed_open += other.passed_open;
        for (code, count) in &other.rejected {
            *self.rejected.entry(code.clone()).or_default() += count;
        }
        for (cause, count) in &other.faults {
            *self.faults.entry(cause.clone()).or_default() += count;
        }
    }
}

/// How long calls took, in ns of wall clock. A sample: every 16th event on the average, by chance,
/// since a clock that is read for every event would cost more than it tells. Percentiles are at
/// most an eighth too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Latency {
    /// Events measured.
    pub sampled: u64,
    /// Half of them took no longer.
    pub p50_ns: u64,
    /// 99 in 100.
    pub p99_ns: u64,
    /// 999 in 1,000.
    pub p999_ns: u64,
    /// The longest of them, exactly.
    pub max_ns: u64,
}

/// What events used up. Every call counts; percentiles are at most an eighth too high.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FuelUse {
    /// Calls counted.
    pub events: u64,
    /// Half of them used no more.
    pub p50: u64,
    /// 99 in 100.
    pub p99: u64,
    /// The most that one used, exactly.
    pub max: u64,
}

/// Whether a plugin that fails is still called.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BreakerReport {
    /// How it stands.
    pub state: BreakerState,
    /// If it is open: until which partition time.
    pub open_until: Option<Timestamp>,
    /// Why it opened last.
    pub why: Option<String>,
    /// How often it opened.
    pub opened: u64,
}

/// See [`BreakerReport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerState {
    /// The plugin is called.
    #[default]
    Closed,
    /// It keeps failing and is not called.
    Open,
    /// It is called once more, and what it does decides.
    HalfOpen,
}
