//! Reading one topic: its partitions merged, from any place, following the tails; alone, or as one
//! of the members of a group that share the partitions.
//!
//! ```text
//! broker ═▶ reader per partition ─▶ one bounded channel ─▶ next(), streams ─▶ what is finished
//!    ▲╚════ member: who reads what ─┘                                                │
//!    ╚══════════════════════════════ committer ◀── commit(), time, others who wait ──┘
//! ```
//! Promises: each partition's events come in order and without a gap, through every reconnect;
//! what is buffered is bounded, and a consumer that does not read makes the broker wait, not grow.
//! Not here on purpose: order between partitions (`by_time.rs` has that, for people).

mod by_time;
mod merge;
mod typed;
mod stream;
mod member;
mod committer;
mod reader;
mod receipt;
mod progress;
mod bookmark;
mod start;
mod options;
mod event;
mod consumed;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::record_batch::Event;

use crate::error::ClientError;
use crate::link::Link;
use bookmark::Handing;
use committer::{Commits, Committer, What};
use member::Member;
use progress::{Progress, Reading};
use reader::{Reader, Ready, Source};
use start::{ends, starts};

pub use by_time::MergedByTime;
pub use consumed::Consumed;
pub use event::{ConsumedBatch, ConsumedEvent};
pub use options::{ConsumerOptions, From, OnMissing, Until};
pub use receipt::Receipt;
pub use stream::{Batches, Tracked};
pub use typed::{Decode, Json, Typed, TypedError, TypedEvent, Undecodable};

/// Batches that all readers together may have ready: enough that none waits for the caller's
/// turn, few enough that the caller's memory does not feel them.
const READY_BATCHES_MAX: usize = 16;
/// How long the last automatic commit may take when a consumer is closed: a broker that is there
/// needs a write to its disk, and one that is not must not hold up its clients' end.
const LAST_COMMIT_WAIT: Duration = Duration::from_secs(10);

/// Reads one topic. It is a [`Stream`](futures::Stream) of its events, too. Dropping it ends the
/// reading and a membership and commits nothing; [`close`](Self::close) is the orderly end.
///
/// Every method may be dropped before it is done: no event is lost by that, and a commit that was
/// begun goes on.
#[derive(Debug)]
pub struct Consumer {
    source: Arc<Source>,
    ready: mpsc::Receiver<Ready>,
    /// The rest of a batch that [`next`](Self::next) has begun.
    begun: Option<Begun>,
    /// With a group.
    commits: Option<Commits>,
    /// How to tell the member to leave.
    leave: Option<oneshot::Sender<()>>,
    /// The member, which has the readers then. Dropping these ends the reading.
    member: JoinSet<()>,
    /// The committer, and readers without a membership.
    tasks: JoinSet<()>,
}

/// What is left of a [`ConsumedBatch`].
#[derive(Debug)]
struct Begun {
    reading: Reading,
    partition: PartitionId,
    events: VecDeque<(Offset, Event)>,
    from: Offset,
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
        options.check()?;
        let partitions = partitions(&topic, partition_count, &options)?;
        let ends = ends(&link, &topic, &partitions, &options).await?;
        let (ready_in, ready) = mpsc::channel(READY_BATCHES_MAX);
        let progress = Arc::new(Progress::default());
        let source = Arc::new(Source { link, topic, options, progress });
        let (mut member, mut tasks) = (JoinSet::new(), JoinSet::new());
        let mut leave = None;
        match &source.options.group {
            Some(group) if source.options.partitions.is_none() => {
                let (leave_in, told) = oneshot::channel();
                let (source, group) = (source.clone(), group.clone());
                let one = Member { source, group, ends, ready: Some(ready_in) };
                member.spawn(one.run(told));
                leave = Some(leave_in);
            }
            _ => {
                let Source { link, topic, options, progress } = &*source;
                for (partition, next) in starts(link, topic, &partitions, options).await? {
                    let until = ends.as_ref().and_then(|ends| ends.get(&partition).copied());
                    if until.is_some_and(|until| until <= next) {
                        continue;
                    }
                    let reading = progress.take(partition);
                    let (source, ready) = (source.clone(), ready_in.clone());
                    let was_open = false;
                    let given = next;
                    let reader =
                        Reader { source, partition, reading, next, given, until, ready, was_open };
                    tasks.spawn(reader.run());
                }
            }
        }
        let commits = source.options.group.clone().map(|group| {
            let committer = Committer {
                link: source.link.clone(),
                topic: source.topic.clone(),
                group,
                progress: source.progress.clone(),
                interval: source.options.auto_commit,
            };
            let (commits, task) = committer.start();
            tasks.spawn(task);
            commits
        });
        Ok(Self { source, ready, begun: None, commits, leave, member, tasks })
    }

    /// The next event of any partition; waits for one. `None` once every partition has ended,
    /// which only happens with an end in the options or after each of them gave its error. Nothing
    /// is lost when this future is dropped.
    ///
    /// An error is of one partition, which ends with it; the others go on. A member of a group has
    /// one error only, its last word.
    pub async fn next(&mut self) -> Option<Result<ConsumedEvent, ClientError>> {
        poll_fn(|context| self.poll_event(context, Handing::InHand)).await
    }

    /// Like [`next`](Self::next), with as many neighbours as came together. What `next` has begun
    /// comes first.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumedBatch, ClientError>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// Like [`next`](Self::next), with a receipt: the event counts as finished when that is
    /// [`done`](Receipt::done), in whatever order.
    pub async fn next_tracked(&mut self) -> Option<Result<(ConsumedEvent, Receipt), ClientError>> {
        poll_fn(|context| self.poll_tracked(context)).await
    }

    /// The batches of [`next_batch`](Self::next_batch) as a stream.
    pub fn batches(&mut self) -> Batches<'_> {
        Batches { consumer: self }
    }

    /// The events of [`next_tracked`](Self::next_tracked) as a stream, for work on several of them at
    /// a time.
    pub fn tracked(&mut self) -> Tracked<'_> {
        Tracked { consumer: self }
    }

    /// The events with their values read as JSON into `T`. See [`decoded`](Self::decoded).
    pub fn typed<T: serde::de::DeserializeOwned>(self) -> Typed<Json<T>> {
        self.decoded(Json::default())
    }

    /// The events with what `decoder` makes of them. One of which it makes nothing is an error with
    /// its place and the event itself; the next is given all the same.
    pub fn decoded<D: Decode>(self, decoder: D) -> Typed<D> {
        Typed::new(self, decoder)
    }

    /// Stores how far the caller has come, for the group: everything it was given counts as
    /// finished, but for what came with a [`Receipt`] that is not done, and what follows that. So
    /// commit after the work, not before.
    ///
    /// # Errors
    /// [`ClientError::Config`] without a group in the options. The fault `member-fenced` where
    /// partitions have become another member's meanwhile: what was not committed of them is given to
    /// that one again, everything else is committed, and reading goes on. The fault `group-active`
    /// where the options name partitions and the group has members. Otherwise as any call, and the
    /// offsets stay to be committed again.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let commits = self.commits()?;
        self.source.progress.put_down();
        commits.ask(What::Finished).await
    }

    /// Stores that everything before these offsets is finished, whatever the consumer knows of it:
    /// for programs that keep count themselves. An event at offset 7 is finished with 8.
    ///
    /// # Errors
    /// As [`commit`](Self::commit), and [`ClientError::Config`] for an offset behind what the caller
    /// was given.
    pub async fn commit_offsets(
        &mut self,
        next: &[(PartitionId, Offset)],
    ) -> Result<(), ClientError> {
        let commits = self.commits()?;
        let given: Vec<_> = self.positions().collect();
        for (partition, offset) in next {
            let read = given.iter().find(|(of, _)| of == partition).map(|(_, given)| *given);
            if read.is_none_or(|read| read < *offset) {
                return Err(ClientError::Config(format!(
                    "offset {offset} of partition {partition} cannot be committed: the consumer was \
                     not given all before it; commit what was"
                )));
            }
        }
        commits.ask(What::These(next.to_vec())).await
    }

    /// What a publish carries of which the events were made from those of `batch` before `to`, so that
    /// both are committed or neither. `to` is an offset within the batch, or its `next_offset`.
    ///
    /// # Errors
    /// [`ClientError::Config`] where this is no member of a group.
    pub fn consumed(&self, batch: &ConsumedBatch, to: Offset) -> Result<Consumed, ClientError> {
        let Source { topic, options, progress, .. } = &*self.source;
        let (Some(group), Some(member)) = (&options.group, progress.member()) else {
            let sentence =
                "only a member of a group carries offsets; name a group and no partitions";
            return Err(ClientError::Config(sentence.to_owned()));
        };
        Ok(Consumed {
            group: group.clone(),
            member,
            topic: topic.clone(),
            partition: batch.partition,
            from: batch.from,
            to,
        })
    }

    /// A publish has committed this.
    pub fn has_consumed(&mut self, consumed: &Consumed) {
        let done = [(consumed.partition, consumed.to)];
        self.source.progress.put_down();
        self.source.progress.has_committed(&done, &[]);
    }

    fn commits(&self) -> Result<&Commits, ClientError> {
        let without =
            || ClientError::Config("commit needs a group; name one in the options".to_owned());
        self.commits.as_ref().ok_or_else(without)
    }

    /// Where each partition goes on behind what the caller was given so far.
    pub fn positions(&self) -> impl Iterator<Item = (PartitionId, Offset)> {
        self.source.progress.given().into_iter()
    }

    /// How many offsets were passed over because their events had been removed before they were read
    /// ([`OnMissing`]). Each was one event at most.
    pub fn skipped(&self) -> u64 {
        self.source.progress.skipped()
    }

    /// Ends the reading; commits what automatic commits owe; leaves the group, so that others have
    /// the partitions at once. What the caller has in hand is not finished by this: commit first if it
    /// is. Returns when no task is left, after fifteen seconds at the latest. Dropping this future is
    /// like dropping the consumer.
    ///
    /// # Errors
    /// Those of [`commit`](Self::commit), of the last automatic commit, and
    /// [`ClientError::Timeout`] where it took longer than ten seconds: what it would have stored
    /// comes again. All else is done all the same.
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.ready.close();
        let mut last = Ok(());
        if let (Some(commits), Some(_)) = (&self.commits, self.source.options.auto_commit) {
            let late = ClientError::Timeout { what: "the last commit", after: LAST_COMMIT_WAIT };
            let committed = timeout(LAST_COMMIT_WAIT, commits.ask(What::Finished)).await;
            last = committed.unwrap_or(Err(late));
        }
        if let Some(leave) = self.leave.take() {
            // A member that has failed before has nothing to leave.
            let _ = leave.send(());
            while self.member.join_next().await.is_some() {}
        }
        self.tasks.shutdown().await;
        last
    }

    fn poll_event(
        &mut self,
        context: &mut Context<'_>,
        handing: Handing,
    ) -> Poll<Option<Result<ConsumedEvent, ClientError>>> {
        loop {
            let Source { topic, progress, .. } = &*self.source;
            if let Some(begun) = &mut self.begun {
                let Begun { partition, reading, .. } = *begun;
                if let Some((offset, event)) = begun.events.pop_front() {
                    let is_last = begun.events.is_empty();
                    let next = if is_last { begun.next_offset } else { offset.plus(1) };
                    begun.from = next;
                    if progress.give((partition, reading), (offset, next), handing) {
                        let topic = topic.clone();
                        let event = ConsumedEvent { topic, partition, offset, event };
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                self.begun = None;
            }
            match ready!(self.poll_ready(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(begun)) => self.begun = Some(begun),
            }
        }
    }

    fn poll_batch(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ConsumedBatch, ClientError>>> {
        loop {
            let begun = match self.begun.take().filter(|begun| !begun.events.is_empty()) {
                Some(begun) => begun,
                None => match ready!(self.poll_ready(context)) {
                    None => return Poll::Ready(None),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(begun)) => begun,
                },
            };
            let Begun { reading, partition, events, from, next_offset, high_watermark } = begun;
            let Some((first, _)) = events.front() else { continue };
            let range = (*first, next_offset);
            if self.source.progress.give((partition, reading), range, Handing::InHand) {
                let events = events.into();
                let batch = ConsumedBatch { partition, events, from, next_offset, high_watermark };
                return Poll::Ready(Some(Ok(batch)));
            }
        }
    }

    fn poll_tracked(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<(ConsumedEvent, Receipt), ClientError>>> {
        let next = ready!(self.poll_event(context, Handing::Receipt));
        Poll::Ready(next.map(|next| {
            let event = next?;
            let reading = self.begun.as_ref().map(|begun| begun.reading).unwrap_or_default();
            let progress = self.source.progress.clone();
            let receipt = Receipt::new(progress, (event.partition, reading), event.offset);
            Ok((event, receipt))
        }))
    }

    /// What the readers have for the caller, who has nothing in hand any more.
    fn poll_ready(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Begun, ClientError>>> {
        let progress = &self.source.progress;
        progress.put_down();
        loop {
            match ready!(self.ready.poll_recv(context)) {
                None => return Poll::Ready(None),
                Some(Ready::Failed(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ready::Batch(reading, batch)) => {
                    let ConsumedBatch { partition, events, from, next_offset, high_watermark } =
                        batch;
                    if events.is_empty() {
                        progress.pass(partition, reading, next_offset);
                        continue;
                    }
                    let events = events.into();
                    let begun =
                        Begun { reading, partition, events, from, next_offset, high_watermark };
                    return Poll::Ready(Some(Ok(begun)));
                }
            }
        }
    }
}

/// Which partitions the options mean.
fn partitions(
    topic: &TopicName,
    count: u32,
    options: &ConsumerOptions,
) -> Result<Vec<PartitionId>, ClientError> {
    let all = || (0..count).map(PartitionId).collect();
    let partitions: Vec<_> = options.partitions.clone().unwrap_or_else(all);
    match partitions.iter().find(|partition| count <= partition.0) {
        None => Ok(partitions),
        Some(partition) => {
            let sentence = format!("{topic} has partitions 0 to {}, not {partition}", count - 1);
            Err(Fault::new(Code::UnknownPartition, sentence).into())
        }
    }
}
