//! A partition's log as segment files on local disk: the embedded default.
//!
//! Promises: what [`PartitionLog::tail`] has passed survives a power cut (with
//! [`Durability::Durable`]); after a failed write or sync nothing more is written and the tail
//! stands still; a folder is opened as it was durable or not at all. Not here: a lock on the
//! folder: the broker locks its data directory as a whole.

#[cfg(fuzzing)]
pub mod fuzzing;
mod verify;
mod recovery;
mod clean;
mod writer;
mod reader;
mod sync;
mod state;
mod walk;
mod snapshot;
mod index;
mod files;
mod mark;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use weir_wire::ids::{Offset, Position, Timestamp};

use self::state::Shared;
pub use self::verify::{Found, Placed, Torn, Verified, verify};
use crate::blocking::{Blocking, Interrupted};
use crate::commit::{Commit, Identity, Stored};
use crate::disk::{Disk, RealDisk};
use crate::{
    AppendError, CleanError, Cleaning, Fetched, PartitionLog, ReadError, Snapshot, Stretch, Tail,
};

/// When the tail passes a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// After fdatasync: it survives a power cut.
    #[default]
    Durable,
    /// After the write: it survives the broker, but not the machine.
    Os,
}

/// What logs stand on: a disk, and whoever waits for it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Where calls go that may wait for the disk.
    pub blocking: Blocking,
}

impl Machine {
    /// The kernel's file system, and tokio's threads for blocking work.
    pub fn real() -> Self {
        Self { disk: Arc::new(RealDisk), blocking: Blocking::threads() }
    }
}

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// When the tail passes a commit.
    pub durability: Durability,
    /// A segment is followed by the next when it would grow beyond so many bytes. A group of
    /// commits is never split, so a large one makes a larger segment.
    pub segment_bytes: u64,
    /// Bytes between two commits whose place is kept in memory: what a read may skip at most.
    pub index_interval_bytes: u64,
    /// Bytes the disk must have left after an append; below, appends answer `Full`. On a small
    /// disk a twentieth of it, if that is less.
    pub reserve_bytes: u64,
    /// Whether the log may be made. `false` for one that is known to have been there: then a
    /// missing or empty one is damage.
    pub may_create: bool,
    /// At open, read everything and not only what an index does not vouch for.
    pub verify_all: bool,
    /// What the OPEN record of a new log says to people: a JSON text.
    pub open_note: Bytes,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Durable,
            // The last segment is read at start: 64 MiB verify in a few hundredths of a second, and
            // a terabyte is some 16,000 files.
            segment_bytes: 64 << 20,
            // 64 KiB are read in no more time than one seek takes; 1,024 entries a segment.
            index_interval_bytes: 64 << 10,
            // Room for the views' checkpoint, committed offsets and an orderly shutdown, and for
            // an operator to turn round in.
            reserve_bytes: 1 << 30,
            may_create: true,
            verify_all: false,
            open_note: Bytes::from_static(b"{}"),
        }
    }
}

/// Why a folder is not opened. Nothing in it was changed; an operator has to look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The disk failed, or the folder may not be read and written.
    #[error("{}: {why}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        why: String,
    },
    /// Data proven durable no longer verifies: restore this partition from a copy.
    #[error("{}: positions {from} to {to} were durable and are corrupt: {why}", path.display())]
    Corrupt {
        /// The segment.
        path: PathBuf,
        /// The first bad position.
        from: Position,
        /// The first good one behind, as far as known.
        to: Position,
        /// What does not verify.
        why: String,
    },
    /// The log was there once and is not any more: restore this partition from a copy.
    #[error("{}: the log is gone", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// A file that no log has: move it away.
    #[error("{} is not a file of this log: move it away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A segment is missing: bring it back.
    #[error("{}: a segment is missing: positions {after} to {found}", folder.display())]
    Gap {
        /// The folder.
        folder: PathBuf,
        /// The first position that is missing.
        after: Position,
        /// Where the next segment begins.
        found: Position,
    },
    /// A whole segment, of another partition or under another's name: put it where it belongs.
    #[error("{}: a segment that does not belong here: {why}", path.display())]
    Misplaced {
        /// The segment.
        path: PathBuf,
        /// How it shows.
        why: &'static str,
    },
    /// Written by a younger weir: use that one.
    #[error("{}: commit format {version} is not known to this version of weir", path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// The format's version.
        version: u8,
    },
    /// The OPEN record's note is too large: give a shorter one.
    #[error("the OPEN record cannot be written: {why}")]
    Unwritable {
        /// Why not.
        why: &'static str,
    },
}

impl OpenError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), why: error.to_string() }
    }
}

/// See the module's text. Cheap when idle: one open file, no thread, no task.
#[derive(Debug)]
pub struct SegmentLog {
    shared: Arc<Shared>,
}

impl SegmentLog {
    /// Opens the log in `folder`, or makes it there with an OPEN record at position 0. Blocks on
    /// the disk: the last segment is read and verified, of the others only their ends.
    ///
    /// The folder must be this log's alone; see [`OpenError`] for what is refused.
    pub fn open(
        machine: &Machine,
        folder: &Path,
        identity: Identity,
        options: Options,
    ) -> Result<Self, OpenError> {
        let recovered = recovery::recover(machine.disk.as_ref(), folder, identity, &options)?;
        let shared = Shared::new(machine.clone(), folder, identity, options, recovered);
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Whether the folder was copied from elsewhere since it was last written to. Copies that are
    /// made while a broker runs hold each file as of another moment.
    pub fn is_copied(&self) -> bool {
        mark::is_of_another_folder(self.shared.disk(), &self.shared.folder, self.shared.identity)
    }

    /// Runs `work` where it may wait for the disk. It ends even if the caller stops waiting.
    fn blocking<T: Send + 'static, E: Send + From<Interrupted> + 'static>(
        &self,
        work: impl FnOnce(&Arc<Shared>) -> Result<T, E> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, E>> {
        let shared = Arc::clone(&self.shared);
        let blocking = self.shared.machine.blocking.clone();
        async move {
            let done = blocking.run(move || work(&shared)).await;
            done.unwrap_or_else(|interrupted| Err(interrupted.into()))
        }
        .boxed()
    }
}

impl From<Interrupted> for AppendError {
    fn from(why: Interrupted) -> Self {
        Self::Broken(why.to_string())
    }
}

impl From<Interrupted> for CleanError {
    fn from(why: Interrupted) -> Self {
        Self::Failed(why.to_string())
    }
}

impl From<Interrupted> for ReadError {
    fn from(why: Interrupted) -> Self {
        Self::Io(why.to_string())
    }
}

impl PartitionLog for SegmentLog {
    fn append(
        &self,
        expected: Position,
        commits: Vec<Commit>,
    ) -> BoxFuture<'_, Result<(), AppendError>> {
        if commits.is_empty() {
            // No more than a look at the free space: not worth another thread's time.
            return futures::future::ready(self.shared.append(expected, &commits)).boxed();
        }
        self.blocking(move |shared| shared.append(expected, &commits))
    }

    fn tail(&self) -> watch::Receiver<Tail> {
        self.shared.tail.subscribe()
    }

    fn earliest(&self) -> (Position, Offset) {
        self.shared.earliest()
    }

    fn read(
        &self,
        from: Position,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, ReadError>> {
        self.blocking(move |shared| shared.read(from, bytes_max))
    }

    fn fetch(&self, from: Offset, bytes_max: usize) -> BoxFuture<'_, Result<Fetched, ReadError>> {
        self.blocking(move |shared| shared.fetch(from, bytes_max))
    }

    fn offset_at(&self, at: Timestamp) -> BoxFuture<'_, Result<Offset, ReadError>> {
        self.blocking(move |shared| shared.offset_at(at))
    }

    fn stretches(&self) -> Vec<Stretch> {
        self.shared.stretches()
    }

    fn seal(&self) -> BoxFuture<'_, Result<(), AppendError>> {
        self.blocking(move |shared| shared.seal())
    }

    fn clean(&self, cleaning: Cleaning) -> BoxFuture<'_, Result<(), CleanError>> {
        self.blocking(move |shared| shared.clean(cleaning))
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Snapshot>, ReadError>> {
        self.blocking(move |shared| shared.snapshot())
    }

    fn stored_bytes(&self) -> u64 {
        self.shared.stored_bytes()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), AppendError>> {
        self.blocking(|shared| shared.close())
    }
}

#[cfg(test)]
mod tests;
