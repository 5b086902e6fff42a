//! Topics and partitions as operators see them.

use weir_partition::Partition;
use weir_views::catalog::Catalog;
use weir_wire::admin::{PartitionDescription, TopicDescription};
use weir_wire::ids::PartitionId;

use crate::router::Topic;

/// A topic as the catalog and its partitions have it; `None` if it was just deleted.
pub(super) fn describe(catalog: &Catalog, topic: &Topic) -> Option<TopicDescription> {
    let record = catalog.topic(&topic.name)?;
    let partitions = (0..)
        .map(PartitionId)
        .zip(&topic.partitions)
        .map(|(number, partition)| match partition {
            Ok(partition) => describe_partition(number, partition),
            Err(fault) => PartitionDescription {
                partition: number,
                stopped: Some(fault.to_string()),
                ..PartitionDescription::default()
            },
        })
        .collect();
    Some(TopicDescription {
        name: record.name.clone(),
        id: record.id,
        durability: record.durability,
        retention_ms: record.retention_ms,
        retention_bytes: record.retention_bytes,
        cleanup: record.cleanup,
        segment_bytes: record.segment_bytes,
        partitions,
    })
}

fn describe_partition(number: PartitionId, partition: &Partition) -> PartitionDescription {
    let snapshot = partition.snapshot().borrow().clone();
    let log = partition.log();
    // On a line of its own: the log must not be asked anything while its tail is borrowed.
    let high_watermark = log.tail().borrow().offset;
    PartitionDescription {
        partition: number,
        earliest: log.earliest().1,
        high_watermark,
        stored_bytes: log.stored_bytes(),
        partition_time: snapshot.time,
        chain_revision: snapshot.chain,
        stopped: snapshot.stopped.map(|fault| fault.to_string()),
        judged: snapshot.counts,
        outbox_pending: snapshot.outbox_pending,
        side_events_lost: snapshot.losses.lost,
        side_events_refused: snapshot.losses.refused,
    }
}
