//! Which partition a name means. Read for every batch, changed when topics come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use weir_partition::Partition;
use weir_wire::admin::Durability;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{PartitionId, TopicId, TopicName};

/// A topic that is served.
pub struct Topic {
    /// Its number.
    pub id: TopicId,
    /// Its name.
    pub name: TopicName,
    /// When its answers leave.
    pub durability: Durability,
    /// Its partitions, in order; one that could not be opened is why.
    pub partitions: Vec<Result<Partition, Fault>>,
    /// Held by whoever changes its chain, or deletes it.
    pub changing: Arc<tokio::sync::Mutex<()>>,
}

impl Topic {
    /// One of its partitions.
    pub fn partition(&self, partition: PartitionId) -> Result<&Partition, Fault> {
        match self.partitions.get(partition.0 as usize) {
            Some(Ok(open)) => Ok(open),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err(Fault::new(
                Code::UnknownPartition,
                format!(
                    "topic {} has the partitions 0 to {}, not {partition}",
                    self.name,
                    self.partitions.len().saturating_sub(1)
                ),
            )),
        }
    }

    /// Its number of partitions.
    pub fn width(&self) -> u32 {
        self.partitions.len() as u32
    }
}

/// All topics that are served.
#[derive(Default)]
pub struct Router {
    topics: RwLock<BTreeMap<TopicName, Arc<Topic>>>,
}

impl Router {
    /// The topic of this name.
    pub fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, Fault> {
        self.read().get(name).cloned().ok_or_else(|| {
            Fault::new(
                Code::UnknownTopic,
                format!("there is no topic {name}; `weir topic create {name}` makes one"),
            )
        })
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<Arc<Topic>> {
        self.read().values().cloned().collect()
    }

    /// Serves a topic from now on.
    pub fn insert(&self, topic: Arc<Topic>) {
        self.topics
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .insert(topic.name.clone(), topic);
    }

    /// Serves it no longer.
    pub fn remove(&self, name: &TopicName) -> Option<Arc<Topic>> {
        self.topics.write().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name)
    }

    // A map of Arcs is whole whatever a panicking holder of the lock did.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<TopicName, Arc<Topic>>> {
        self.topics.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
