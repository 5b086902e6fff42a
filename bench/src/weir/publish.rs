//! A load put on a topic: lanes that send on time, and beside each one that hears what became of it.
//!
//! ```text
//! events ─▶ sender ══ producer ══▶ broker
//!             └── deliveries, in order ──▶ collector: every verdict is checked and counted
//! ```
//! Promises: a sender that comes late sends at once, and its events' latencies say so; a broker that
//! cannot keep the rate ends the run with an error, and not with few figures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use weir_client::{Client, Delivery, Event, Producer, ProducerOptions, Verdict};
use weir_wire::ids::{PartitionId, Timestamp, TopicName};

use super::broker::Broker;
use super::expectation::{Sent, Stream};
use crate::load::{Load, Pace};
use crate::measure::{Measured, Schedule, Tally, Window, reset_memory_peak, watch};

/// Connections that are made side by side: below what makes the broker ask for a proof of address.
const CONNECTING_MAX: usize = 32;
/// Deliveries that are handed from sender to collector at once; never more than a batch, whose answer
/// would otherwise wait for the next to be filled.
const CHUNK_EVENTS_MAX: usize = 256;
/// Chunks that wait for a collector: more events than a producer lets wait for the broker.
const CHUNKS_MAX: usize = 1_024;
/// Events whose answers are there already that are taken as come at one moment.
const ANSWERS_PER_LOOK: u32 = 64;
/// A broker that is behind by this much does not keep the rate.
const BEHIND_MAX: Duration = Duration::from_secs(20);
/// Bytes on their way to the broker, over all lanes. More would only wait in its inboxes.
const IN_FLIGHT_BYTES: usize = 16 << 20;
/// Batches of a lane on their way at least: one in work while the next is judged.
const WINDOW_MIN: usize = 2;
/// At most: the producer's own limit.
const WINDOW_MAX: usize = 64;
/// How long a first event waits for company: not at all. What comes while the window is full shares a
/// batch by itself, and at half of the most the 99th of a hundred waits less so than with a millisecond.
const LINGER: Duration = Duration::ZERO;
/// What every event of a run has for a time: days are the events' own, so that midnight changes
/// nothing.
const EVENT_TIME: Timestamp = Timestamp(1_700_000_000_000);

/// What came of a load.
#[derive(Debug)]
pub struct Published {
    /// Everything that was answered, the warm-up with it.
    pub accepted: u64,
    /// Refused, as it had to be.
    pub refused: u64,
    /// What counts.
    pub measured: Measured,
}

/// Opens the load's connections, with a producer each.
pub async fn producers(
    broker: &Broker,
    topic: &TopicName,
    load: &Load,
) -> Result<Vec<(Client, Arc<Producer>)>, String> {
    let options = options(load);
    let open = |_| async {
        let client = broker.client().await?;
        let producer = client.producer(topic, options.clone()).await;
        let producer = producer.map_err(|error| broker.blame(&error))?;
        Ok::<_, String>((client, Arc::new(producer)))
    };
    stream::iter(0..load.connections).map(open).buffered(CONNECTING_MAX).try_collect().await
}

/// Puts the load on the topic: for each lane what `stream` says, until the window closes or it ends.
pub async fn publish(
    broker: &Broker,
    topic: &TopicName,
    load: &Load,
    stream: impl Fn(&Load, u32) -> Stream,
) -> Result<Published, String> {
    let producers = producers(broker, topic, load).await?;
    // Made before the clock starts.
    let streams: Vec<Stream> = (0..load.lanes()).map(|lane| stream(load, lane)).collect();
    reset_memory_peak(broker.pid());
    let window = load.window(Instant::now());
    let usage = tokio::spawn(watch(window, vec![broker.pid()]));
    let mut senders = JoinSet::new();
    let mut collectors = JoinSet::new();
    for (lane, stream) in (0..).zip(streams) {
        let (tell, told) = mpsc::channel(CHUNKS_MAX);
        let (_, producer) = &producers[lane as usize % producers.len()];
        let sender = Sender {
            producer: producer.clone(),
            partition: PartitionId(lane % load.partitions),
            schedule: load.schedule(&window, lane),
            window,
            chunk_events: CHUNK_EVENTS_MAX.min(load.batch_events as usize),
            tell,
        };
        senders.spawn(sender.run(stream));
        collectors.spawn(collect(told, window, load.is_paced()));
    }
    while let Some(sender) = senders.join_next().await {
        sender.map_err(|error| error.to_string())?.map_err(|why| broker.blame(&why))?;
    }
    let mut tally = Tally::new(window, load.is_paced());
    while let Some(collector) = collectors.join_next().await {
        let lane = collector.map_err(|error| error.to_string())?;
        tally.add(&lane.map_err(|why| broker.blame(&why))?);
    }
    // A stream that ended early was a preparation: nothing of it counts.
    let usage = match window.closes() <= Instant::now() {
        true => Some(usage.await.map_err(|error| error.to_string())??),
        false => {
            usage.abort();
            None
        }
    };
    stream::iter(producers).for_each_concurrent(CONNECTING_MAX, |(client, _)| client.close()).await;
    let (accepted, refused) = (tally.accepted, tally.refused);
    if let Pace::PerSecond(rate) = load.pace {
        // Each lane's first and last event may lie on either side of the window's ends.
        let (asked, slack) = (rate * load.duration.as_secs_f64(), f64::from(load.lanes()) + 1.0);
        let timed = tally.timed() as f64;
        if slack < (timed - asked).abs() {
            return Err(format!("{timed} events have a latency, where {asked:.0} were to be sent"));
        }
    }
    Ok(Published {
        accepted,
        refused,
        measured: Measured::of(&window, tally, usage, load.event_bytes),
    })
}

/// A batch is as large as the load says; a few are on their way for each lane.
fn options(load: &Load) -> ProducerOptions {
    // What the producer counts for an event beside its bytes is less than this.
    let batch_bytes = load.batch_events as usize * (load.event_bytes + 64);
    let window = IN_FLIGHT_BYTES / (batch_bytes * load.lanes() as usize);
    ProducerOptions {
        batch_bytes,
        batch_events: load.batch_events as usize,
        linger: LINGER,
        window: window.clamp(WINDOW_MIN, WINDOW_MAX),
        ..ProducerOptions::default()
    }
}

/// An event whose answer is waited for.
struct Pending {
    delivery: Delivery,
    intended: Instant,
    is_refused: bool,
}

/// Sends one lane's events.
struct Sender {
    producer: Arc<Producer>,
    partition: PartitionId,
    schedule: Option<Schedule>,
    window: Window,
    chunk_events: usize,
    tell: mpsc::Sender<Vec<Pending>>,
}

impl Sender {
    async fn run(self, stream: Stream) -> Result<(), String> {
        let mut chunk = Vec::with_capacity(self.chunk_events);
        let mut now = Instant::now();
        for (index, Sent { event, is_refused }) in (0..).zip(stream) {
            let intended = self.schedule.map_or(now, |schedule| schedule.at(index));
            if self.window.closes() <= intended {
                break;
            }
            if now < intended {
                now = Instant::now();
            }
            if now < intended {
                self.hand_over(&mut chunk).await?;
                sleep_until(intended.into()).await;
                now = Instant::now();
            }
            let event = Event {
                timestamp: EVENT_TIME,
                key: Some(event.key),
                value: Some(event.value),
                headers: Vec::new(),
            };
            let sent = self.producer.send_to(self.partition, event).await;
            let delivery = sent.map_err(|error| format!("an event was not sent: {error}"))?;
            chunk.push(Pending { delivery, intended, is_refused });
            if chunk.len() == self.chunk_events {
                self.hand_over(&mut chunk).await?;
                now = Instant::now();
                if self.schedule.is_some() && BEHIND_MAX < now.saturating_duration_since(intended) {
                    return Err(format!("the rate is not kept: {BEHIND_MAX:?} behind"));
                }
            }
        }
        self.hand_over(&mut chunk).await
    }

    async fn hand_over(&self, chunk: &mut Vec<Pending>) -> Result<(), String> {
        if chunk.is_empty() {
            return Ok(());
        }
        let full = std::mem::replace(chunk, Vec::with_capacity(self.chunk_events));
        // A collector ends early only with an error, which is told instead of this.
        self.tell.send(full).await.map_err(|_| "an answer was wrong".to_owned())
    }
}

/// Hears one lane's answers, in the order of sending.
async fn collect(
    mut told: mpsc::Receiver<Vec<Pending>>,
    window: Window,
    is_paced: bool,
) -> Result<Tally, String> {
    let mut tally = Tally::new(window, is_paced);
    let mut now = Instant::now();
    let mut answers_since_look = 0;
    while let Some(chunk) = told.recv().await {
        for Pending { delivery, intended, is_refused } in chunk {
            let outcome = match delivery.try_outcome() {
                Some(outcome) if answers_since_look < ANSWERS_PER_LOOK => {
                    answers_since_look += 1;
                    outcome
                }
                _ => {
                    let outcome = delivery.await;
                    (now, answers_since_look) = (Instant::now(), 0);
                    outcome
                }
            };
            let outcome = outcome.map_err(|error| format!("an event has no answer: {error}"))?;
            match (&outcome.verdict, is_refused) {
                (Verdict::Accepted, false) if outcome.is_durable => {}
                (Verdict::Rejected(_), true) => {}
                (verdict, _) => {
                    let wanted = if is_refused { "refused" } else { "accepted and durable" };
                    let durable = outcome.is_durable;
                    return Err(format!(
                        "wrong answer: {verdict:?} (durable: {durable}) where it has to be {wanted}"
                    ));
                }
            }
            tally.answered(intended, now, is_refused);
        }
        // The next chunk's answers are not of this moment.
        answers_since_look = ANSWERS_PER_LOOK;
    }
    Ok(tally)
}
