//! Where a reading begins in each partition, and where it ends.

use std::collections::BTreeMap;

use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::proto::Edge;
use weir_wire::proto::list_offsets_request::At;

use super::options::{ConsumerOptions, From, Until};
use crate::call;
use crate::error::ClientError;
use crate::link::Link;

/// Where each partition begins. The events from there on may be gone; whoever reads finds out.
pub(super) async fn starts(
    link: &Link,
    topic: &TopicName,
    partitions: &[PartitionId],
    options: &ConsumerOptions,
) -> Result<BTreeMap<PartitionId, Offset>, ClientError> {
    let at = match options.from {
        From::Earliest | From::Committed => At::Edge(Edge::Earliest.into()),
        From::Latest => At::Edge(Edge::Latest.into()),
        From::Time(time) => At::TimestampMs(time.0),
        From::Offset(offset) => {
            return Ok(partitions.iter().map(|&partition| (partition, offset)).collect());
        }
    };
    let mut starts = offsets_at(link, topic, partitions, at).await?;
    if let (From::Committed, Some(group)) = (options.from, &options.group) {
        for (partition, next) in call::fetch_offsets(link, group, topic).await? {
            starts.entry(partition).and_modify(|start| *start = next);
        }
    }
    Ok(starts)
}

/// Where each partition ends; `None` if the options have no end.
pub(super) async fn ends(
    link: &Link,
    topic: &TopicName,
    partitions: &[PartitionId],
    options: &ConsumerOptions,
) -> Result<Option<BTreeMap<PartitionId, Offset>>, ClientError> {
    if !options.ends() {
        return Ok(None);
    }
    let latest = At::Edge(Edge::Latest.into());
    let mut ends = match options.until {
        // Where nothing is as late as that, this is the end, too.
        Some(Until::Time(time)) => {
            offsets_at(link, topic, partitions, At::TimestampMs(time.0)).await?
        }
        Some(Until::Offset(_)) | None => offsets_at(link, topic, partitions, latest).await?,
    };
    if let Some(Until::Offset(offset)) = options.until {
        ends.values_mut().for_each(|end| *end = offset.min(*end));
    }
    Ok(Some(ends))
}

/// An offset of each of `partitions`.
pub(super) async fn offsets_at(
    link: &Link,
    topic: &TopicName,
    partitions: &[PartitionId],
    at: At,
) -> Result<BTreeMap<PartitionId, Offset>, ClientError> {
    let listed: BTreeMap<_, _> =
        call::list_offsets(link, topic, partitions, at).await?.into_iter().collect();
    match partitions.iter().find(|partition| !listed.contains_key(partition)) {
        Some(partition) => {
            Err(ClientError::Protocol(format!("no offset was listed for partition {partition}")))
        }
        None => Ok(listed),
    }
}
