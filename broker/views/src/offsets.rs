//! How far each consumer group has come. The fold of the internal topic `__committed_offsets`,
//! whose events are [`OffsetChange`]s as JSON.
//!
//! Promises: the last commit of a group stands; a deleted topic takes its offsets with it. Not
//! here: whether a member may commit (the desk checks), and group membership.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicId};

/// The internal topic that this is the fold of; it has one partition.
pub const OFFSETS_TOPIC: &str = "__committed_offsets";
/// Its number.
pub const OFFSETS_TOPIC_ID: TopicId = TopicId(1);

/// The committed offsets of all groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommittedOffsets {
    groups: BTreeMap<GroupName, BTreeMap<(TopicId, PartitionId), Offset>>,
}

/// One change: the payload of an event in `__committed_offsets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum OffsetChange {
    /// A group has come this far.
    Committed(Committed),
    /// A topic is no more.
    TopicDeleted {
        /// Which.
        topic: TopicId,
    },
}

/// How far a group has come in one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// The group.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicId,
    /// The partition.
    pub partition: PartitionId,
    /// The offset of the next event to be read.
    pub offset: Offset,
}

impl CommittedOffsets {
    /// Makes `change`.
    pub fn apply(&mut self, change: &OffsetChange) {
        match change {
            OffsetChange::Committed(Committed { group, topic, partition, offset }) => {
                let offsets = self.groups.entry(group.clone()).or_default();
                offsets.insert((*topic, *partition), *offset);
            }
            OffsetChange::TopicDeleted { topic } => {
                self.groups.retain(|_, offsets| {
                    offsets.retain(|(of, _), _| of != topic);
                    !offsets.is_empty()
                });
            }
        }
    }

    /// Where the group reads on, if it ever committed there.
    pub fn offset(&self, group: &GroupName, topic: TopicId, partition: PartitionId) -> Option<Offset> {
        self.groups.get(group)?.get(&(topic, partition)).copied()
    }

    /// Everything, by group, topic and partition: as many changes make the same fold again, which
    /// is how it is stored as a blob.
    pub fn all(&self) -> impl Iterator<Item = Committed> {
        self.groups.iter().flat_map(|(group, offsets)| {
            offsets.iter().map(|(&(topic, partition), &offset)| Committed {
                group: group.clone(),
                topic,
                partition,
                offset,
            })
        })
    }
}

impl FromIterator<Committed> for CommittedOffsets {
    fn from_iter<I: IntoIterator<Item = Committed>>(all: I) -> Self {
        let mut offsets = Self::default();
        all.into_iter().for_each(|one| offsets.apply(&OffsetChange::Committed(one)));
        offsets
    }
}
