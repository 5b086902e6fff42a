//! What a publish says of the events it was made from.

use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId, TopicName};
use weir_wire::proto;

/// How far a member of a group has come in one partition: committed together with what was made of it
/// ([`Producer::publish_consumed`](crate::Producer::publish_consumed)), or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// The group.
    pub group: GroupName,
    /// The member that holds the partition.
    pub member: MemberId,
    /// What was read.
    pub topic: TopicName,
    /// The partition of it.
    pub partition: PartitionId,
    /// The committed offset that it began at.
    pub from: Offset,
    /// The committed offset from then on.
    pub to: Offset,
}

impl std::convert::From<&Consumed> for proto::Consumed {
    fn from(consumed: &Consumed) -> Self {
        Self {
            group: consumed.group.to_string(),
            member_id: consumed.member.0,
            topic: consumed.topic.to_string(),
            partition: consumed.partition.0,
            from_offset: consumed.from.0,
            to_offset: consumed.to.0,
        }
    }
}
