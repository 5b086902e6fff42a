//! Consumer groups as operators see and move them.

use serde::{Deserialize, Serialize};

use crate::ids::{GroupName, MemberId, Offset, PartitionId, Timestamp, TopicName};

/// A consumer group at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSummary {
    /// Its name.
    pub name: GroupName,
    /// The topics in which it has members or committed offsets.
    pub topics: Vec<TopicName>,
    /// Its members, in all topics.
    pub members: u32,
    /// Events that it has not committed yet, in all topics.
    pub lag: u64,
}

/// A consumer group as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupDescription {
    /// Its name.
    pub name: GroupName,
    /// How it stands in each topic.
    pub topics: Vec<GroupTopic>,
}

/// A consumer group in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTopic {
    /// The topic.
    pub topic: TopicName,
    /// How often it has changed who holds what.
    pub generation: u64,
    /// Who is there.
    pub members: Vec<GroupMember>,
    /// How far it has come.
    pub partitions: Vec<GroupPartition>,
}

/// A member of a group in one topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Who.
    pub member: MemberId,
    /// From where it is connected; `None` while it is not, and its session runs out.
    pub client: Option<String>,
    /// What it holds.
    pub partitions: Vec<PartitionId>,
}

/// How far a group has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPartition {
    /// Which.
    pub partition: PartitionId,
    /// In a reset: what was committed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Offset>,
    /// Where the group reads on; `None` if it never committed here.
    pub committed: Option<Offset>,
    /// The offset of the next event of the partition.
    pub end: Offset,
    /// Events there that the group has not committed yet.
    pub lag: u64,
    /// The member that holds it.
    pub holder: Option<MemberId>,
}

/// Where a group's committed offsets are to be put.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResetSpec {
    /// In which topic.
    pub topic: TopicName,
    /// Where to.
    pub to: ResetTo,
    /// In which partitions; all if not said.
    #[serde(default)]
    pub partitions: Option<Vec<PartitionId>>,
    /// `false` only shows what would be done.
    #[serde(default)]
    pub execute: bool,
}

/// Where to, in every partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResetTo {
    /// The first event that is still there.
    Earliest,
    /// Behind the last.
    Latest,
    /// This offset, or the nearest that is there.
    Offset(Offset),
    /// The first event whose own timestamp is this or later.
    Time(Timestamp),
}

/// What a reset does, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReset {
    /// The group.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicName,
    /// Whether it was done.
    pub done: bool,
    /// Each partition, with `from` and `committed`.
    pub partitions: Vec<GroupPartition>,
}
