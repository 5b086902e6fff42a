//! How a log gets rid of what nobody needs any more: the words of retention and compaction.
//!
//! A log is cleaned up to a position: a *snapshot* then stands for what all before it adds up to, and
//! of the commits themselves only that is left which the *sieve* keeps, at their old positions and
//! offsets. Which stretches, and what of them, is the caller's: a log does not know what events mean.

use std::fmt::Debug;

use bytes::Bytes;
use weir_wire::ids::{Offset, Position, Timestamp};

use crate::commit::{Commit, Stored};
use crate::{ReadError, Stop};

/// A piece of a log that is cleaned as a whole, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Its first position.
    pub first: Position,
    /// The position behind its last commit.
    pub end: Position,
    /// The offset of its first event.
    pub first_offset: Offset,
    /// The offset behind its last event.
    pub next_offset: Offset,
    /// Bytes stored.
    pub bytes: u64,
    /// The partition time of its first commit.
    pub first_time: Timestamp,
    /// The partition time of its last commit.
    pub last_time: Timestamp,
    /// Whether it is what a cleaning left.
    pub is_clean: bool,
    /// Whether nothing is appended to it any more.
    pub is_sealed: bool,
}

/// What a log is to be cleaned to.
#[derive(Debug)]
pub struct Cleaning {
    /// Everything before is cleaned: the end of a sealed stretch, not before an earlier cleaning's.
    pub below: Position,
    /// The first offset that may be fetched from then on; never falls.
    pub start: Offset,
    /// What everything before `below` adds up to, in pieces.
    pub view: Vec<Bytes>,
    /// What the cleaner wants to know the next time.
    pub note: Bytes,
    /// What is left of the commits.
    pub sieve: Box<dyn Sieve>,
}

/// Decides what a cleaning leaves.
pub trait Sieve: Debug + Send {
    /// Whether anything of the stretch may stay; one of which nothing does is not read.
    fn wants(&self, stretch: &Stretch) -> bool;

    /// What stays of a commit, which is asked for each in order; `None` is nothing. First offset, time
    /// and chain stay as they are. An error ends the cleaning, and nothing happened.
    fn keep(&mut self, stored: Stored) -> Result<Option<Commit>, String>;
}

/// What everything before a position adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Everything before is in it.
    pub position: Position,
    /// See [`Cleaning::view`].
    pub view: Vec<Bytes>,
    /// See [`Cleaning::note`].
    pub note: Bytes,
}

/// Why a log was not cleaned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CleanError {
    /// Nothing happened: try again later.
    #[error("nothing was cleaned: {0}")]
    Failed(String),
    /// What was to be cleaned cannot be read; nothing happened.
    #[error("nothing was cleaned: {0}")]
    Unreadable(#[from] ReadError),
    /// The log takes no more; what the next start finds is either as before or cleaned.
    #[error("the log has stopped: {0:?}")]
    Stopped(Stop),
}
