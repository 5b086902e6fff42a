//! A sink at work: as many members of the group as it delivers at once, each of which has one event
//! in hand, and the count of what was done.
//!
//! Members, and not one reader with many hands: what one member holds it delivers in order and
//! commits before it takes more, and the broker shares the partitions out, within a process and
//! between several, by the same rule.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;
use weir_client::{Client, ClientError, ConsumerOptions, From, Producer, ProducerOptions};
use weir_wire::ids::{GroupName, TopicName};

use crate::deliver::Deliver;
use crate::unconfirmed::Unconfirmed;
use crate::worker::Worker;

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

    /// Delivers what the group has not yet had, old events first, and then what comes, until
    /// `until` resolves: then every attempt under way is brought to its end and committed.
    ///
    /// # Errors
    /// [`SinkError::Client`] when a topic does not exist or the broker stays away too long;
    /// [`SinkError::Stopped`] when the other side takes nothing until someone acts.
    pub async fn run(
        self: &Arc<Self>,
        client: &Client,
        until: impl Future<Output = ()>,
    ) -> Result<(), SinkError> {
        let letters = self.letters(client).await?;
        let partitions = client.topic(&self.options.topic).await?.partitions as usize;
        let mut consumers = Vec::new();
        // All of them before the first takes an event, so that no partition moves with one in hand.
        for _ in 0..self.options.at_once.clamp(1, partitions.max(1)) {
            let options = ConsumerOptions {
                from: From::Committed,
                group: Some(self.options.group.clone()),
                until_end: self.options.until_end,
                ..ConsumerOptions::default()
            };
            consumers.push(client.consumer(&self.options.topic, options).await?);
        }
        info!(topic = %self.options.topic, group = %self.options.group, at_once = consumers.len(),
            "sink at work");
        let stop = watch::Sender::new(false);
        let mut workers = JoinSet::new();
        for consumer in consumers {
            let (sink, letters, stop) = (Arc::clone(self), letters.clone(), stop.subscribe());
            workers.spawn(Worker { sink, consumer, letters, stop }.run());
        }
        let mut until = pin!(until);
        let mut result = Ok(());
        loop {
            let ended = tokio::select! {
                () = &mut until, if !*stop.borrow() => {
                    stop.send_replace(true);
                    continue;
                }
                ended = workers.join_next() => ended,
            };
            let failure = match ended {
                None => break,
                Some(Ok(Ok(()))) => continue,
                Some(Ok(Err(error))) => error,
                Some(Err(error)) => SinkError::Broken(error.to_string()),
            };
            // The others finish what they have in hand. The first error tells why.
            stop.send_replace(true);
            result = result.and(Err(failure));
        }
        result
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

    /// Publishes dead letters, if there are to be any.
    async fn letters(&self, client: &Client) -> Result<Option<Arc<Producer>>, SinkError> {
        let topic = match &self.options.undeliverable {
            Undeliverable::Discard => return Ok(None),
            Undeliverable::To(topic) if *topic == self.options.topic => {
                return Err(SinkError::Options(format!(
                    "{topic} cannot keep its own dead letters: they would come back for ever; name \
                     another topic"
                )));
            }
            Undeliverable::To(topic) => topic,
        };
        let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
        Ok(Some(Arc::new(client.producer(topic, options).await?)))
    }
}
