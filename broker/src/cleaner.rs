//! Keeps topics as small as their settings ask, one partition after the other.
//!
//! Promises: nothing on the road of a batch waits for it; what fails is said, left as it was, and tried
//! again with the next round. Not here: what goes and what stays, which the partition decides.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, watch};
use weir_partition::{Partition, When};
use weir_wire::admin::PartitionCleaned;
use weir_wire::ids::PartitionId;
use weir_wire::retention::Retention;

use crate::registry::Registry;
use crate::router::{Router, Topic};

/// Between two looks at every partition: Kafka's `log.cleaner.backoff.ms`.
const LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// And at least, where a topic keeps its events for seconds only.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// A short retention is looked at so many times in its time.
const LOOKS: u64 = 8;

/// The one who cleans.
pub struct Cleaner {
    registry: Arc<Registry>,
    router: Arc<Router>,
    /// One partition at a time: what is folded takes as much memory as its view.
    turn: Mutex<()>,
    /// Settings have changed: the next round may be due sooner.
    changed: Notify,
}

impl Cleaner {
    /// For the topics of `registry` that `router` serves.
    pub fn new(registry: Arc<Registry>, router: Arc<Router>) -> Self {
        Self { registry, router, turn: Mutex::new(()), changed: Notify::new() }
    }

    /// Looks after all topics until the broker goes down.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(self.interval()) => {}
                () = self.changed.notified() => continue,
            }
            for topic in self.router.topics() {
                let Some(retention) = self.retention(&topic) else { continue };
                if retention.keeps_everything() {
                    continue;
                }
                for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
                    if *stop.borrow() {
                        return;
                    }
                    // One that stands still says so elsewhere.
                    let stands =
                        |partition: &Partition| partition.snapshot().borrow().stopped.is_some();
                    if let Ok(partition) = partition
                        && !stands(partition)
                    {
                        self.clean_partition(&topic, number, partition, &retention, When::Due)
                            .await;
                    }
                }
            }
        }
    }

    /// A topic keeps less than before, or for a shorter time.
    pub fn settings_changed(&self) {
        self.changed.notify_one();
    }

    /// Cleans a topic now, as its settings ask.
    pub async fn clean(&self, topic: &Topic) -> Vec<PartitionCleaned> {
        let retention = self.retention(topic).unwrap_or_default();
        let mut cleaned = Vec::new();
        for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
            cleaned.push(match partition {
                Ok(partition) => {
                    self.clean_partition(topic, number, partition, &retention, When::Now).await
                }
                Err(fault) => PartitionCleaned {
                    partition: number,
                    bytes_before: 0,
                    bytes_after: 0,
                    earliest: Default::default(),
                    failed: Some(fault.to_string()),
                },
            });
        }
        cleaned
    }

    async fn clean_partition(
        &self,
        topic: &Topic,
        number: PartitionId,
        partition: &Partition,
        retention: &Retention,
        when: When,
    ) -> PartitionCleaned {
        let _turn = self.turn.lock().await;
        let stored = partition.log().stored_bytes();
        let result = partition.clean(retention, when).await;
        let (before, after) = match &result {
            Ok(Some(cleaned)) => (cleaned.before, cleaned.after),
            Ok(None) | Err(_) => (stored, partition.log().stored_bytes()),
        };
        let earliest = partition.log().earliest().1;
        match &result {
            Ok(None) => {}
            Ok(Some(_)) => tracing::info!(
                topic = %topic.name, partition = %number, before, after, %earliest,
                "cleaned"
            ),
            Err(error) => tracing::warn!(
                topic = %topic.name, partition = %number, %error,
                "not cleaned; it serves on, and the next round tries again"
            ),
        }
        PartitionCleaned {
            partition: number,
            bytes_before: before,
            bytes_after: after,
            earliest,
            failed: result.err().map(|error| error.to_string()),
        }
    }

    fn retention(&self, topic: &Topic) -> Option<Retention> {
        // A topic of the same name may have come since.
        Some(self.registry.catalog().topic_by_id(topic.id)?.retention())
    }

    fn interval(&self) -> Duration {
        let catalog = self.registry.catalog();
        let shortest = catalog.topics().filter_map(|topic| topic.retention_ms).min();
        let asked = shortest.map_or(LOOK_INTERVAL, |ms| Duration::from_millis(ms / LOOKS));
        asked.clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL)
    }
}
