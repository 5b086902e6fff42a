//! Opens topics and closes them: logs, partitions and relays, as many as the catalog says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_log::PartitionLog;
use weir_log::commit::Identity;
use weir_log::segment::{Machine, Options, SegmentLog};
use weir_partition::{Chain, Partition, PartitionOptions};
use weir_views::catalog;
use weir_views::store::Store;
use weir_wire::admin;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{PartitionId, Position, TopicId, TopicName};

use crate::desk::Desk;
use crate::internal_topic::not_opened;
use crate::plugin_logs::PluginLogs;
use crate::relay::Relay;
use crate::router::{Router, Topic};
use crate::shelf::{Plugins, link_anyway};
use crate::wall_clock::Clock;

/// Partitions opened, changed and closed side by side: their fsyncs wait for the same disk.
pub const SIDE_BY_SIDE_MAX: usize = 16;
/// The end of a folder's name whose topic was deleted: what is in it may go.
const DELETED_SUFFIX: &str = ".deleted";

/// What topics are made of.
pub struct Topics {
    /// What the logs stand on.
    pub machine: Machine,
    /// The time.
    pub clock: Clock,
    /// The folder of all logs.
    pub log_dir: PathBuf,
    /// The checkpoints.
    pub store: Store,
    /// The plugins.
    pub shelf: Arc<dyn Plugins>,
    /// What they say.
    pub logs: Arc<PluginLogs>,
    /// Where opened topics are found.
    pub router: Arc<Router>,
    /// Where side events go.
    pub desk: Arc<Desk>,
    /// The threads that judge.
    pub judges: tokio::runtime::Handle,
    /// Turns true when the broker goes down.
    pub stop: watch::Receiver<bool>,
    /// Partitions' workers and relays, to be waited for at the end.
    pub tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Topics {
    /// Opens a topic and serves it; its relays are still to be started. A partition that cannot be opened says why to whoever asks for
    /// it; the others serve.
    pub async fn open(&self, record: &catalog::Topic, chain: &admin::Chain) -> Arc<Topic> {
        let partitions = futures::stream::iter((0..record.partitions).map(PartitionId))
            .map(|partition| self.open_partition(record, chain, partition))
            .buffered(SIDE_BY_SIDE_MAX)
            .collect()
            .await;
        let topic = Arc::new(Topic {
            id: record.id,
            name: record.name.clone(),
            durability: record.durability,
            partitions,
            changing: Arc::default(),
        });
        self.router.insert(Arc::clone(&topic));
        topic
    }

    /// Starts the relays of an opened topic. At a start of the broker this comes after all topics
    /// are open, so that no side event finds its topic missing.
    pub fn start_relays(&self, topic: &Topic) {
        for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
            if let Ok(partition) = partition {
                let relay = Relay {
                    source: (topic.name.clone(), topic.id, number),
                    partition: partition.clone(),
                    desk: Arc::clone(&self.desk),
                    router: Arc::clone(&self.router),
                };
                self.keep(tokio::spawn(relay.run(self.stop.clone())));
            }
        }
    }

    async fn open_partition(
        &self,
        record: &catalog::Topic,
        chain: &admin::Chain,
        partition: PartitionId,
    ) -> Result<Partition, Fault> {
        let opened = self.try_open_partition(record, chain, partition).await;
        if let Err(fault) = &opened {
            tracing::error!(topic = %record.name, %partition, %fault, "partition not opened; the others serve");
        }
        opened
    }

    async fn try_open_partition(
        &self,
        record: &catalog::Topic,
        chain: &admin::Chain,
        partition: PartitionId,
    ) -> Result<Partition, Fault> {
        let log = self.open_log(record, partition, false).await?;
        // The files of a copy may be of different moments: its checkpoints prove nothing.
        let durability = if log.is_copied() { admin::Durability::Os } else { record.durability };
        let (chain, chain_note) = self.chain(chain, &record.name, partition).await?;
        let options = PartitionOptions {
            topic: record.name.clone(),
            partition,
            log: Arc::new(log),
            durability,
            fold: self.store.partition(record.id, partition),
            chain,
            chain_note,
            clock: Arc::clone(&self.clock),
            blocking: self.machine.blocking.clone(),
        };
        let (partition, worker) = Partition::open(options, &self.judges)
            .await
            .map_err(|error| Fault::new(Code::Corrupt, error.to_string()))?;
        self.keep(worker);
        Ok(partition)
    }

    /// Makes the logs of a topic that is about to be recorded: whatever the catalog knows has its
    /// logs, so that a missing one is damage and not a beginning.
    pub async fn make_logs(&self, record: &catalog::Topic) -> Result<(), Fault> {
        let made = futures::stream::iter((0..record.partitions).map(PartitionId))
            .map(|partition| self.make_log(record, partition))
            .buffer_unordered(SIDE_BY_SIDE_MAX);
        made.collect::<Vec<_>>().await.into_iter().collect()
    }

    async fn make_log(&self, record: &catalog::Topic, partition: PartitionId) -> Result<(), Fault> {
        let log = self.open_log(record, partition, true).await?;
        let has_events = log.tail().borrow().position > Position(1);
        let closed = log.close().await;
        if has_events {
            return Err(Fault::new(
                Code::Corrupt,
                format!(
                    "{}/{partition}: there is a log of that name and number already, and the \
                     catalog does not know of it; move its folder away",
                    record.name
                ),
            ));
        }
        closed.map_err(|error| Fault::new(Code::StorageBroken, error.to_string()))
    }

    async fn open_log(
        &self,
        record: &catalog::Topic,
        partition: PartitionId,
        may_create: bool,
    ) -> Result<SegmentLog, Fault> {
        let dir = self.topic_dir(&record.name, record.id).join(partition.to_string());
        let identity = Identity { topic: record.id, partition };
        let durability = match record.durability {
            admin::Durability::Durable => weir_log::segment::Durability::Durable,
            admin::Durability::Os => weir_log::segment::Durability::Os,
        };
        let segment_bytes = weir_partition::segment_bytes(&record.retention());
        let options = Options { durability, may_create, segment_bytes, ..Options::default() };
        let machine = self.machine.clone();
        let open = move || SegmentLog::open(&machine, &dir, identity, options);
        self.machine
            .blocking
            .run(open)
            .await
            .map_err(|error| Fault::new(Code::Internal, error.to_string()))?
            .map_err(not_opened)
    }

    /// A chain of fresh stages for one partition, and its JSON. What is paused has no stage.
    pub async fn chain(
        &self,
        chain: &admin::Chain,
        topic: &TopicName,
        partition: PartitionId,
    ) -> Result<(Chain, Bytes), Fault> {
        let note = serde_json::to_vec(chain)
            .map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
        let (shelf, logs) = (Arc::clone(&self.shelf), Arc::clone(&self.logs));
        let (revision, bindings) = (chain.revision, chain.bindings.clone());
        let topic = topic.clone();
        let made = move || {
            let at_work = bindings.iter().filter(|binding| !binding.paused);
            let link = |binding| {
                link_anyway(&*shelf, binding, logs.listener(binding, &topic, Some(partition)))
            };
            at_work.map(link).collect()
        };
        let links = self
            .machine
            .blocking
            .run(made)
            .await
            .map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
        Ok((Chain { revision, links }, note.into()))
    }

    /// Stops serving a topic and frees its space. The catalog no longer has it.
    pub async fn delete(&self, name: &TopicName, id: TopicId) -> Result<(), Fault> {
        if let Some(topic) = self.router.remove(name) {
            close_all(&topic).await;
        }
        let dir = self.topic_dir(name, id);
        let (store, disk) = (self.store.clone(), Arc::clone(&self.machine.disk));
        let remove = move || {
            if let Err(error) = store.forget(id) {
                tracing::warn!(%error, "the checkpoints of a deleted topic stay behind; they do no harm");
            }
            // Renamed first: a half-deleted folder must not look like a log.
            let doomed = dir.with_file_name(format!(
                "{}{DELETED_SUFFIX}",
                dir.file_name().unwrap_or_default().to_string_lossy()
            ));
            disk.rename(&dir, &doomed).and_then(|()| disk.remove_folder(&doomed))
        };
        self.machine
            .blocking
            .run(remove)
            .await
            .map_err(|error| Fault::new(Code::Internal, error.to_string()))?
            .map_err(|error| {
                Fault::new(
                    Code::Internal,
                    format!(
                        "topic {name} is deleted, but its folder could not be removed: {error}"
                    ),
                )
            })
    }

    /// Removes what a deletion left when the broker went down in the middle of it.
    pub fn finish_deletions(&self) -> std::io::Result<()> {
        let disk = &self.machine.disk;
        for entry in disk.list(&self.log_dir)? {
            if entry.name.to_string_lossy().ends_with(DELETED_SUFFIX) {
                disk.remove_folder(&self.log_dir.join(entry.name))?;
            }
        }
        Ok(())
    }

    fn topic_dir(&self, name: &TopicName, id: TopicId) -> PathBuf {
        self.log_dir.join(format!("{name}-{id}"))
    }

    fn keep(&self, task: JoinHandle<()>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Closes every partition: answers out, checkpoints saved, logs closed.
    pub async fn close(&self) {
        for topic in self.router.topics() {
            close_all(&topic).await;
        }
        let tasks = std::mem::take(
            &mut *self.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        for task in tasks {
            let _ = task.await;
        }
    }
}

async fn close_all(topic: &Topic) {
    let partitions = futures::stream::iter(topic.partitions.iter().flatten());
    partitions.for_each_concurrent(SIDE_BY_SIDE_MAX, Partition::close).await;
}
