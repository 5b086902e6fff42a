//! Carries side events from a partition's outbox to their topics, by the front door, exactly once.
//!
//! How: the ordinal of a side event in its partition is its producer sequence at the target, and
//! the target keeps the last one of every relay for ever. After a crash the relay starts again at
//! the mark in the log and sends some a second time; the target knows them. One batch per target
//! is in flight at a time, so that a failed one never leaves a gap behind a later one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::sync::watch;
use weir_log::commit::SideEvent;
use weir_log::planted::{Bug, is_planted};
use weir_partition::{Partition, RelayLosses, SideNumber};
use weir_wire::dead_letter::DEAD_LETTER_PREFIX;
use weir_wire::fault::{Action, Code, Fault};
use weir_wire::frame::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX};
use weir_wire::ids::{
    CAUSE_HEADER, PartitionId, ProducerEpoch, ProducerId, RESERVED_HEADER_PREFIX, Sequence,
    TopicId, TopicName,
};
use weir_wire::partitioner::partition_for_key;
use weir_wire::record_batch::{BatchBuilder, Compression, Header};

use crate::desk::Desk;
use crate::router::Router;

/// Names the plugin that emitted.
const PLUGIN_HEADER: &str = "weir-plugin";
/// How many side events lie between this one and a publisher's, this one included.
const HOPS_HEADER: &str = "weir-hops";
/// First and longest wait before a side event is tried again: its target's disk may be full for
/// hours, and the outbox waits as long as it has to.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Bits of an ordinal that are the sequence; those above are the epoch.
const SEQUENCE_BITS: u32 = 31;

/// The relay of one partition.
pub struct Relay {
    /// The partition whose outbox this is.
    pub source: (TopicName, TopicId, PartitionId),
    /// Its door.
    pub partition: Partition,
    /// Where side events go.
    pub desk: Arc<Desk>,
    /// Finds their topics.
    pub router: Arc<Router>,
}

impl Relay {
    /// Works until `stop` turns true or the partition is gone.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        tokio::select! {
            () = self.carry() => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    async fn carry(&self) {
        let mut snapshot = self.partition.snapshot();
        let mut tail = self.partition.log().tail();
        let mut next = snapshot.borrow().relayed;
        if is_planted(Bug::OutboxForgotten) {
            next = snapshot.borrow().next_ordinal;
        }
        loop {
            if snapshot.wait_for(|now| now.next_ordinal > next).await.is_err() {
                return;
            }
            let position = tail.borrow_and_update().position;
            let events = match self.partition.outbox(next).await {
                Ok(events) => events,
                Err(fault) if fault.code == Code::ShuttingDown => return,
                Err(fault) => {
                    tracing::error!(
                        source = %self.source.0, partition = %self.source.2, %fault,
                        "side events cannot be read; trying again"
                    );
                    tokio::time::sleep(RETRY_MAX).await;
                    continue;
                }
            };
            let Some(last) = events.last().map(|event| event.ordinal) else {
                // Emitted, not durable yet.
                let moved =
                    tail.wait_for(|tail| tail.position > position || tail.stopped.is_some());
                match moved.await {
                    Ok(tail) if tail.stopped.is_none() => continue,
                    _ => return,
                }
            };
            assert!(events[0].ordinal == next, "ordinals are dense");
            if is_planted(Bug::RelayMarkEarly) {
                self.partition.relayed(last + 1).await;
            }
            let (targets, homeless) = self.by_target(events);
            let delivered = join_all(targets.into_iter().map(|batch| self.deliver(batch))).await;
            let losses = RelayLosses {
                lost: homeless + delivered.iter().map(|losses| losses.lost).sum::<u64>(),
                refused: delivered.iter().map(|losses| losses.refused).sum(),
            };
            self.partition.lost(losses).await;
            next = last + 1;
            self.partition.relayed(next).await;
        }
    }

    /// Sorts side events by target, in order of their ordinals, and counts those that have none.
    fn by_target(&self, events: Vec<SideEvent>) -> (Vec<Target>, u64) {
        let mut targets: BTreeMap<(TopicName, PartitionId), Target> = BTreeMap::new();
        let mut homeless = 0;
        for event in events {
            let Ok(topic) = self.router.topic(&event.topic) else {
                tracing::error!(
                    topic = %event.topic, plugin = %event.plugin, ordinal = event.ordinal,
                    source = %self.source.0, partition = %self.source.2,
                    "side event lost: its topic is gone"
                );
                homeless += 1;
                continue;
            };
            let partition = match &event.event.key {
                Some(key) => partition_for_key(key, topic.width()),
                None => PartitionId((event.ordinal % u64::from(topic.width())) as u32),
            };
            targets
                .entry((topic.name.clone(), partition))
                .or_insert_with(|| Target { topic, partition, events: Vec::new() })
                .events
                .push(event);
        }
        (targets.into_values().collect(), homeless)
    }

    async fn deliver(&self, target: Target) -> RelayLosses {
        let mut losses = RelayLosses::default();
        let mut rest = target.events.as_slice();
        let mut events_max = BATCH_EVENTS_MAX as usize;
        while !rest.is_empty() {
            let (numbers, epoch, bytes) = self.encode(&rest[..rest.len().min(events_max)]);
            let (sent, later) = rest.split_at(numbers.len());
            match self.deliver_batch(&target, epoch, numbers, bytes).await {
                Ok(refused) => {
                    losses.refused += refused;
                    rest = later;
                }
                // What the target's plugins make of so many at once is more than one commit holds.
                Err(fault) if fault.code == Code::TooLarge && sent.len() > 1 => {
                    events_max = sent.len() / 2;
                }
                Err(fault) => {
                    self.lost(&target, sent, &fault);
                    losses.lost += sent.len() as u64;
                    rest = later;
                }
            }
        }
        losses
    }

    /// As many of `events` as fit into one batch and share an epoch.
    fn encode(&self, events: &[SideEvent]) -> (Vec<SideNumber>, ProducerEpoch, Bytes) {
        let mut builder = BatchBuilder::default();
        let mut numbers = Vec::new();
        let epoch = events[0].ordinal >> SEQUENCE_BITS;
        for side in events.iter().take(BATCH_EVENTS_MAX as usize) {
            // Half the limit leaves room for one more event of the largest size.
            let full = builder.encoded_bytes() > BATCH_BYTES_MAX as usize / 2;
            if full || side.ordinal >> SEQUENCE_BITS != epoch {
                break;
            }
            let mut event = side.event.clone();
            // No plugin can write a reserved header (it would be a fault): a dead letter's are ours.
            event.headers.retain(|header| {
                let is_broker = header.name.starts_with(RESERVED_HEADER_PREFIX);
                !is_broker || header.name.starts_with(DEAD_LETTER_PREFIX)
            });
            let (topic, _, partition) = &self.source;
            for (name, value) in [
                (CAUSE_HEADER, format!("{topic}/{partition}#{}", side.ordinal)),
                (PLUGIN_HEADER, side.plugin.to_string()),
                (HOPS_HEADER, side.hops.to_string()),
            ] {
                event.headers.push(Header { name: name.to_owned(), value: Some(value.into()) });
            }
            builder.push(&event.as_record());
            let sequence = Sequence::new((side.ordinal & u64::from(i32::MAX as u32)) as u32);
            numbers.push(SideNumber { sequence, hops: side.hops });
        }
        (numbers, ProducerEpoch(epoch as u16), builder.finish(Compression::None))
    }

    /// Tries until the target has answered, and gives how many its plugins refused; an error is its
    /// last word.
    async fn deliver_batch(
        &self,
        target: &Target,
        epoch: ProducerEpoch,
        numbers: Vec<SideNumber>,
        bytes: Bytes,
    ) -> Result<u64, Fault> {
        let id = ProducerId::relay(self.source.1, self.source.2);
        let mut wait = RETRY_FIRST;
        loop {
            // Asked anew each time: the topic may have been deleted, or opened again.
            let topic = self.router.topic(&target.topic.name)?;
            let (numbers, bytes) = (numbers.clone(), bytes.clone());
            let published = self
                .desk
                .publish_side_events(&topic, target.partition, id, epoch, numbers, bytes)
                .await;
            let answer = match published {
                Ok(submitted) => submitted.answer().await.0,
                Err(fault) => Err(fault),
            };
            match answer {
                Ok(answer) => {
                    let refused = answer.verdicts.len() - answer.verdicts.accepted();
                    if refused > 0 {
                        tracing::warn!(
                            topic = %target.topic.name, refused,
                            "side events refused by their topic's plugins"
                        );
                    }
                    return Ok(refused.into());
                }
                Err(fault) if fault.action() == Action::Fix => return Err(fault),
                Err(fault) => {
                    tracing::warn!(topic = %target.topic.name, %fault, "side events wait for their topic");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_MAX);
                }
            }
        }
    }

    fn lost(&self, target: &Target, sent: &[SideEvent], fault: &Fault) {
        tracing::error!(
            topic = %target.topic.name, partition = %target.partition, %fault,
            source = %self.source.0, first = sent[0].ordinal, events = sent.len(),
            "side events lost: their topic is gone or does not take them"
        );
    }
}

/// Side events for one partition.
struct Target {
    topic: Arc<crate::router::Topic>,
    partition: PartitionId,
    events: Vec<SideEvent>,
}
