//! The front door for events, whoever brings them: a session or the relay. Parses and validates,
//! so that behind it nobody checks again, and sends on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;
use weir_partition::{Answer, Batch, Mode, Origin, Pending, SideNumber, Source};
use weir_wire::admin::Durability;
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX};
use weir_wire::ids::{
    PartitionId, Principal, ProducerEpoch, ProducerId, RESERVED_HEADER_PREFIX, Sequence, TopicName,
};
use weir_wire::record_batch::{BatchLimits, RecordBatch};

use crate::router::{Router, Topic};

/// Bytes of the headers that the broker itself writes into an event: the names of a cause and all
/// that a dead letter says, which is 4 KiB at most.
const BROKER_HEADERS_BYTES_MAX: usize = 8 << 10;

/// What a relay may bring: the largest event there is has room for the broker's own headers.
const SIDE_EVENTS: BatchLimits = BatchLimits {
    batch_bytes_max: BATCH_BYTES_MAX as usize,
    decompressed_bytes_max: BATCH_BYTES_MAX as usize,
    events_max: BATCH_EVENTS_MAX,
    event_bytes_max: EVENT_BYTES_MAX as usize + BROKER_HEADERS_BYTES_MAX,
};

/// Takes batches for partitions.
pub struct Desk {
    router: Arc<Router>,
    /// Producer ids below this were given out.
    producer_ids: Arc<AtomicU64>,
}

/// A batch on its way to an answer.
pub struct Submitted {
    answer: Awaited,
    durability: Durability,
}

enum Awaited {
    /// The partition's word.
    Partition(Pending),
    /// The same, when what it means is done.
    Ending(oneshot::Receiver<Result<Answer, Fault>>),
}

impl Submitted {
    /// What became of it, and how durable that is.
    pub async fn answer(self) -> (Result<Answer, Fault>, Durability) {
        let answer = match self.answer {
            Awaited::Partition(pending) => pending.answer().await,
            Awaited::Ending(answer) => answer.await.unwrap_or_else(|_| {
                Err(Fault::new(Code::ShuttingDown, "the broker is going down; try again later"))
            }),
        };
        (answer, self.durability)
    }

    /// How durable that will be.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// One whose answer comes from whoever has taken it over.
    pub fn ending(
        answer: oneshot::Receiver<Result<Answer, Fault>>,
        durability: Durability,
    ) -> Self {
        Self { answer: Awaited::Ending(answer), durability }
    }
}

impl Desk {
    /// A desk before `router`. `producer_ids` is kept by whoever gives them out.
    pub fn new(router: Arc<Router>, producer_ids: Arc<AtomicU64>) -> Self {
        Self { router, producer_ids }
    }

    /// A topic that clients may see.
    pub fn topic(&self, name: &str) -> Result<Arc<Topic>, Fault> {
        let name = TopicName::parse(name)
            .map_err(|error| Fault::new(Code::UnknownTopic, error.to_string()))?;
        self.router.topic(&name)
    }

    /// Takes a client's batch. Batches are judged in the order in which this returns.
    pub async fn publish(
        &self,
        publisher: &Principal,
        (topic, partition): (&str, PartitionId),
        mode: Mode,
        source: Source,
        bytes: Bytes,
    ) -> Result<Submitted, Fault> {
        let topic = self.topic(topic)?;
        let target = topic.partition(partition)?;
        let encoded = RecordBatch::parse(bytes)?;
        let records = encoded.open(&BatchLimits::default())?;
        if records.has_reserved_header() {
            return Err(invalid(format!(
                "header names that begin with {RESERVED_HEADER_PREFIX} are the broker's; use others"
            )));
        }
        let origin = self.origin(&encoded)?;
        if origin == Origin::Unnumbered && source != Source::Untold {
            return Err(invalid(
                "a batch that carries a group's offset has to be numbered: its retry is told by that",
            ));
        }
        let batch = Batch { publisher: publisher.clone(), mode, origin, source, encoded, records };
        let answer = Awaited::Partition(target.submit(batch).await?);
        Ok(Submitted { answer, durability: topic.durability })
    }

    /// Takes side events, encoded as one batch, for one partition.
    pub async fn publish_side_events(
        &self,
        topic: &Topic,
        partition: PartitionId,
        relay: ProducerId,
        epoch: ProducerEpoch,
        numbers: Vec<SideNumber>,
        bytes: Bytes,
    ) -> Result<Submitted, Fault> {
        let target = topic.partition(partition)?;
        let encoded = RecordBatch::parse(bytes)?;
        let records = encoded.open(&SIDE_EVENTS)?;
        assert!(records.len() as usize == numbers.len(), "every side event has its number");
        let publisher = Principal::parse("relay").expect("a fixed, valid name");
        let origin = Origin::Relay { id: relay, epoch, numbers };
        let batch = Batch {
            publisher,
            mode: Mode::PerEvent,
            origin,
            source: Source::Untold,
            encoded,
            records,
        };
        let answer = Awaited::Partition(target.submit(batch).await?);
        Ok(Submitted { answer, durability: topic.durability })
    }

    /// Who numbered a client's batch, as its header says.
    fn origin(&self, batch: &RecordBatch) -> Result<Origin, Fault> {
        let header = batch.header();
        if header.is_control || header.is_transactional || header.is_log_append_time {
            return Err(invalid(
                "control and transactional batches, and timestamps set by a broker, are not a \
                 publisher's; send plain batches",
            ));
        }
        if header.producer_id < 0 {
            return Ok(Origin::Unnumbered);
        }
        let id = ProducerId(header.producer_id.cast_unsigned());
        if !id.is_for_clients() || id.0 >= self.producer_ids.load(Ordering::Acquire) {
            return Err(invalid(format!("producer id {id} was not given out; ask for one first")));
        }
        let (Ok(epoch), Ok(first)) =
            (u16::try_from(header.producer_epoch), u32::try_from(header.base_sequence))
        else {
            return Err(invalid("a batch with a producer id needs an epoch and a base sequence"));
        };
        Ok(Origin::Producer { id, epoch: ProducerEpoch(epoch), first: Sequence::new(first) })
    }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(Code::InvalidBatch, message)
}
