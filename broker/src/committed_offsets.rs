//! Committed offsets: how far each consumer group has come, kept in the internal topic
//! `__committed_offsets`.

use std::path::Path;

use tokio::sync::Mutex;
use weir_log::segment::Machine;
use weir_views::offsets::{
    Committed, CommittedOffsets, OFFSETS_TOPIC, OFFSETS_TOPIC_ID, OffsetChange,
};
use weir_wire::fault::Fault;
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicId};

use crate::internal_topic::InternalTopic;
use crate::wall_clock::Clock;

/// The offsets and their log.
pub struct GroupOffsets {
    inner: Mutex<Inner>,
    clock: Clock,
}

struct Inner {
    offsets: CommittedOffsets,
    topic: InternalTopic<OffsetChange>,
}

impl GroupOffsets {
    /// Folds the offsets from their log under `log_dir`, which may be missing if `may_create`.
    pub async fn open(
        machine: &Machine,
        log_dir: &Path,
        may_create: bool,
        clock: Clock,
    ) -> Result<Self, Fault> {
        let mut offsets = CommittedOffsets::default();
        let dir = log_dir.join(OFFSETS_TOPIC).join("0");
        let topic = InternalTopic::open(machine, &dir, OFFSETS_TOPIC_ID, may_create, |change| {
            offsets.apply(&change)
        })
        .await?;
        Ok(Self { inner: Mutex::new(Inner { offsets, topic }), clock })
    }

    /// Makes a group's progress in a topic durable.
    pub async fn commit(
        &self,
        group: GroupName,
        topic: TopicId,
        offsets: Vec<(PartitionId, Offset)>,
    ) -> Result<(), Fault> {
        let changes: Vec<_> = offsets
            .into_iter()
            .map(|(partition, offset)| {
                OffsetChange::Committed(Committed {
                    group: group.clone(),
                    topic,
                    partition,
                    offset,
                })
            })
            .collect();
        self.record(changes).await
    }

    /// A group's committed offsets in a topic of `partitions` partitions; those it has none in are
    /// left out.
    pub async fn of(
        &self,
        group: &GroupName,
        topic: TopicId,
        partitions: u32,
    ) -> Vec<(PartitionId, Offset)> {
        let inner = self.inner.lock().await;
        (0..partitions)
            .map(PartitionId)
            .filter_map(|at| Some((at, inner.offsets.offset(group, topic, at)?)))
            .collect()
    }

    /// Forgets a topic that was deleted.
    pub async fn forget(&self, topic: TopicId) -> Result<(), Fault> {
        self.record(vec![OffsetChange::TopicDeleted { topic }]).await
    }

    async fn record(&self, changes: Vec<OffsetChange>) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut inner = self.inner.lock().await;
        inner.topic.append((self.clock)(), &changes).await?;
        for change in &changes {
            inner.offsets.apply(change);
        }
        Ok(())
    }

    /// Lets go of the log.
    pub async fn close(&self) {
        self.inner.lock().await.topic.close().await;
    }
}
