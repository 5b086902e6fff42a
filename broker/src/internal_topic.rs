//! A topic of the broker's own: changes as JSON events in one partition, written by one task and
//! folded on the way. The same log and the same commits as any other topic, so that there is no
//! second kind of storage; no plugins, no producers.

use std::marker::PhantomData;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use weir_log::commit::Identity;
use weir_log::commit::Kind;
use weir_log::planted::{Bug, is_planted};
use weir_log::segment::{Machine, OpenError, Options, SegmentLog};
use weir_log::{AppendError, Commit, PartitionLog, Tail};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, Position, Timestamp, TopicId};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, RecordBatch};
use weir_wire::verdict::Verdicts;

/// Bytes of commits read at once when the topic is folded.
const REPLAY_BYTES: usize = 4 << 20;

/// The writer of an internal topic whose events are `T`.
pub struct InternalTopic<T> {
    log: SegmentLog,
    tail: watch::Receiver<Tail>,
    next: Position,
    next_offset: Offset,
    time: Timestamp,
    changes: PhantomData<fn(T)>,
}

impl<T: Serialize + DeserializeOwned> InternalTopic<T> {
    /// Opens the topic in `dir` and hands every change it holds to `fold`, oldest first. One that
    /// `may_create` is not may not be missing.
    pub async fn open(
        machine: &Machine,
        dir: &Path,
        id: TopicId,
        may_create: bool,
        mut fold: impl FnMut(T),
    ) -> Result<Self, Fault> {
        let identity = Identity { topic: id, partition: PartitionId(0) };
        let (stands_on, dir) = (machine.clone(), dir.to_owned());
        // The reserve is kept for these: cursors and an operator's changes go on without room for
        // events.
        let options = Options { may_create, reserve_bytes: 0, ..Options::default() };
        let open = move || SegmentLog::open(&stands_on, &dir, identity, options);
        let log = machine
            .blocking
            .run(open)
            .await
            .map_err(|error| Fault::new(Code::Internal, error.to_string()))?
            .map_err(not_opened)?;
        let tail = log.tail();
        let mut topic = Self {
            log,
            tail,
            next: Position(0),
            next_offset: Offset(0),
            time: Timestamp(0),
            changes: PhantomData,
        };
        let end = topic.tail.borrow().position;
        while topic.next < end {
            let commits = topic.log.read(topic.next, REPLAY_BYTES).await;
            for stored in commits.map_err(|error| Fault::new(Code::Corrupt, error.to_string()))? {
                for change in changes_in::<T>(&stored.commit)? {
                    fold(change);
                }
                topic.next = stored.position.next();
                topic.next_offset = stored.commit.first_offset.plus(stored.commit.events.into());
                topic.time = stored.commit.time;
            }
        }
        Ok(topic)
    }

    /// Whether nothing was ever appended.
    pub fn is_new(&self) -> bool {
        self.next_offset == Offset(0)
    }

    /// Makes `changes` durable, all or none.
    pub async fn append(&mut self, now: Timestamp, changes: &[T]) -> Result<(), Fault> {
        let now = now.max(self.time);
        let mut batch = BatchBuilder::default();
        for change in changes {
            let value = serde_json::to_vec(change)
                .map_err(|error| Fault::new(Code::Internal, error.to_string()))?;
            let event = Event { timestamp: now, value: Some(value.into()), ..Event::default() };
            batch.push(&event.as_record());
        }
        let events = changes.len() as u32;
        let commit = Commit {
            events,
            max_timestamp: now,
            verdicts: Verdicts::all_accepted(events),
            data: batch.finish(Compression::None),
            ..Commit::empty(Kind::Batch, now, ChainRevision(0), self.next_offset)
        };
        let at = self.next;
        self.log.append(at, vec![commit]).await.map_err(not_written)?;
        self.next = at.next();
        self.next_offset = self.next_offset.plus(events.into());
        self.time = now;
        if is_planted(Bug::CommitOffsetsEarly) {
            return Ok(());
        }
        let tail = self.tail.wait_for(|tail| tail.position > at || tail.stopped.is_some()).await;
        match tail {
            Ok(tail) if tail.position > at => Ok(()),
            _ => Err(not_written(AppendError::Broken("it stopped".to_owned()))),
        }
    }

    /// How many times it was appended to, the opening of its log among them.
    #[cfg(test)]
    pub fn appends(&self) -> u64 {
        self.next.0
    }

    /// Lets go of the log.
    pub async fn close(&self) {
        if let Err(error) = self.log.close().await {
            tracing::warn!(%error, "an internal topic did not close cleanly");
        }
    }
}

/// A write or sync that failed may be found on the disk by the next start, and then it was recorded.
fn not_written(error: AppendError) -> Fault {
    let then = match error {
        AppendError::Full => "nothing was changed; free some room",
        _ => {
            "whether it was shows when the broker is restarted, and until then nothing of its kind \
             is recorded: restart it, look, and try again"
        }
    };
    Fault::new(Code::StorageBroken, format!("the change could not be recorded ({error}): {then}"))
}

/// The changes that a commit of an internal topic holds.
pub fn changes_in<T: DeserializeOwned>(commit: &Commit) -> Result<Vec<T>, Fault> {
    if commit.data.is_empty() {
        return Ok(Vec::new());
    }
    let unreadable = |error: String| {
        Fault::new(
            Code::Corrupt,
            format!("an internal topic holds what this version cannot read: {error}"),
        )
    };
    let batch = RecordBatch::parse(commit.data.clone()).map_err(|e| unreadable(e.to_string()))?;
    let records =
        batch.open_stored(&BatchLimits::default()).map_err(|e| unreadable(e.to_string()))?;
    records
        .iter()
        .map(|record| {
            serde_json::from_slice(record.value.unwrap_or_default())
                .map_err(|error| unreadable(error.to_string()))
        })
        .collect()
}

/// Only what the log itself calls damage is damage; a full table of open files is not.
pub fn not_opened(error: OpenError) -> Fault {
    let code = match error {
        OpenError::Io { .. } | OpenError::Unwritable { .. } => Code::StorageBroken,
        _ => Code::Corrupt,
    };
    Fault::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_disk_promises_that_nothing_was_changed() {
        let broken = AppendError::Broken("a sync failed".to_owned());
        for (error, promises) in [(AppendError::Full, true), (broken, false)] {
            assert_eq!(not_written(error).message.contains("nothing was changed"), promises);
        }
    }
}
