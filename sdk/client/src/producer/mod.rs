//! Publishing to one topic: events in, a verdict for each of them out.
//!
//! ```text
//! send(event) ─▶ route ─▶ queue of the partition ─▶ lane: window ─▶ publish stream ═▶ broker
//!     └────────── Delivery ◀── one answer per batch, shared ◀──────────┘
//! ```
//! Promises: events of one partition are judged in the order of their `send`s, through every
//! reconnect; memory is bounded by [`ProducerOptions`]; every delivery resolves within the delivery
//! timeout. Not here on purpose: transactions; sending rejected events again (the verdict is final).

mod lane;
mod window;
mod queue;
mod delivery;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{PartitionId, RESERVED_HEADER_PREFIX, TopicName};
use weir_wire::partitioner::partition_for_key;
use weir_wire::proto;
use weir_wire::record_batch::{BatchBuilder, Compression, Event};

use crate::call::Identity;
use crate::consumer::Consumed;
use crate::error::ClientError;
use crate::link::{BatchSizes, Link};

pub use delivery::{Delivery, Outcome};
use lane::Lane;
use queue::{Filling, Queue};
use window::Window;

/// Bytes that a batch's head and the framing of incompressible records can add to its events.
const BATCH_OVERHEAD_BYTES: usize = 64 << 10;
/// Batches in flight per partition at most: more only fill the broker's mailbox.
const WINDOW_MAX: usize = 64;
/// Events without a key go to one partition until about this many, then to the next: fewer, fuller
/// batches than with one at a time.
const STICKY_EVENTS: u32 = 512;

/// What becomes of a batch in which an event is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The others are judged on their own.
    #[default]
    PerEvent,
    /// None of it is stored; the innocent ones are `aborted`.
    AllOrNothing,
}

/// Which partition an event goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// By its key, as Kafka does; events without a key take turns.
    #[default]
    ByKey,
    /// All to this one.
    To(PartitionId),
}

/// How a producer works.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Bytes of a batch's events, uncompressed. A larger event travels alone. 256 KiB: large
    /// enough that per-batch costs vanish, small enough that 64 partitions fit in memory.
    pub batch_bytes: usize,
    /// Events of a batch; the broker's limit if that is lower.
    pub batch_events: usize,
    /// How long an event waits for company while the partition is quiet. 5 ms: a fraction of what
    /// the disk takes.
    pub linger: Duration,
    /// Batches without an answer per partition, 1 to 64. 5: one on each leg of the way.
    pub window: usize,
    /// How batches are compressed.
    pub compression: Compression,
    /// What becomes of a batch in which an event is refused.
    pub mode: Mode,
    /// Which partition an event goes to.
    pub route: Route,
    /// From `send` to the answer, all retries included. 120 s: a broker's restart with recovery.
    pub delivery_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            batch_bytes: 256 << 10,
            batch_events: 10_000,
            linger: Duration::from_millis(5),
            window: 5,
            compression: Compression::None,
            mode: Mode::PerEvent,
            route: Route::ByKey,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

/// Publishes to one topic. Share it by reference or in an `Arc`; dropping it without
/// [`close`](Self::close) abandons what has no answer yet, and those deliveries say "unknown".
#[derive(Debug)]
pub struct Producer {
    link: Arc<Link>,
    topic: TopicName,
    options: ProducerOptions,
    sizes: BatchSizes,
    identity: Identity,
    /// One place per partition; a lane starts with the partition's first event.
    queues: Vec<OnceLock<Arc<Queue>>>,
    lanes: Mutex<JoinSet<()>>,
    keyless: AtomicU32,
}

impl Producer {
    pub(crate) fn open(
        link: Arc<Link>,
        topic: TopicName,
        partitions: u32,
        sizes: BatchSizes,
        identity: Identity,
        options: ProducerOptions,
    ) -> Result<Self, ClientError> {
        let wrong = |what: &str| Err(ClientError::Config(format!("producer options: {what}")));
        if options.batch_bytes == 0 || options.batch_events == 0 {
            return wrong("batch_bytes and batch_events have to be at least 1");
        }
        if !(1..=WINDOW_MAX).contains(&options.window) {
            return wrong("window has to be 1 to 64");
        }
        if let Route::To(partition) = options.route
            && partitions <= partition.0
        {
            return Err(unknown_partition(&topic, partitions, partition));
        }
        let queues = (0..partitions).map(|_| OnceLock::new()).collect();
        let (lanes, keyless) = (Mutex::new(JoinSet::new()), AtomicU32::new(0));
        Ok(Self { link, topic, options, sizes, identity, queues, lanes, keyless })
    }

    /// Adds an event to its partition's batch. Waits while that partition has no room; the
    /// delivery then tells what became of it.
    ///
    /// # Errors
    /// `too-large` and `invalid-batch` as [`ClientError::Fault`] for an event that no broker
    /// takes: it was not sent. [`ClientError::Closed`] after [`close`](Self::close).
    pub async fn send(&self, event: Event) -> Result<Delivery, ClientError> {
        let bytes = self.check(&event)?;
        let queue = self.queue(self.partition(&event));
        queue.send(event, bytes).await
    }

    /// The same into this partition, whatever the key and the options say.
    ///
    /// # Errors
    /// As [`send`](Self::send), and `unknown-partition`.
    pub async fn send_to(
        &self,
        partition: PartitionId,
        event: Event,
    ) -> Result<Delivery, ClientError> {
        let partitions = self.queues.len() as u32;
        if partitions <= partition.0 {
            return Err(unknown_partition(&self.topic, partitions, partition));
        }
        let bytes = self.check(&event)?;
        self.queue(partition).send(event, bytes).await
    }

    /// Publishes `events` as one batch, in one commit with how far the group has come in what they
    /// were made from: [`Consumer::consumed`](crate::Consumer::consumed). Both stand or neither; if the
    /// answer is lost, the same is sent again and finds what became of it.
    ///
    /// Where all of it is refused by rules, the offset is committed all the same: the input was
    /// processed. Of a refused [`Mode::AllOrNothing`] batch nothing stands, and
    /// [`is_consumed`](Outcome::is_consumed) says so.
    ///
    /// # Errors
    /// As [`send`](Self::send), and of a delivery. The fault `member-fenced` where the partition that was
    /// read is another member's by now, or the group is not where the batch begins: nothing was stored;
    /// join again, and read on from the committed offset. After [`ClientError::Unknown`] do so, too: it
    /// says then what became of it. [`ClientError::Config`] without events: commit the offset by itself.
    pub async fn publish_consumed(
        &self,
        partition: PartitionId,
        events: Vec<Event>,
        consumed: &Consumed,
    ) -> Result<Vec<Outcome>, ClientError> {
        let partitions = self.queues.len() as u32;
        if partitions <= partition.0 {
            return Err(unknown_partition(&self.topic, partitions, partition));
        }
        if events.is_empty() {
            let sentence = "a publish carries an offset beside events; commit the offset by itself";
            return Err(ClientError::Config(sentence.to_owned()));
        }
        let mut bytes = 0;
        for event in &events {
            bytes += self.check(event)?;
        }
        let (bytes_max, events_max) = self.batch_max();
        if bytes_max < bytes || events_max < events.len() {
            let sentence = format!(
                "{} events of {bytes} bytes are no one batch, which has {events_max} and {bytes_max} \
                 at most; publish what was made of fewer events at a time",
                events.len()
            );
            return Err(Fault::new(Code::TooLarge, sentence).into());
        }
        let deliveries = self.queue(partition).send_whole(events, bytes, consumed.into()).await?;
        let mut outcomes = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            outcomes.push(delivery.await?);
        }
        Ok(outcomes)
    }

    /// Bytes and number of the events that are one batch at most.
    pub(crate) fn batch_max(&self) -> (usize, usize) {
        let bytes_max = (self.sizes.batch_bytes_max as usize).saturating_sub(BATCH_OVERHEAD_BYTES);
        (bytes_max, self.sizes.batch_events_max as usize)
    }

    /// How many partitions there are.
    pub(crate) fn partitions(&self) -> u32 {
        self.queues.len() as u32
    }

    /// Sends what waits for company, and waits until everything sent before has its answer. It may be
    /// dropped, as by a deadline of the caller's: the events go their way all the same.
    pub async fn flush(&self) {
        let last: Vec<_> = self.open_queues().filter_map(|queue| queue.flush()).collect();
        for delivery in last {
            // Whoever sent the event hears of it through a delivery of their own.
            let _ = delivery.await;
        }
    }

    /// Takes no more events, and waits until every event has its answer, which takes the delivery
    /// timeout at most. Dropping this future is like dropping the producer.
    pub async fn close(self) {
        self.close_lanes().join_all().await;
    }

    /// Takes no more events, and waits so long for the answers. Then every event without one is told
    /// so: [`ClientError::Unknown`] if it may have reached the broker, [`ClientError::Closed`] if it
    /// has not left. When this returns, every delivery has resolved.
    ///
    /// # Errors
    /// [`ClientError::Timeout`] where the time was not enough.
    pub async fn close_within(self, limit: Duration) -> Result<(), ClientError> {
        let mut lanes = self.close_lanes();
        let answered = async { while lanes.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, answered).await.is_ok() {
            return Ok(());
        }
        // Those on their way resolve with their lane, which knows what was sent.
        lanes.shutdown().await;
        self.open_queues().for_each(|queue| queue.fail(&ClientError::Closed));
        Err(ClientError::Timeout { what: "closing the producer", after: limit })
    }

    fn close_lanes(&self) -> JoinSet<()> {
        self.open_queues().for_each(|queue| queue.close());
        std::mem::take(&mut *self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The partition that this producer's next event like `event` goes to.
    fn partition(&self, event: &Event) -> PartitionId {
        let partitions = self.queues.len() as u32;
        match (self.options.route, &event.key) {
            (Route::To(partition), _) => partition,
            (Route::ByKey, Some(key)) => partition_for_key(key, partitions),
            (Route::ByKey, None) => {
                let turn = self.keyless.fetch_add(1, Ordering::Relaxed) / STICKY_EVENTS;
                PartitionId(turn % partitions)
            }
        }
    }

    /// Bytes of the event; an error for one that would spoil its whole batch.
    fn check(&self, event: &Event) -> Result<usize, ClientError> {
        let bytes = event.as_record().payload_bytes();
        let bytes_max = self.sizes.event_bytes_max;
        if (bytes_max as usize) < bytes {
            let sentence = format!(
                "an event of {bytes} bytes is over the limit of {bytes_max}; make it smaller"
            );
            return Err(Fault::new(Code::TooLarge, sentence).into());
        }
        if let Some(header) =
            event.headers.iter().find(|header| header.name.starts_with(RESERVED_HEADER_PREFIX))
        {
            let sentence = format!(
                "header {:?} begins with {RESERVED_HEADER_PREFIX:?}, which only the broker writes; rename it",
                header.name
            );
            return Err(Fault::new(Code::InvalidBatch, sentence).into());
        }
        Ok(bytes)
    }

    fn open_queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.queues.iter().filter_map(OnceLock::get)
    }

    fn queue(&self, partition: PartitionId) -> &Queue {
        self.queues[partition.0 as usize].get_or_init(|| self.start_lane(partition))
    }

    fn start_lane(&self, partition: PartitionId) -> Arc<Queue> {
        let options = &self.options;
        let (bytes_max, _) = self.batch_max();
        let queue = Arc::new(Queue::new(Filling {
            batch_bytes: options.batch_bytes.min(bytes_max),
            batch_events: options.batch_events.min(self.sizes.batch_events_max as usize),
            linger: options.linger,
            delivery_timeout: options.delivery_timeout,
        }));
        let lane = Lane {
            link: self.link.clone(),
            topic: self.topic.clone(),
            partition,
            mode: match options.mode {
                Mode::PerEvent => proto::PublishMode::PerEvent,
                Mode::AllOrNothing => proto::PublishMode::AllOrNothing,
            },
            compression: options.compression,
            window_max: options.window,
            queue: queue.clone(),
            // Sequences are per partition, so all lanes begin under the producer's one id.
            identity: Some(self.identity),
            window: Window::default(),
            builder: BatchBuilder::default(),
        };
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).spawn(lane.run());
        queue
    }
}

fn unknown_partition(topic: &TopicName, partitions: u32, partition: PartitionId) -> ClientError {
    let sentence = format!("{topic} has partitions 0 to {}, not {partition}", partitions - 1);
    Fault::new(Code::UnknownPartition, sentence).into()
}
