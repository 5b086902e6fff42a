//! Several partitions as one stream in the order of time, for people who look at a topic.
//!
//! ```text
//! reader per partition ─▶ one chunk of each ─▶ merge: the earliest first ─▶ next()
//! ```
//! Promises: the order of each partition is kept; memory is bounded by a few chunks per partition.
//! A reading with an end is exact as long as each partition's timestamps rise. One that follows
//! the tails lets an event wait for silent partitions for so long, and no longer: what comes later
//! than that stands behind it. Not here: groups and commits, which go by partition and not by time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};
use weir_wire::ids::{Offset, PartitionId, TopicName};
use weir_wire::proto::Edge;
use weir_wire::proto::list_offsets_request::At;

use super::merge::{Merge, Step};
use super::progress::Progress;
use super::reader::{Reader, Ready, Source};
use super::start::{ends, offsets_at, starts};
use super::{ConsumedBatch, ConsumedEvent, ConsumerOptions, partitions};
use crate::error::ClientError;
use crate::link::Link;

/// Bytes that all chunks together may have at a time, three of each partition: being merged, ready,
/// and being decoded.
const CHUNKS_BYTES: u32 = 48 << 20;
/// A chunk is no smaller than this, however many partitions there are: a batch of a few events.
const CHUNK_BYTES_MIN: u32 = 16 << 10;

/// Reads all partitions of a topic, or some, in the order of their events' timestamps. A
/// [`Stream`]. Dropping it ends the reading.
#[derive(Debug)]
pub struct MergedByTime {
    source: Arc<Source>,
    merge: Merge,
    lanes: BTreeMap<PartitionId, mpsc::Receiver<Ready>>,
    alarm: Pin<Box<Sleep>>,
    /// The readers.
    _tasks: JoinSet<()>,
}

impl MergedByTime {
    pub(crate) async fn open(
        link: Arc<Link>,
        topic: TopicName,
        partition_count: u32,
        mut options: ConsumerOptions,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        if options.group.is_some() {
            let sentence = "a reading in the order of time has no group: commits go by partition; \
                            leave the group out of the options";
            return Err(ClientError::Config(sentence.to_owned()));
        }
        options.check()?;
        let all = partitions(&topic, partition_count, &options)?;
        let each = CHUNKS_BYTES / 3 / (all.len() as u32).max(1);
        options.chunk_bytes = options.chunk_bytes.min(each).max(CHUNK_BYTES_MIN);
        let ends = ends(&link, &topic, &all, &options).await?;
        let starts = starts(&link, &topic, &all, &options).await?;
        // What is there now comes for sure, so it is worth waiting for.
        let known = match &ends {
            Some(ends) => ends.clone(),
            None => offsets_at(&link, &topic, &all, At::Edge(Edge::Latest.into())).await?,
        };
        let progress = Arc::new(Progress::default());
        let source = Arc::new(Source { link, topic, options, progress });
        let (mut lanes, mut tasks, mut begun) = (BTreeMap::new(), JoinSet::new(), Vec::new());
        for (partition, next) in starts {
            let until = ends.as_ref().and_then(|ends| ends.get(&partition).copied());
            if until.is_some_and(|until| until <= next) {
                continue;
            }
            let (ready, lane) = mpsc::channel(1);
            let (source, reading) = (source.clone(), source.progress.take(partition));
            let was_open = false;
            let given = next;
            let reader = Reader { source, partition, reading, next, given, until, ready, was_open };
            tasks.spawn(reader.run());
            lanes.insert(partition, lane);
            let known = known.get(&partition).copied().unwrap_or(Offset(0));
            begun.push((partition, next, known));
        }
        let now = Instant::now();
        let (merge, alarm) = (Merge::new(begun, now, patience), Box::pin(sleep_until(now)));
        Ok(Self { source, merge, lanes, alarm, _tasks: tasks })
    }

    /// The next event in time; waits for one. `None` once every partition has ended. Nothing is lost
    /// when this future is dropped.
    ///
    /// An error is of one partition, which ends with it; the others go on.
    pub async fn next(&mut self) -> Option<Result<ConsumedEvent, ClientError>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// See [`Consumer::skipped`](super::Consumer::skipped).
    pub fn skipped(&self) -> u64 {
        self.source.progress.skipped()
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<ConsumedEvent, ClientError>>> {
        loop {
            if let Err(error) = self.take_in(context) {
                return Poll::Ready(Some(Err(error)));
            }
            match self.merge.step(Instant::now()) {
                Step::Give(partition, offset, event) => {
                    let topic = self.source.topic.clone();
                    let event = ConsumedEvent { topic, partition, offset, event };
                    return Poll::Ready(Some(Ok(event)));
                }
                Step::End => return Poll::Ready(None),
                Step::Wait(None) => return Poll::Pending,
                Step::Wait(Some(until)) => {
                    if self.alarm.deadline() != until {
                        self.alarm.as_mut().reset(until);
                    }
                    if self.alarm.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Takes what came of partitions that have nothing here; leaves word for the others.
    fn take_in(&mut self, context: &mut Context<'_>) -> Result<(), ClientError> {
        let silent: Vec<_> = self.merge.silent().collect();
        for partition in silent {
            let Some(lane) = self.lanes.get_mut(&partition) else { continue };
            while let Poll::Ready(came) = lane.poll_recv(context) {
                match came {
                    Some(Ready::Batch(_, batch)) => {
                        let ConsumedBatch { events, next_offset, .. } = batch;
                        let is_empty = events.is_empty();
                        self.merge.push(partition, events, next_offset, Instant::now());
                        if !is_empty {
                            break;
                        }
                    }
                    Some(Ready::Failed(error)) => {
                        self.merge.end(partition);
                        return Err(error);
                    }
                    None => {
                        self.merge.end(partition);
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

impl Stream for MergedByTime {
    type Item = Result<ConsumedEvent, ClientError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll(context)
    }
}
