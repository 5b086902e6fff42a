//! One request, one answer.

use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId, Timestamp};
use weir_wire::proto;
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::list_offsets_request::At;
use weir_wire::proto::server_frame::Kind as Say;

use super::Office;
use crate::groups::Fenced;
use crate::subscription::unreadable;

/// Answers a call.
pub async fn answer(office: &Office, ask: Ask) -> Result<Say, Fault> {
    match ask {
        Ask::DescribeTopic(request) => describe(office, &request),
        Ask::InitProducer(proto::InitProducerRequest {}) => {
            let id = office.producer_ids.next().await?;
            Ok(Say::InitProducer(proto::InitProducerAnswer {
                producer_id: id.0,
                producer_epoch: 0,
            }))
        }
        Ask::ListOffsets(request) => list_offsets(office, request).await,
        Ask::CommitOffsets(request) => commit_offsets(office, request).await,
        Ask::FetchOffsets(request) => fetch_offsets(office, &request).await,
        Ask::Hello(_)
        | Ask::Publish(_)
        | Ask::Subscribe(_)
        | Ask::JoinGroup(_)
        | Ask::Heartbeat(_) => {
            Err(Fault::new(Code::InvalidFrame, "this frame does not belong here"))
        }
    }
}

fn describe(office: &Office, request: &proto::DescribeTopicRequest) -> Result<Say, Fault> {
    let topic = office.desk.topic(&request.topic)?;
    Ok(Say::DescribeTopic(proto::DescribeTopicAnswer {
        topic: topic.name.to_string(),
        topic_id: topic.id.0,
        partitions: topic.width(),
        durability: proto::Durability::from(topic.durability).into(),
    }))
}

async fn list_offsets(office: &Office, request: proto::ListOffsetsRequest) -> Result<Say, Fault> {
    let topic = office.desk.topic(&request.topic)?;
    let partitions = match request.partitions.as_slice() {
        [] => (0..topic.width()).collect(),
        some => some.to_vec(),
    };
    let mut offsets = Vec::with_capacity(partitions.len());
    for partition in partitions {
        let log = topic.partition(PartitionId(partition))?.log();
        let offset = match request.at {
            Some(At::TimestampMs(ms)) => log.offset_at(Timestamp(ms)).await.map_err(unreadable)?,
            Some(At::Edge(edge)) if edge == proto::Edge::Earliest as i32 => log.earliest().1,
            Some(At::Edge(edge)) if edge == proto::Edge::Latest as i32 => {
                log.tail().borrow().offset
            }
            _ => {
                return Err(Fault::new(
                    Code::InvalidRequest,
                    "offsets are listed at an edge (earliest, latest) or at a time",
                ));
            }
        };
        offsets.push(proto::PartitionOffset { partition, offset: offset.0 });
    }
    Ok(Say::ListOffsets(proto::ListOffsetsAnswer { offsets }))
}

fn group(name: &str) -> Result<GroupName, Fault> {
    GroupName::parse(name).map_err(|error| Fault::new(Code::InvalidRequest, error.to_string()))
}

async fn commit_offsets(
    office: &Office,
    request: proto::CommitOffsetsRequest,
) -> Result<Say, Fault> {
    let topic = office.desk.topic(&request.topic)?;
    let mut offsets = Vec::with_capacity(request.offsets.len());
    for proto::PartitionOffset { partition, offset } in request.offsets {
        let end = topic.partition(PartitionId(partition))?.log().tail().borrow().offset;
        if Offset(offset) > end {
            return Err(Fault::new(
                Code::OffsetOutOfRange,
                format!(
                    "partition {partition} of {} ends at {end}; {offset} cannot have been read",
                    topic.name
                ),
            ));
        }
        offsets.push((PartitionId(partition), Offset(offset)));
    }
    let member = request.member_id.map(MemberId);
    let group = group(&request.group)?;
    let Fenced(fenced) = office.groups.commit(group, topic.id, member, offsets).await?;
    let fenced = fenced.into_iter().map(|partition| partition.0).collect();
    Ok(Say::CommitOffsets(proto::CommitOffsetsAnswer { fenced }))
}

async fn fetch_offsets(
    office: &Office,
    request: &proto::FetchOffsetsRequest,
) -> Result<Say, Fault> {
    let topic = office.desk.topic(&request.topic)?;
    let group = group(&request.group)?;
    let offsets = office.groups.of(&group, topic.id, topic.width()).await?;
    let offsets = offsets
        .into_iter()
        .map(|(partition, offset)| proto::PartitionOffset {
            partition: partition.0,
            offset: offset.0,
        })
        .collect();
    Ok(Say::FetchOffsets(proto::FetchOffsetsAnswer { offsets }))
}
