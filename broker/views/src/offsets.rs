//! How far each consumer group has come, and which of its members holds which partitions. The fold
//! of the internal topic `__committed_offsets`, whose events are [`OffsetChange`]s as JSON.
//!
//! Promises: the last commit of a group stands; a deleted topic takes its offsets with it. Not
//! here: whether a member may commit, and who should hold what (the broker's groups decide); offsets
//! that stand in the commits of other topics (`consumed.rs`). Which topics those are is here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId, ResetEpoch, TopicId};

use crate::consumed::Reached;

/// The internal topic that this is the fold of; it has one partition.
pub const OFFSETS_TOPIC: &str = "__committed_offsets";
/// Its number.
pub const OFFSETS_TOPIC_ID: TopicId = TopicId(1);

/// The committed offsets of all groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommittedOffsets {
    groups: BTreeMap<GroupName, BTreeMap<(TopicId, PartitionId), Reached>>,
    holders: BTreeMap<(GroupName, TopicId), Held>,
    carriers: BTreeSet<Carrier>,
}

/// One change: the payload of an event in `__committed_offsets`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum OffsetChange {
    /// A group has come this far.
    Committed(Committed),
    /// Other members hold other partitions.
    Held(Held),
    /// Offsets of a group stand in another topic's commits, too.
    Carried(Carrier),
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
    /// How often it was put back.
    #[serde(default, skip_serializing_if = "is_first")]
    pub epoch: ResetEpoch,
}

fn is_first(epoch: &ResetEpoch) -> bool {
    *epoch == ResetEpoch::default()
}

/// Where else to look for how far a group has come in a topic: recorded before anything is there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Carrier {
    /// The group.
    pub group: GroupName,
    /// What it reads.
    pub topic: TopicId,
    /// The topic in whose commits its offsets stand, beside what it made of the events.
    pub by: TopicId,
}

/// Who holds which partitions of a topic for a group: may read and commit them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The group.
    pub group: GroupName,
    /// The topic.
    pub topic: TopicId,
    /// How often this has changed.
    pub generation: u64,
    /// The members that hold anything.
    pub holders: Vec<Holder>,
}

/// A member and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who.
    pub member: MemberId,
    /// How long it may be silent, in ms.
    pub session_timeout_ms: u32,
    /// What it holds, in rising order.
    pub partitions: Vec<PartitionId>,
}

impl CommittedOffsets {
    /// Makes `change`.
    pub fn apply(&mut self, change: &OffsetChange) {
        match change {
            OffsetChange::Committed(Committed { group, topic, partition, offset, epoch }) => {
                let offsets = self.groups.entry(group.clone()).or_default();
                let reached = Reached { epoch: *epoch, offset: *offset };
                offsets.insert((*topic, *partition), reached);
            }
            OffsetChange::Held(held) => {
                self.holders.insert((held.group.clone(), held.topic), held.clone());
            }
            OffsetChange::Carried(carrier) => {
                self.carriers.insert(carrier.clone());
            }
            OffsetChange::TopicDeleted { topic } => {
                self.carriers.retain(|carrier| carrier.topic != *topic && carrier.by != *topic);
                self.holders.retain(|(_, of), _| of != topic);
                self.groups.retain(|_, offsets| {
                    offsets.retain(|(of, _), _| of != topic);
                    !offsets.is_empty()
                });
            }
        }
    }

    /// Where the group reads on, if it ever committed there.
    pub fn offset(
        &self,
        group: &GroupName,
        topic: TopicId,
        partition: PartitionId,
    ) -> Option<Offset> {
        self.reached(group, topic, partition).map(|reached| reached.offset)
    }

    /// The same with the epoch in which it was committed.
    pub fn reached(
        &self,
        group: &GroupName,
        topic: TopicId,
        partition: PartitionId,
    ) -> Option<Reached> {
        self.groups.get(group)?.get(&(topic, partition)).copied()
    }

    /// Whether this is recorded.
    pub fn is_carried(&self, carrier: &Carrier) -> bool {
        self.carriers.contains(carrier)
    }

    /// Where offsets stand beside these.
    pub fn carriers(&self) -> impl Iterator<Item = &Carrier> {
        self.carriers.iter()
    }

    /// How often a group changed who holds what in a topic.
    pub fn generation(&self, group: &GroupName, topic: TopicId) -> u64 {
        self.holders.get(&(group.clone(), topic)).map_or(0, |held| held.generation)
    }

    /// Who held what when it last changed, of all groups.
    pub fn holders(&self) -> impl Iterator<Item = &Held> {
        self.holders.values()
    }

    /// All groups that ever committed or held anything, with the topics they did it in.
    pub fn groups(&self) -> BTreeMap<&GroupName, BTreeSet<TopicId>> {
        let mut groups: BTreeMap<&GroupName, BTreeSet<TopicId>> = BTreeMap::new();
        for (group, offsets) in &self.groups {
            groups.entry(group).or_default().extend(offsets.keys().map(|(topic, _)| *topic));
        }
        for (group, topic) in self.holders.keys() {
            groups.entry(group).or_default().insert(*topic);
        }
        for carrier in &self.carriers {
            groups.entry(&carrier.group).or_default().insert(carrier.topic);
        }
        groups
    }

    /// Everything committed, by group, topic and partition: as many changes make the same fold again, which
    /// is how it is stored as a blob.
    pub fn all(&self) -> impl Iterator<Item = Committed> {
        self.groups.iter().flat_map(|(group, offsets)| {
            offsets.iter().map(|(&(topic, partition), &reached)| Committed {
                group: group.clone(),
                topic,
                partition,
                offset: reached.offset,
                epoch: reached.epoch,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(group: &str, topic: u32, partition: u32, offset: u64) -> Committed {
        Committed {
            group: GroupName::parse(group).unwrap(),
            topic: TopicId(topic),
            partition: PartitionId(partition),
            offset: Offset(offset),
            epoch: ResetEpoch(0),
        }
    }

    #[test]
    fn the_last_commit_stands_until_its_topic_goes() {
        let mut offsets = CommittedOffsets::default();
        for change in [("a", 16, 0, 5), ("a", 16, 0, 9), ("a", 17, 1, 1), ("b", 16, 0, 2)] {
            let (group, topic, partition, offset) = change;
            offsets.apply(&OffsetChange::Committed(committed(group, topic, partition, offset)));
        }
        let all: Vec<_> = offsets.all().collect();
        assert_eq!(
            all,
            [committed("a", 16, 0, 9), committed("a", 17, 1, 1), committed("b", 16, 0, 2)]
        );
        assert_eq!(all.into_iter().collect::<CommittedOffsets>(), offsets);

        let group = GroupName::parse("a").unwrap();
        assert_eq!(offsets.offset(&group, TopicId(16), PartitionId(0)), Some(Offset(9)));
        assert_eq!(offsets.offset(&group, TopicId(16), PartitionId(1)), None);
        offsets.apply(&OffsetChange::TopicDeleted { topic: TopicId(16) });
        assert_eq!(offsets.all().collect::<Vec<_>>(), [committed("a", 17, 1, 1)]);
    }

    #[test]
    fn a_change_is_written_as_json_that_stays_readable() {
        let json = r#"{"change":"committed","group":"a","topic":16,"partition":0,"offset":5}"#;
        let change: OffsetChange = serde_json::from_str(json).unwrap();
        assert_eq!(change, OffsetChange::Committed(committed("a", 16, 0, 5)));
        assert_eq!(serde_json::to_string(&change).unwrap(), json);

        let put_back = Committed { epoch: ResetEpoch(2), ..committed("a", 16, 0, 5) };
        let json = serde_json::to_string(&OffsetChange::Committed(put_back)).unwrap();
        assert!(json.ends_with(r#""offset":5,"epoch":2}"#), "{json}");
    }

    #[test]
    fn where_offsets_are_carried_is_known_until_either_topic_goes() {
        let carrier = |topic, by| Carrier {
            group: GroupName::parse("a").unwrap(),
            topic: TopicId(topic),
            by: TopicId(by),
        };
        let mut offsets = CommittedOffsets::default();
        for (topic, by) in [(16, 17), (16, 18), (19, 18)] {
            offsets.apply(&OffsetChange::Carried(carrier(topic, by)));
        }
        offsets.apply(&OffsetChange::TopicDeleted { topic: TopicId(17) });
        assert!(!offsets.is_carried(&carrier(16, 17)) && offsets.is_carried(&carrier(16, 18)));
        offsets.apply(&OffsetChange::TopicDeleted { topic: TopicId(19) });
        assert_eq!(offsets.carriers().collect::<Vec<_>>(), [&carrier(16, 18)]);
    }
}
