//! Consumer groups as operators see and move them.

use weir_wire::admin::{
    GroupDescription, GroupMember, GroupPartition, GroupReset, GroupSummary, GroupTopic, ResetSpec,
    ResetTo,
};
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicId};

use super::{Control, ControlError};
use crate::router::Topic;
use crate::subscription::unreadable;

impl Control {
    /// All groups, by name.
    pub async fn groups(&self) -> Vec<GroupSummary> {
        let mut groups = Vec::new();
        for (name, ids) in self.groups.names().await {
            let topics = self.group_topics(&name, &ids).await;
            if topics.is_empty() {
                continue;
            }
            groups.push(GroupSummary {
                name,
                members: topics.iter().map(|topic| topic.members.len() as u32).sum(),
                lag: topics.iter().flat_map(|topic| &topic.partitions).map(|at| at.lag).sum(),
                topics: topics.into_iter().map(|topic| topic.topic).collect(),
            });
        }
        groups
    }

    /// One group.
    pub async fn group(&self, name: &GroupName) -> Result<GroupDescription, ControlError> {
        let known = self.groups.names().await;
        let ids = known.into_iter().find(|(group, _)| group == name).map(|(_, ids)| ids);
        let topics = self.group_topics(name, &ids.unwrap_or_default()).await;
        if topics.is_empty() {
            return Err(ControlError::not_found(
                "unknown-group",
                format!("there is no group {name}; `weir group list` shows those there are"),
            ));
        }
        Ok(GroupDescription { name: name.clone(), topics })
    }

    /// Puts a group's committed offsets in a topic elsewhere, or says where they would be put.
    pub async fn reset_group(
        &self,
        name: &GroupName,
        spec: ResetSpec,
    ) -> Result<GroupReset, ControlError> {
        let topic = self.topics.router.topic(&spec.topic)?;
        let standing = self.groups.standing(name, topic.id, topic.width()).await;
        let mut partitions = Vec::new();
        for (number, committed) in (0..).map(PartitionId).zip(standing.committed) {
            if spec.partitions.as_ref().is_some_and(|some| !some.contains(&number)) {
                continue;
            }
            let (earliest, latest) = edges(&topic, number);
            let to = match spec.to {
                ResetTo::Earliest => earliest,
                ResetTo::Latest => latest,
                ResetTo::Offset(offset) => offset.clamp(earliest, latest),
                ResetTo::Time(time) => {
                    let log = topic.partition(number)?.log();
                    log.offset_at(time).await.map_err(unreadable)?
                }
            };
            partitions.push(GroupPartition {
                committed: Some(to),
                lag: latest.0.saturating_sub(to.0),
                from: committed,
                ..partition(number, None, (earliest, latest))
            });
        }
        let wrong = spec.partitions.iter().flatten().find(|number| number.0 >= topic.width());
        if let Some(number) = wrong {
            topic.partition(*number)?;
        }
        if spec.execute {
            let offsets = partitions.iter().filter_map(|at| Some((at.partition, at.committed?)));
            let offsets = offsets.collect();
            self.groups.commit(name.clone(), topic.id, None, offsets).await?;
        }
        Ok(GroupReset { group: name.clone(), topic: spec.topic, done: spec.execute, partitions })
    }

    async fn group_topics(&self, name: &GroupName, ids: &[TopicId]) -> Vec<GroupTopic> {
        let mut topics = Vec::new();
        for topic in self.topics.router.topics().iter().filter(|topic| ids.contains(&topic.id)) {
            topics.push(self.group_topic(name, topic).await);
        }
        topics
    }

    async fn group_topic(&self, name: &GroupName, topic: &Topic) -> GroupTopic {
        let standing = self.groups.standing(name, topic.id, topic.width()).await;
        let partitions = (0..).map(PartitionId).zip(&standing.committed);
        let partitions = partitions
            .map(|(number, committed)| {
                let holds = |(_, _, held): &&(_, _, Vec<_>)| held.contains(&number);
                let holder = standing.members.iter().find(holds).map(|(member, ..)| *member);
                let at = partition(number, *committed, edges(topic, number));
                GroupPartition { holder, ..at }
            })
            .collect();
        let members = standing
            .members
            .into_iter()
            .map(|(member, client, partitions)| GroupMember { member, client, partitions });
        GroupTopic {
            topic: topic.name.clone(),
            generation: standing.generation,
            members: members.collect(),
            partitions,
        }
    }
}

/// The first offset that is there, and the one behind the last.
fn edges(topic: &Topic, number: PartitionId) -> (Offset, Offset) {
    match topic.partition(number) {
        Ok(partition) => {
            let log = partition.log();
            // On a line of its own: the log must not be asked anything while its tail is borrowed.
            let latest = log.tail().borrow().offset;
            (log.earliest().1, latest)
        }
        Err(_) => (Offset(0), Offset(0)),
    }
}

fn partition(
    number: PartitionId,
    committed: Option<Offset>,
    (earliest, latest): (Offset, Offset),
) -> GroupPartition {
    let next = committed.unwrap_or(earliest).max(earliest);
    GroupPartition {
        partition: number,
        from: None,
        committed,
        end: latest,
        lag: latest.0.saturating_sub(next.0),
        holder: None,
    }
}
