//! The log behind a partition: the only truth.
//!
//! A log is a row of [`Commit`]s at dense [`Position`]s. One owner appends, anyone reads, and only
//! what is durable. Not here on purpose: topics' names, sessions, plugins, HTTP: a log does not
//! know why it is written.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod segment;
pub mod cleaning;
pub mod simulated_disk;
pub mod disk;
pub mod blocking;
pub mod memory;
#[cfg(test)]
mod conformance;
pub mod commit;
pub mod turn;
pub mod planted;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::watch;
use weir_wire::ids::{Offset, Position, Timestamp};

pub use cleaning::{CleanError, Cleaning, Sieve, Snapshot, Stretch};
pub use commit::{Commit, Identity, Stored};

/// One partition's log. All implementations pass the suite in `conformance`.
///
/// Invariant: earliest <= durable <= written.
pub trait PartitionLog: Send + Sync + 'static {
    /// Takes `commits` in order, the first at `expected`, all or none of them.
    ///
    /// `Ok` means they are in order in the log's hands and their positions are taken; they are
    /// durable, and readable, once [`tail`](Self::tail) has passed them.
    ///
    /// An append of nothing asks whether there is room for a group of [`GROUP_BYTES_MAX`] bytes:
    /// `Full` if not. Ask before doing what an append is to record.
    fn append(
        &self,
        expected: Position,
        commits: Vec<Commit>,
    ) -> BoxFuture<'_, Result<(), AppendError>>;

    /// What is durable, now and from now on. Ask the log nothing while a borrow of it is held: the
    /// log may be waiting for that borrow's end.
    fn tail(&self) -> watch::Receiver<Tail>;

    /// The position from which on every commit is there, which is where a fold begins if it has the
    /// [`snapshot`](Self::snapshot); and the first offset that may be fetched.
    fn earliest(&self) -> (Position, Offset);

    /// Commits from `from` on, in order: at least one unless `from` is the tail, then as many as
    /// fit in `bytes_max`. Before the earliest position, exactly the one at `from`, as a cleaning left
    /// it; `OutOfRange` if nothing was left.
    fn read(
        &self,
        from: Position,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, ReadError>>;

    /// Record batches as stored, from the one that holds `from` on, or the next that is there: at
    /// least one unless none is, then as many as fit in `bytes_max`. Offsets may have gaps where
    /// events were cleaned away; [`Fetched::next`] goes over them.
    fn fetch(&self, from: Offset, bytes_max: usize) -> BoxFuture<'_, Result<Fetched, ReadError>>;

    /// The first offset whose event's own timestamp is `at` or later; the high watermark if none.
    fn offset_at(&self, at: Timestamp) -> BoxFuture<'_, Result<Offset, ReadError>>;

    /// The log's stretches, oldest first; the last is the one that is appended to.
    fn stretches(&self) -> Vec<Stretch>;

    /// Begins a new stretch, so that what is stored by now can be cleaned.
    fn seal(&self) -> BoxFuture<'_, Result<(), AppendError>>;

    /// Replaces everything before a position by what it adds up to and what a sieve leaves of it. Done as
    /// a whole or, after a crash too, not at all; appends and reads go on meanwhile. One at a time.
    fn clean(&self, cleaning: Cleaning) -> BoxFuture<'_, Result<(), CleanError>>;

    /// What the commits before the earliest position add up to; `None` if none were cleaned away.
    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Snapshot>, ReadError>>;

    /// Bytes stored.
    fn stored_bytes(&self) -> u64;

    /// Makes everything durable and lets go. Later calls answer `Closed`.
    fn close(&self) -> BoxFuture<'_, Result<(), AppendError>>;
}

/// Bytes of events that an owner puts into one append, but for the last batch. Large enough that a
/// sync is shared by many batches, small enough to be sure of room for it beforehand.
pub const GROUP_BYTES_MAX: u64 = 16 << 20;

/// How far the log is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    /// The position of the next commit to become durable.
    pub position: Position,
    /// The high watermark: consumers read below it.
    pub offset: Offset,
    /// Set once and for ever when the log has stopped.
    pub stopped: Option<Stop>,
}

/// Why a log takes no more appends until it is opened anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A write or sync failed: what is on the disk beyond the tail is unknown.
    Broken(String),
    /// Closed by its owner.
    Closed,
}

/// Batches for a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Whole record batches, as stored.
    pub batches: Vec<Bytes>,
    /// The offset behind the last of them; `from` if there are none.
    pub next: Offset,
    /// Everything below can be read.
    pub high_watermark: Offset,
}

/// Why an append did not happen. Addressed to the partition's worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Someone else has written: step down.
    #[error("the log is at {actual}, not at {expected}: another owner writes here")]
    Conflict {
        /// What the caller believed.
        expected: Position,
        /// Where the log is.
        actual: Position,
    },
    /// The disk is at its reserve: slow down, nothing was written.
    #[error("the disk is at its reserve")]
    Full,
    /// Stop for good: the log has to be opened anew.
    #[error("the log is broken: {0}")]
    Broken(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

/// Why a read did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Trimmed, or never written.
    #[error("{asked} is not in {earliest}..={tail}")]
    OutOfRange {
        /// What was asked for (an offset or a position).
        asked: u64,
        /// The first that is there.
        earliest: u64,
        /// The first that is not there yet.
        tail: u64,
    },
    /// Data proven durable no longer verifies: never skipped, never served.
    #[error("positions {from} to {to} are corrupt: {why}")]
    Corrupt {
        /// The first bad position.
        from: Position,
        /// The first good one behind, or the tail.
        to: Position,
        /// What does not verify.
        why: String,
    },
    /// The disk failed.
    #[error("reading failed: {0}")]
    Io(String),
    /// The log was closed.
    #[error("the log is closed")]
    Closed,
}

impl From<Stop> for AppendError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Broken(why) => Self::Broken(why),
            Stop::Closed => Self::Closed,
        }
    }
}

impl ReadError {
    fn out_of_range(asked: u64, earliest: u64, tail: u64) -> Self {
        Self::OutOfRange { asked, earliest, tail }
    }

    fn corrupt(at: Position, why: impl ToString) -> Self {
        Self::Corrupt { from: at, to: at.next(), why: why.to_string() }
    }
}
