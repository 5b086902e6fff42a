//! Consume, transform, produce: what is made of a topic's events goes to another topic, each event
//! once, whatever dies on the way.
//!
//! ```text
//! consumer (a member of a group) ─▶ work(event) ─▶ events ─▶ one batch, with how far it has come ═▶ broker
//!     ▲                                                       fenced, or nobody knows: join again │
//!     └───────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Promises: of every event that is read, what was made of it is in the target once and in the order
//! of its partition; members come, go and die, and so does the broker.
//!
//! It ends here: what is made of one event goes to one partition. What `work` does outside of weir it
//! may do again. An event that the target's rules refuse is not there, and counts as done. Nothing here
//! depends on how long the broker remembers sequences: a member that does not know joins again and asks
//! where the group is.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;
use weir_wire::fault::Code;
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicName};
use weir_wire::record_batch::Event;

use crate::call;
use crate::client::Client;
use crate::consumer::{ConsumedBatch, ConsumedEvent, Consumer, ConsumerOptions, From};
use crate::error::ClientError;
use crate::producer::{Mode, Outcome, Producer, ProducerOptions, Route};

/// How long a member that has to join again waits before: its partitions are others' meanwhile.
const REJOIN_WAIT: Duration = Duration::from_millis(100);
/// Bytes of what is made of one batch, after which it is published: small enough that another member
/// does not wait for it, large enough that a sync is shared.
const OUTPUT_BYTES: usize = 256 << 10;

/// What a transform reads and writes.
#[derive(Debug, Clone)]
pub struct TransformOptions {
    /// What is read.
    pub from: TopicName,
    /// Whose members share the reading; where it has committed nothing, it begins at the earliest.
    pub group: GroupName,
    /// Where what was made of it goes: into the partition with the number of that which was read, so the
    /// topic needs as many at least; or all into one.
    pub to: TopicName,
    /// [`Route::ByKey`]: the partition of the same number. [`Route::To`]: this one.
    pub route: Route,
    /// As [`ConsumerOptions::session_timeout`].
    pub session_timeout: Duration,
    /// As [`ProducerOptions::delivery_timeout`].
    pub delivery_timeout: Duration,
}

impl TransformOptions {
    /// From a topic to another, as a member of a group.
    pub fn new(from: TopicName, group: GroupName, to: TopicName) -> Self {
        let consumer = ConsumerOptions::default();
        Self {
            from,
            group,
            to,
            route: Route::ByKey,
            session_timeout: consumer.session_timeout,
            delivery_timeout: ProducerOptions::default().delivery_timeout,
        }
    }
}

/// A member at work. Dropping it ends the membership; what it has not published another member does.
#[derive(Debug)]
pub struct Transform {
    client: Client,
    options: TransformOptions,
    producer: Producer,
    consumer: Consumer,
    /// What is left of the batch at hand.
    rest: Option<ConsumedBatch>,
}

/// What one step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transformed {
    /// The partition that was read.
    pub partition: PartitionId,
    /// How far the group has come there.
    pub to: Offset,
    /// What became of what was made of it.
    pub outcomes: Vec<Outcome>,
}

impl Transform {
    /// Joins the group.
    ///
    /// # Errors
    /// As [`Client::consumer`] and [`Client::producer`]; `unknown-partition` where the target has too
    /// few.
    pub async fn open(client: Client, options: TransformOptions) -> Result<Self, ClientError> {
        let producing = ProducerOptions {
            // What is made of one event stands or falls by itself: it was processed either way.
            mode: Mode::PerEvent,
            route: options.route,
            delivery_timeout: options.delivery_timeout,
            ..ProducerOptions::default()
        };
        let producer = client.producer(&options.to, producing).await?;
        let read = client.topic(&options.from).await?;
        if options.route == Route::ByKey && producer.partitions() < read.partitions {
            return Err(ClientError::Config(format!(
                "{} has {} partitions and {} only {}; what is made of one partition goes to that of the \
                 same number: make the target as wide, or choose one partition",
                options.from,
                read.partitions,
                options.to,
                producer.partitions()
            )));
        }
        let consumer = join(&client, &options).await?;
        Ok(Self { client, options, producer, consumer, rest: None })
    }

    /// Takes steps until an error that joining again cannot mend. See [`step`](Self::step).
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub async fn run(
        &mut self,
        mut work: impl FnMut(&ConsumedEvent) -> Vec<Event>,
    ) -> Result<(), ClientError> {
        loop {
            self.step(&mut work).await?;
        }
    }

    /// Reads some events, waiting for them if there are none, makes `work` of each, publishes what came
    /// of it and commits how far it has come, in one. `work` may be asked for an event again, if what
    /// it made was not stored.
    ///
    /// # Errors
    /// Of the consumer and the producer, but for those that joining again mends: that is done.
    pub async fn step(
        &mut self,
        work: &mut impl FnMut(&ConsumedEvent) -> Vec<Event>,
    ) -> Result<Transformed, ClientError> {
        loop {
            let batch = match self.rest.take() {
                Some(rest) => rest,
                None => match self.consumer.next_batch().await {
                    Some(batch) => batch?,
                    None => return Err(ClientError::Closed),
                },
            };
            match self.publish(batch, work).await {
                Ok(done) => return Ok(done),
                Err(why) if is_mended_by_joining(&why) => {
                    info!(group = %self.options.group, topic = %self.options.from, error = %why, "joining again");
                    self.rest = None;
                    sleep(REJOIN_WAIT).await;
                    let again = self.join_again().await?;
                    // The old member says goodbye, so that nobody waits for its session to end.
                    let old = std::mem::replace(&mut self.consumer, again);
                    let _ = old.close().await;
                }
                Err(why) => return Err(why),
            }
        }
    }

    /// Ends the membership, so that others have the partitions at once.
    ///
    /// # Errors
    /// Those of [`Consumer::close`].
    pub async fn close(self) -> Result<(), ClientError> {
        self.producer.close().await;
        self.consumer.close().await
    }

    /// Joins, however long a broker takes that is being restarted, up to the delivery's time.
    async fn join_again(&self) -> Result<Consumer, ClientError> {
        let deadline = Instant::now() + self.options.delivery_timeout;
        loop {
            match join(&self.client, &self.options).await {
                Err(why) if why.is_retryable() && Instant::now() < deadline => {
                    sleep(REJOIN_WAIT).await;
                }
                joined => return joined,
            }
        }
    }

    /// Works on as much of the batch as goes into one commit; the rest is kept.
    async fn publish(
        &mut self,
        batch: ConsumedBatch,
        work: &mut impl FnMut(&ConsumedEvent) -> Vec<Event>,
    ) -> Result<Transformed, ClientError> {
        let partition = batch.partition;
        let (_, events_max) = self.producer.batch_max();
        let (mut made, mut bytes, mut done) = (Vec::new(), 0, 0);
        let mut to = batch.next_offset;
        for (at, (offset, event)) in batch.events.iter().enumerate() {
            let topic = self.options.from.clone();
            let consumed =
                ConsumedEvent { topic, partition, offset: *offset, event: event.clone() };
            let output = work(&consumed);
            let output_bytes: usize =
                output.iter().map(|event| event.as_record().payload_bytes()).sum();
            let is_full =
                OUTPUT_BYTES < bytes + output_bytes || events_max < made.len() + output.len();
            if 0 < at && is_full {
                to = *offset;
                break;
            }
            made.extend(output);
            bytes += output_bytes;
            done = at + 1;
        }
        let consumed = self.consumer.consumed(&batch, to)?;
        let outcomes = if made.is_empty() {
            let (group, topic) = (&self.options.group, &self.options.from);
            let next = [(partition, to)];
            let link = self.client.link();
            let fenced =
                call::commit_offsets(link, group, topic, Some(consumed.member), &next).await?;
            if !fenced.is_empty() {
                return Err(fenced_off(partition));
            }
            Vec::new()
        } else {
            let target = match self.options.route {
                Route::To(target) => target,
                Route::ByKey => partition,
            };
            self.producer.publish_consumed(target, made, &consumed).await?
        };
        self.consumer.has_consumed(&consumed);
        if done < batch.events.len() {
            let events = batch.events.into_iter().skip(done).collect();
            self.rest = Some(ConsumedBatch { events, from: to, ..batch });
        }
        Ok(Transformed { partition, to, outcomes })
    }
}

async fn join(client: &Client, options: &TransformOptions) -> Result<Consumer, ClientError> {
    let consuming = ConsumerOptions {
        from: From::Committed,
        group: Some(options.group.clone()),
        session_timeout: options.session_timeout,
        ..ConsumerOptions::default()
    };
    client.consumer(&options.from, consuming).await
}

/// Whether the group knows better than this member, or alone.
fn is_mended_by_joining(why: &ClientError) -> bool {
    match why {
        ClientError::Fault(fault) => {
            matches!(fault.code, Code::MemberFenced | Code::Expired | Code::OutOfOrderSequence)
        }
        ClientError::Unknown => true,
        _ => false,
    }
}

fn fenced_off(partition: PartitionId) -> ClientError {
    let sentence = format!("partition {partition} is another member's by now");
    weir_wire::fault::Fault::new(Code::MemberFenced, sentence).into()
}
