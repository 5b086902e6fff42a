//! Reading one topic: its partitions merged, from any place, following the tails; alone, or as one
//! of the members of a group that share the partitions.
//!
//! ```text
//! broker ═▶ reader per partition ─▶ one bounded channel ─▶ next() / next_batch() ─▶ commit()
//!    ▲╚════ member: who reads what ─┘                                                  │
//!    ╚═════════════════════════════════════════════════════════════════════════════════╝
//! ```
//! Promises: each partition's events come in order and without a gap, through every reconnect;
//! what is buffered is bounded, and a consumer that does not read makes the broker wait, not grow.
//! Not here on purpose: order between partitions.

mod member;
mod reader;
mod progress;

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
use member::Member;
use progress::{Progress, Reading};
use reader::{Reader, Ready};

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
    /// Which partitions; `None`: all, or with a `group` the share of them that the broker assigns
    /// to this member of it.
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
    /// As a member of a group: how long the broker may hear nothing before others get this member's
    /// partitions. 10 s; 1 s to 5 minutes.
    pub session_timeout: Duration,
    /// As a member of a group: how long the caller may take to commit what it was given of a
    /// partition that another member is to get. Then that one gets it all the same, and what was not
    /// committed a second time. 5 s.
    pub release_timeout: Duration,
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
            session_timeout: Duration::from_secs(10),
            release_timeout: Duration::from_secs(5),
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

/// Reads one topic. Dropping it ends the reading and a membership; only [`commit`](Self::commit)
/// stores offsets.
#[derive(Debug)]
pub struct Consumer {
    link: Arc<Link>,
    topic: TopicName,
    group: Option<GroupName>,
    ready: mpsc::Receiver<Ready>,
    /// Readers, or the member that has them. Dropping them ends the reading.
    tasks: JoinSet<()>,
    /// The rest of a batch that [`next`](Self::next) has begun.
    begun: Option<Begun>,
    progress: Arc<Progress>,
}

/// What is left of a [`ConsumedBatch`].
#[derive(Debug)]
struct Begun {
    reading: Reading,
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
        let all = || (0..partition_count).map(PartitionId).collect();
        let partitions: Vec<_> = options.partitions.clone().unwrap_or_else(all);
        if let Some(partition) = partitions.iter().find(|partition| partition_count <= partition.0)
        {
            let sentence =
                format!("{topic} has partitions 0 to {}, not {partition}", partition_count - 1);
            return Err(Fault::new(Code::UnknownPartition, sentence).into());
        }
        if options.from == From::Committed && options.group.is_none() {
            let sentence = "reading from committed offsets needs a group; name one in the options";
            return Err(ClientError::Config(sentence.to_owned()));
        }
        let ends = match options.until_end {
            true => {
                Some(offsets_at(&link, &topic, &partitions, At::Edge(Edge::Latest.into())).await?)
            }
            false => None,
        };
        let (ready_in, ready) = mpsc::channel(READY_BATCHES_MAX);
        let progress = Arc::new(Progress::default());
        let mut tasks = JoinSet::new();
        let group = options.group.clone();
        match &group {
            Some(group) if options.partitions.is_none() => {
                let member = Member {
                    link: link.clone(),
                    topic: topic.clone(),
                    group: group.clone(),
                    options,
                    ends,
                    progress: progress.clone(),
                    ready: Some(ready_in),
                };
                tasks.spawn(member.run());
            }
            _ => {
                let starts = starts(&link, &topic, &partitions, &options).await?;
                for (partition, next) in starts {
                    let until = match &ends {
                        Some(ends) => Some(place(ends, partition)?),
                        None => None,
                    };
                    if until.is_some_and(|until| until <= next) {
                        continue;
                    }
                    let reader = Reader {
                        link: link.clone(),
                        topic: topic.clone(),
                        partition,
                        reading: progress.take(partition),
                        next,
                        until,
                        chunk_bytes: options.chunk_bytes,
                        outage_timeout: options.outage_timeout,
                        ready: ready_in.clone(),
                        was_open: false,
                    };
                    tasks.spawn(reader.run());
                }
            }
        }
        Ok(Self { link, topic, group, ready, tasks, begun: None, progress })
    }

    /// The next event of any partition; waits for one. `None` once every partition has ended,
    /// which only happens with `until_end` or after each of them gave its error. Nothing is lost
    /// when this future is dropped.
    ///
    /// An error is of one partition, which ends with it; the others go on. A member of a group has
    /// one error only, its last word.
    pub async fn next(&mut self) -> Option<Result<ConsumedEvent, ClientError>> {
        loop {
            if let Some(begun) = &mut self.begun {
                let Begun { partition, reading, .. } = *begun;
                if let Some((offset, event)) = begun.events.pop_front() {
                    let is_last = begun.events.is_empty();
                    let next = if is_last { begun.next_offset } else { offset.plus(1) };
                    if self.progress.give(partition, reading, next) {
                        let topic = self.topic.clone();
                        return Some(Ok(ConsumedEvent { topic, partition, offset, event }));
                    }
                }
                self.begun = None;
            }
            match self.ready.recv().await? {
                Ready::Batch(reading, batch) => {
                    let ConsumedBatch { partition, events, next_offset, high_watermark } = batch;
                    let events = events.into();
                    self.begun =
                        Some(Begun { reading, partition, events, next_offset, high_watermark });
                }
                Ready::Failed(error) => return Some(Err(error)),
            }
        }
    }

    /// Like [`next`](Self::next), with as many neighbours as came together. What `next` has begun
    /// comes first.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ClientError>> {
        loop {
            let (reading, batch) = match self.begun.take().filter(|begun| !begun.events.is_empty())
            {
                Some(Begun { reading, partition, events, next_offset, high_watermark }) => {
                    let events = events.into();
                    (reading, ConsumedBatch { partition, events, next_offset, high_watermark })
                }
                None => match self.ready.recv().await? {
                    Ready::Batch(reading, batch) => (reading, batch),
                    Ready::Failed(error) => return Some(Err(error)),
                },
            };
            if self.progress.give(batch.partition, reading, batch.next_offset) {
                return Some(Ok(batch));
            }
        }
    }

    /// Stores how far the caller has come, for the group: everything it was given counts as done.
    /// So commit after the work, not before.
    ///
    /// # Errors
    /// [`ClientError::Config`] without a group in the options. The fault `member-fenced` where
    /// partitions have become another member's meanwhile: what was not committed of them is given to
    /// that one again, everything else is committed, and reading goes on. The fault `group-active`
    /// where the options name partitions and the group has members. Otherwise as any call, and the
    /// offsets stay to be committed again.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let Some(group) = &self.group else {
            return Err(ClientError::Config(
                "commit needs a group; name one in the options".to_owned(),
            ));
        };
        let moved = self.progress.uncommitted();
        if moved.is_empty() {
            return Ok(());
        }
        let member = self.progress.member();
        let fenced = call::commit_offsets(&self.link, group, &self.topic, member, &moved).await?;
        self.progress.has_committed(&moved, &fenced);
        if fenced.is_empty() {
            return Ok(());
        }
        let partitions: Vec<_> = fenced.iter().map(ToString::to_string).collect();
        Err(Fault::new(
            Code::MemberFenced,
            format!(
                "partitions {} of {} are another member's by now; what was not committed there is \
                 given to it again",
                partitions.join(", "),
                self.topic
            ),
        )
        .into())
    }

    /// Where each partition goes on behind what the caller was given so far.
    pub fn positions(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.progress.given().into_iter()
    }

    /// Ends the reading and a membership, and returns when no task of them is left.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
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
        let group = options.group.as_ref();
        let committed = match group {
            Some(group) => call::fetch_offsets(link, group, topic).await?,
            None => Vec::new(),
        };
        for (partition, next) in committed {
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
