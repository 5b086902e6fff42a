//! Reading one topic: its partitions merged, from any place, following the tails.
//!
//! ```text
//! broker ═▶ reader per partition ─▶ one bounded channel ─▶ next() / next_batch() ─▶ commit()
//! ```
//! Promises: each partition's events come in order and without a gap, through every reconnect;
//! what is buffered is bounded, and a consumer that does not read makes the broker wait, not grow.
//! Not here on purpose: groups whose members share partitions; order between partitions.

mod reader;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, Offset, PartitionId, Timestamp, TopicName};
use weir_wire::proto::Edge;
use weir_wire::proto::list_offsets_request::At;
use weir_wire::record_batch::Event;

use crate::call;
use crate::error::ClientError;
use crate::link::Link;
use reader::Reader;

/// Batches that all readers together may have ready: enough that none waits for the caller's
/// turn, few enough that the caller's memory does not feel them.
const READY_BATCHES_MAX: usize = 16;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// At the first event that is still there.
    #[default]
    Earliest,
    /// Behind the last: only what comes from now on.
    Latest,
    /// At this offset of every partition that is read.
    Offset(Offset),
    /// At the first event whose own timestamp is this or later.
    Time(Timestamp),
    /// Where the options' group committed; at the earliest where it never did.
    Committed,
}

/// What a consumer reads, and how.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Which partitions; `None`: all.
    pub partitions: Option<Vec<PartitionId>>,
    /// Where to begin.
    pub from: From,
    /// End where the partitions ended when the consumer was opened, instead of following them.
    pub until_end: bool,
    /// Whose committed offsets to read and write; needed by [`From::Committed`] and
    /// [`Consumer::commit`].
    pub group: Option<GroupName>,
    /// Bytes the broker sends at a time, per partition. 256 KiB: a few batches.
    pub chunk_bytes: u32,
    /// How long a partition may be out of reach before [`Consumer::next`] says so and gives it
    /// up. 120 s: a broker's restart with recovery.
    pub outage_timeout: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            partitions: None,
            from: From::Earliest,
            until_end: false,
            group: None,
            chunk_bytes: 256 << 10,
            outage_timeout: Duration::from_secs(120),
        }
    }
}

/// One event as it was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedEvent {
    /// Its topic.
    pub topic: TopicName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its place there.
    pub offset: Offset,
    /// The event.
    pub event: Event,
}

/// Neighbours of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedBatch {
    /// Their partition.
    pub partition: PartitionId,
    /// Each with its offset, in rising order; at least one.
    pub events: Vec<(Offset, Event)>,
    /// Where reading goes on behind them.
    pub next_offset: Offset,
    /// Everything below could be read when the broker sent them: the lag ends here.
    pub high_watermark: Offset,
}

/// Reads one topic. Dropping it ends the reading; only [`commit`](Self::commit) stores offsets.
#[derive(Debug)]
pub struct Consumer {
    link: Arc<Link>,
    topic: TopicName,
    group: Option<GroupName>,
    ready: mpsc::Receiver<Result<ConsumedBatch, ClientError>>,
    /// Dropping them ends the reading.
    readers: JoinSet<()>,
    /// The rest of a batch that [`next`](Self::next) has begun.
    begun: Option<Begun>,
    /// Where each partition goes on behind what the caller was given.
    positions: BTreeMap<PartitionId, Offset>,
    /// What the broker has of them.
    committed: BTreeMap<PartitionId, Offset>,
}

/// What is left of a [`ConsumedBatch`].
#[derive(Debug)]
struct Begun {
    partition: PartitionId,
    events: VecDeque<(Offset, Event)>,
    next_offset: Offset,
    high_watermark: Offset,
}

impl Consumer {
    pub(crate) async fn open(
        link: Arc<Link>,
        topic: TopicName,
        partition_count: u32,
        options: ConsumerOptions,
    ) -> Result<Self, ClientError> {
        let partitions = options
            .partitions
            .clone()
            .unwrap_or_else(|| (0..partition_count).map(PartitionId).collect());
        if let Some(partition) = partitions.iter().find(|partition| partition_count <= partition.0)
        {
            let sentence =
                format!("{topic} has partitions 0 to {}, not {partition}", partition_count - 1);
            return Err(Fault::new(Code::UnknownPartition, sentence).into());
        }
        let starts = starts(&link, &topic, &partitions, &options).await?;
        let ends = match options.until_end {
            true => {
                Some(offsets_at(&link, &topic, &partitions, At::Edge(Edge::Latest.into())).await?)
            }
            false => None,
        };
        let (ready_in, ready) = mpsc::channel(READY_BATCHES_MAX);
        let mut readers = JoinSet::new();
        for (&partition, &start) in &starts {
            let until = match &ends {
                Some(ends) => Some(place(ends, partition)?),
                None => None,
            };
            if until.is_some_and(|until| until <= start) {
                continue;
            }
            let reader = Reader {
                link: link.clone(),
                topic: topic.clone(),
                partition,
                next: start,
                until,
                chunk_bytes: options.chunk_bytes,
                outage_timeout: options.outage_timeout,
                ready: ready_in.clone(),
                was_open: false,
            };
            readers.spawn(reader.run());
        }
        Ok(Self {
            link,
            topic,
            group: options.group,
            ready,
            readers,
            begun: None,
            positions: BTreeMap::new(),
            committed: BTreeMap::new(),
        })
    }

    /// The next event of any partition; waits for one. `None` once every partition has ended,
    /// which only happens with `until_end` or after each of them gave its error. Nothing is lost
    /// when this future is dropped.
    ///
    /// An error is of one partition, which ends with it; the others go on.
    pub async fn next(&mut self) -> Option<Result<ConsumedEvent, ClientError>> {
        loop {
            if let Some(begun) = &mut self.begun {
                let partition = begun.partition;
                if let Some((offset, event)) = begun.events.pop_front() {
                    let is_last = begun.events.is_empty();
                    let next = if is_last { begun.next_offset } else { offset.plus(1) };
                    self.positions.insert(partition, next);
                    let topic = self.topic.clone();
                    return Some(Ok(ConsumedEvent { topic, partition, offset, event }));
                }
                self.begun = None;
            }
            match self.ready.recv().await? {
                Ok(batch) => {
                    let ConsumedBatch { partition, events, next_offset, high_watermark } = batch;
                    let events = events.into();
                    self.begun = Some(Begun { partition, events, next_offset, high_watermark });
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// Like [`next`](Self::next), with as many neighbours as came together. What `next` has begun
    /// comes first.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ClientError>> {
        let batch = match self.begun.take().filter(|begun| !begun.events.is_empty()) {
            Some(Begun { partition, events, next_offset, high_watermark }) => {
                ConsumedBatch { partition, events: events.into(), next_offset, high_watermark }
            }
            None => match self.ready.recv().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        self.positions.insert(batch.partition, batch.next_offset);
        Some(Ok(batch))
    }

    /// Stores how far the caller has come, for the group: everything it was given counts as done.
    /// So commit after the work, not before.
    ///
    /// # Errors
    /// [`ClientError::Config`] without a group in the options; otherwise as any call, and the
    /// offsets stay to be committed again.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let Some(group) = &self.group else {
            return Err(ClientError::Config(
                "commit needs a group; name one in the options".to_owned(),
            ));
        };
        let moved: Vec<_> = self
            .positions
            .iter()
            .filter(|(partition, next)| self.committed.get(partition) != Some(next))
            .map(|(&partition, &next)| (partition, next))
            .collect();
        if moved.is_empty() {
            return Ok(());
        }
        call::commit_offsets(&self.link, group, &self.topic, &moved).await?;
        self.committed.extend(moved);
        Ok(())
    }

    /// Where each partition goes on behind what the caller was given so far.
    pub fn positions(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.positions.iter().map(|(&partition, &next)| (partition, next))
    }

    /// Ends the reading and returns when no task of it is left.
    pub async fn close(mut self) {
        self.readers.shutdown().await;
    }
}

/// Where each partition begins.
async fn starts(
    link: &Link,
    topic: &TopicName,
    partitions: &[PartitionId],
    options: &ConsumerOptions,
) -> Result<BTreeMap<PartitionId, Offset>, ClientError> {
    let at = match options.from {
        From::Earliest | From::Committed => At::Edge(Edge::Earliest.into()),
        From::Latest => At::Edge(Edge::Latest.into()),
        From::Time(time) => At::TimestampMs(time.0),
        From::Offset(offset) => {
            return Ok(partitions.iter().map(|&partition| (partition, offset)).collect());
        }
    };
    let listed = offsets_at(link, topic, partitions, at).await?;
    let mut starts = BTreeMap::new();
    for &partition in partitions {
        starts.insert(partition, place(&listed, partition)?);
    }
    if options.from == From::Committed {
        let Some(group) = &options.group else {
            let sentence = "reading from committed offsets needs a group; name one in the options";
            return Err(ClientError::Config(sentence.to_owned()));
        };
        for (partition, next) in call::fetch_offsets(link, group, topic).await? {
            let Some(start) = starts.get_mut(&partition) else { continue };
            if next < *start {
                warn!(%topic, %partition, committed = %next, earliest = %start,
                    "events behind the group's committed offset are gone: retention removed them");
            }
            *start = next.max(*start);
        }
    }
    Ok(starts)
}

async fn offsets_at(
    link: &Link,
    topic: &TopicName,
    partitions: &[PartitionId],
    at: At,
) -> Result<BTreeMap<PartitionId, Offset>, ClientError> {
    Ok(call::list_offsets(link, topic, partitions, at).await?.into_iter().collect())
}

fn place(
    offsets: &BTreeMap<PartitionId, Offset>,
    partition: PartitionId,
) -> Result<Offset, ClientError> {
    let missing =
        || ClientError::Protocol(format!("no offset was listed for partition {partition}"));
    offsets.get(&partition).copied().ok_or_else(missing)
}
