//! A partition to play with: its log, its checkpoints and its clock outlive it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weir_log::blocking::Blocking;
use weir_log::commit::Identity;
use weir_log::memory::MemoryLog;
use weir_log::{Commit, PartitionLog};
use weir_partition::{
    Answer, Batch, Chain, Mode, OpenError, Origin, Partition, PartitionOptions, Pending, Snapshot,
    Source,
};
use weir_views::store::Store;
use weir_wire::admin::Durability;
use weir_wire::fault::Fault;
use weir_wire::ids::{
    Offset, PartitionId, Position, Principal, ProducerEpoch, ProducerId, Sequence, Timestamp,
    TopicId, TopicName,
};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, RecordBatch};
use weir_wire::verdict::Verdict;

/// After this long a future that should have ended counts as hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a partition stands on, and what is left of it after a crash.
pub struct Ground {
    pub log: Arc<MemoryLog>,
    pub clock_ms: Arc<AtomicU64>,
    pub durability: Durability,
    store: Store,
}

impl Ground {
    pub fn new() -> Self {
        Self {
            log: Arc::new(MemoryLog::new(identity())),
            clock_ms: Arc::new(AtomicU64::new(1_000)),
            durability: Durability::Durable,
            store: Store::in_memory(),
        }
    }

    pub async fn open(&self, chain: Chain) -> House {
        self.try_open(chain).await.unwrap()
    }

    pub async fn try_open(&self, chain: Chain) -> Result<House, OpenError> {
        let clock_ms = Arc::clone(&self.clock_ms);
        let note = format!("{{\"revision\":{}}}", chain.revision.0);
        let options = PartitionOptions {
            topic: TopicName::parse("bookings").unwrap(),
            partition: PartitionId(0),
            log: Arc::clone(&self.log) as Arc<dyn PartitionLog>,
            durability: self.durability,
            fold: self.store.partition(identity().topic, identity().partition),
            chain,
            chain_note: note.into(),
            blocking: Blocking::threads(),
            clock: Arc::new(move || Timestamp(clock_ms.load(Ordering::Relaxed))),
        };
        let (partition, task) = Partition::open(options, &Handle::current()).await?;
        Ok(House { partition, task })
    }

    /// The machine went down and came up again: only what was durable is in the log.
    pub fn after_a_crash(self) -> Self {
        Self { log: Arc::new(self.log.reopen()), ..self }
    }

    /// The log as it was when it ended at `tail`, and no checkpoint: a crash at that moment.
    pub fn cut_at(&self, tail: Position) -> Self {
        Self { log: Arc::new(self.log.reopen_at(tail)), ..Self::new() }
    }

    /// Somebody deleted the checkpoints.
    pub fn without_checkpoints(self) -> Self {
        let Self { log, clock_ms, durability, .. } = self;
        Self { log, clock_ms, durability, ..Self::new() }
    }

    /// The disk forgot everything that was in the log, but not the checkpoints.
    pub fn with_an_empty_log(self) -> Self {
        Self { log: Arc::new(MemoryLog::new(identity())), ..self }
    }

    /// A topic that asks for no fdatasync: the tail is the system's word.
    pub fn with_os_durability(self) -> Self {
        Self { durability: Durability::Os, ..self }
    }

    /// The values of all stored events; each stands at its offset.
    pub async fn stored(&self) -> Vec<String> {
        let fetched = self.log.fetch(Offset(0), usize::MAX).await.unwrap();
        let mut values = Vec::new();
        for bytes in fetched.batches {
            let records = RecordBatch::parse(bytes).unwrap();
            let records = records.open(&BatchLimits::default()).unwrap();
            let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
            values.extend(records.iter().map(|record| text(record.value)));
        }
        assert_eq!(values.len() as u64, fetched.next.0, "every offset has its event");
        values
    }

    /// All durable commits but the OPEN record.
    pub async fn commits(&self) -> Vec<Commit> {
        let commits = self.log.read(Position(1), usize::MAX).await.unwrap();
        commits.into_iter().map(|stored| stored.commit).collect()
    }
}

fn identity() -> Identity {
    Identity { topic: TopicId(4), partition: PartitionId(0) }
}

/// A partition at work.
pub struct House {
    pub partition: Partition,
    task: JoinHandle<()>,
}

impl House {
    pub async fn submit(&self, origin: Origin, payloads: &[&str]) -> Waiting {
        let pending = self.partition.submit(batch(origin, payloads)).await.unwrap();
        Waiting::new(pending)
    }

    /// Publishes and waits for the answer.
    pub async fn publish(&self, origin: Origin, payloads: &[&str]) -> String {
        self.submit(origin, payloads).await.told().await
    }

    /// Everything handed over before was judged and given to the log.
    pub async fn all_is_appended(&self) {
        soon(self.partition.outbox(u64::MAX)).await.unwrap();
    }

    pub fn snapshot(&self) -> Snapshot {
        self.partition.snapshot().borrow().clone()
    }

    /// Everything up to here is over when the worker says so.
    pub async fn close(self) {
        soon(self.partition.close()).await;
        soon(self.task).await.unwrap();
    }

    /// The power went: nothing is answered, saved or closed any more.
    pub async fn crash(self) {
        self.task.abort();
        let _ = soon(self.task).await;
    }

    /// The worker fell over a defect.
    pub async fn has_panicked(self) -> bool {
        soon(self.task).await.is_err_and(|error| error.is_panic())
    }
}

/// A batch whose publisher waits.
pub struct Waiting(Pin<Box<dyn Future<Output = Result<Answer, Fault>> + Send>>);

impl Waiting {
    pub fn new(pending: Pending) -> Self {
        Self(Box::pin(pending.answer()))
    }

    /// Asserts that nothing was answered yet.
    pub fn is_still_waiting(&mut self) {
        let answer = self.0.as_mut().now_or_never();
        assert!(answer.is_none(), "answered too early: {answer:?}");
    }

    pub async fn answer(self) -> Result<Answer, Fault> {
        soon(self.0).await
    }

    pub async fn told(self) -> String {
        tell(&self.answer().await)
    }
}

/// Waits for what has to come; a hang becomes a failure.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("this should have ended long ago")
}

/// Nobody's numbers.
pub fn unnumbered() -> Origin {
    Origin::Unnumbered
}

/// The numbers of client `id`, from `first` on.
pub fn numbered(id: u64, first: u32) -> Origin {
    Origin::Producer { id: ProducerId(id), epoch: ProducerEpoch(0), first: Sequence::new(first) }
}

pub fn batch(origin: Origin, payloads: &[&str]) -> Batch {
    let event = |payload: &&str| {
        let value = Some(Bytes::copy_from_slice(payload.as_bytes()));
        Event { value, timestamp: Timestamp(5), ..Event::default() }
    };
    batch_of(origin, &payloads.iter().map(event).collect::<Vec<_>>())
}

pub fn batch_of(origin: Origin, events: &[Event]) -> Batch {
    let mut builder = BatchBuilder::default();
    events.iter().for_each(|event| builder.push(&event.as_record()));
    let encoded = RecordBatch::parse(builder.finish(Compression::None)).unwrap();
    let records = encoded.open(&BatchLimits::default()).unwrap();
    let publisher = Principal::parse("tester").unwrap();
    Batch { publisher, mode: Mode::PerEvent, origin, source: Source::Untold, encoded, records }
}

/// An answer as text: the offset of each accepted event, code and message of each refused one.
pub fn tell(answer: &Result<Answer, Fault>) -> String {
    let answer = match answer {
        Ok(answer) => answer,
        Err(fault) => return fault.code.to_string(),
    };
    let mut offset = answer.first_offset;
    let mut words = Vec::new();
    for verdict in answer.verdicts.iter() {
        words.push(match verdict {
            Verdict::Accepted => {
                offset = offset.plus(1);
                format!("@{}", offset.0 - 1)
            }
            Verdict::Rejected(why) => format!("{} {}", why.code, why.message),
            Verdict::Dropped { .. } | Verdict::Aborted => unreachable!("no stage here does this"),
        });
    }
    let again = if answer.duplicate { " again" } else { "" };
    format!("{}{again}", words.join(", "))
}
