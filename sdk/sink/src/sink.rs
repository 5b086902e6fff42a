//! What a sink takes and counts, and why it ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use weir_client::ClientError;
use weir_wire::ids::{GroupName, TopicName};

use crate::deliver::Deliver;
use crate::unconfirmed::Unconfirmed;

/// What a sink takes, and what becomes of what it cannot deliver.
#[derive(Debug, Clone)]
pub struct SinkOptions {
    /// Where the events are.
    pub topic: TopicName,
    /// Whose committed offsets tell which of them are done.
    pub group: GroupName,
    /// How many events are delivered at once: one per partition at most.
    pub at_once: usize,
    /// For how long one event is tried while the other side answers "not now".
    pub patience: Duration,
    /// What becomes of an event that cannot be delivered.
    pub undeliverable: Undeliverable,
    /// End where the topic ended at the start, instead of following it.
    pub until_end: bool,
}

/// What becomes of an event that cannot be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undeliverable {
    /// It is kept in this topic, with why.
    To(TopicName),
    /// It is counted, logged and passed over.
    Discard,
}

/// What a sink did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Events that the other side took.
    pub delivered: u64,
    /// Attempts that were not the first.
    pub retries: u64,
    /// Events that could not be delivered, and are in the dead-letter topic.
    pub dead_lettered: u64,
    /// Events that could not be delivered, and were to be passed over.
    pub discarded: u64,
    /// Events that could not be delivered, and that the dead-letter topic refused.
    pub lost: u64,
    /// Events that are done, which the broker does not know: they will be delivered once more.
    pub uncommitted: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { delivered, retries, dead_lettered, discarded, lost, uncommitted } = self;
        write!(f, "{delivered} delivered ({retries} retries), {dead_lettered} dead letters, ")?;
        write!(f, "{discarded} discarded, {lost} lost, {uncommitted} not committed")
    }
}

/// Why a sink cannot begin or go on. What it did not deliver is still in the topic.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// An option is wrong; fix it.
    #[error("{0}")]
    Options(String),
    /// The broker's side.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The other side takes nothing until an operator acts.
    #[error("{0}")]
    Stopped(String),
    /// A defect; please report it.
    #[error("a worker broke off: {0}")]
    Broken(String),
}

/// The way out for the events of one topic. See [`run`](Self::run).
#[derive(Debug)]
pub struct Sink<D> {
    pub(crate) deliver: D,
    pub(crate) options: SinkOptions,
    pub(crate) counts: Counts,
    pub(crate) unconfirmed: Unconfirmed,
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) delivered: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) discarded: AtomicU64,
    pub(crate) lost: AtomicU64,
}

impl<D: Deliver> Sink<D> {
    /// A sink that does nothing yet.
    pub fn new(deliver: D, options: SinkOptions) -> Arc<Self> {
        let (counts, unconfirmed) = (Counts::default(), Unconfirmed::default());
        Arc::new(Self { deliver, options, counts, unconfirmed })
    }

    /// What was done so far.
    pub fn report(&self) -> Report {
        let Counts { delivered, retries, dead_lettered, discarded, lost } = &self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            delivered: read(delivered),
            retries: read(retries),
            dead_lettered: read(dead_lettered),
            discarded: read(discarded),
            lost: read(lost),
            uncommitted: self.unconfirmed.count() as u64,
        }
    }
}
