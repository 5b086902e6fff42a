//! Calls: one request, one answer, on a stream of their own.
//!
//! Promises: every call may be repeated without harm, so a lost or "try later" answer is asked for
//! again until the deadline.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;
use weir_wire::fault::Fault;
use weir_wire::ids::{
    GroupName, MemberId, Offset, PartitionId, ProducerEpoch, ProducerId, TopicName,
};
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::list_offsets_request::At;
use weir_wire::proto::server_frame::Kind as Answer;
use weir_wire::proto::{self, PartitionOffset};

use crate::error::ClientError;
use crate::frames::{self, StreamError};
use crate::link::Link;

/// From the first attempt to the last: a broker that restarts is back long before.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// What a topic looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicShape {
    /// How many partitions, numbered from 0.
    pub partitions: u32,
    /// Whether answers wait for the disk (`true`) or for the operating system only.
    pub is_durable: bool,
}

/// Who numbers the events of a producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) id: ProducerId,
    pub(crate) epoch: ProducerEpoch,
}

/// Asks for a topic's shape.
pub(crate) async fn describe_topic(
    link: &Link,
    topic: &TopicName,
) -> Result<TopicShape, ClientError> {
    let ask = Ask::DescribeTopic(proto::DescribeTopicRequest { topic: topic.to_string() });
    let answer = call(link, ask, deadline(), |answer| match answer {
        Answer::DescribeTopic(answer) => Some(answer),
        _ => None,
    });
    let answer = answer.await?;
    if answer.partitions == 0 {
        return Err(ClientError::Protocol("a topic without partitions".to_owned()));
    }
    let is_durable = answer.durability() == proto::Durability::Durable;
    Ok(TopicShape { partitions: answer.partitions, is_durable })
}

/// Asks for a producer id that nobody had before.
pub(crate) async fn init_producer(link: &Link, deadline: Instant) -> Result<Identity, ClientError> {
    let ask = Ask::InitProducer(proto::InitProducerRequest {});
    let answer = call(link, ask, deadline, |answer| match answer {
        Answer::InitProducer(answer) => Some(answer),
        _ => None,
    });
    let answer = answer.await?;
    let id = ProducerId(answer.producer_id);
    // Kafka's batches have room for 15 bits, and a client's id is none of a relay's.
    match i16::try_from(answer.producer_epoch) {
        Ok(epoch) if id.is_for_clients() => {
            Ok(Identity { id, epoch: ProducerEpoch(epoch.unsigned_abs()) })
        }
        _ => {
            Err(ClientError::Protocol("a producer id or epoch that no client may have".to_owned()))
        }
    }
}

/// Asks for an offset of each of `partitions`.
pub(crate) async fn list_offsets(
    link: &Link,
    topic: &TopicName,
    partitions: &[PartitionId],
    at: At,
) -> Result<Vec<(PartitionId, Offset)>, ClientError> {
    let ask = Ask::ListOffsets(proto::ListOffsetsRequest {
        topic: topic.to_string(),
        partitions: partitions.iter().map(|partition| partition.0).collect(),
        at: Some(at),
    });
    let answer = call(link, ask, deadline(), |answer| match answer {
        Answer::ListOffsets(answer) => Some(answer),
        _ => None,
    });
    Ok(offsets(answer.await?.offsets))
}

/// Stores how far a group has come, as its `member` or as nobody of it. Gives the partitions that
/// are not the member's any more.
pub(crate) async fn commit_offsets(
    link: &Link,
    group: &GroupName,
    topic: &TopicName,
    member: Option<MemberId>,
    next: &[(PartitionId, Offset)],
) -> Result<Vec<PartitionId>, ClientError> {
    let ask = Ask::CommitOffsets(proto::CommitOffsetsRequest {
        group: group.to_string(),
        topic: topic.to_string(),
        offsets: next
            .iter()
            .map(|(partition, offset)| PartitionOffset { partition: partition.0, offset: offset.0 })
            .collect(),
        member_id: member.map(|member| member.0),
    });
    let answer = call(link, ask, deadline(), |answer| match answer {
        Answer::CommitOffsets(answer) => Some(answer),
        _ => None,
    });
    Ok(answer.await?.fenced.into_iter().map(PartitionId).collect())
}

/// Asks how far a group has come; partitions it never committed are absent.
pub(crate) async fn fetch_offsets(
    link: &Link,
    group: &GroupName,
    topic: &TopicName,
) -> Result<Vec<(PartitionId, Offset)>, ClientError> {
    let ask = Ask::FetchOffsets(proto::FetchOffsetsRequest {
        group: group.to_string(),
        topic: topic.to_string(),
    });
    let answer = call(link, ask, deadline(), |answer| match answer {
        Answer::FetchOffsets(answer) => Some(answer),
        _ => None,
    });
    Ok(offsets(answer.await?.offsets))
}

fn deadline() -> Instant {
    Instant::now() + CALL_DEADLINE
}

fn offsets(wire: Vec<PartitionOffset>) -> Vec<(PartitionId, Offset)> {
    wire.into_iter().map(|at| (PartitionId(at.partition), Offset(at.offset))).collect()
}

/// Asks until an answer comes or `deadline` passes; `pick` takes the answer's kind apart.
async fn call<T>(
    link: &Link,
    ask: Ask,
    deadline: Instant,
    pick: impl Fn(Answer) -> Option<T>,
) -> Result<T, ClientError> {
    let mut backoff = link.backoff();
    loop {
        let failure = match timeout_at(deadline, ask_once(link, ask.clone(), deadline)).await {
            Ok(Ok(answer)) => {
                let other =
                    || ClientError::Protocol("a call was answered by another kind".to_owned());
                return pick(answer).ok_or_else(other);
            }
            Ok(Err(failure)) => failure,
            Err(_) => return Err(too_slow()),
        };
        // A lost answer is asked for again: every call may be repeated.
        if !failure.is_retryable() && !matches!(failure, ClientError::Unknown) {
            return Err(failure);
        }
        let wait = backoff.after_failure(failure.retry_after_ms());
        debug!(error = %failure, ?wait, "a call failed; trying again");
        if deadline <= Instant::now() + wait {
            return Err(if matches!(failure, ClientError::Unknown) { too_slow() } else { failure });
        }
        sleep(wait).await;
    }
}

fn too_slow() -> ClientError {
    ClientError::Timeout { what: "a call to the broker", after: CALL_DEADLINE }
}

async fn ask_once(link: &Link, ask: Ask, deadline: Instant) -> Result<Answer, ClientError> {
    let (mut send, mut receive) = link.open(deadline).await?;
    frames::write(&mut send, ask, Bytes::new()).await?;
    // The answer tells whether the request arrived; the end of the stream needs no care.
    let _ = send.finish();
    match frames::read(&mut receive).await? {
        Some((Answer::Fault(fault), _)) => Err(Fault::from(fault).into()),
        Some((answer, _)) => Ok(answer),
        None => Err(StreamError::Lost("no answer".to_owned()).into()),
    }
}
