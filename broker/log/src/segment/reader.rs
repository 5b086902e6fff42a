//! Reads what is durable, by positional reads that share nothing with the writer but the tail.
//!
//! Promises: nothing at or beyond the tail is handed out; what does not verify is reported and
//! never skipped. Sealed segments are opened for the read, so that a log with a thousand of them
//! holds one file; a reader that has one open keeps it when it is trimmed.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_wire::ids::{Offset, Position, Timestamp};

use super::files;
use super::index::{Entry, Index};
use super::state::Shared;
use super::walk::{Obstacle, Walk, good_again};
use crate::commit::{Chain, Envelope, Stored};
use crate::disk::{Access, DiskFile};
use crate::{Fetched, ReadError, Stop, Tail};

/// Bytes of one read from a file, at least: smaller ones cost as much.
const CHUNK_BYTES_MIN: usize = 64 << 10;
/// And at most: what a slow reader holds.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// What a read looks for.
#[derive(Clone, Copy)]
enum Target {
    Position(Position),
    Offset(Offset),
    Time(Timestamp),
}

/// Where in which file a read begins.
struct Start {
    /// `None`: a sealed segment's, still to be opened.
    file: Option<Arc<dyn DiskFile>>,
    base: Position,
    entry: Entry,
    /// Bytes written.
    bytes: u64,
    /// The position behind the last commit.
    end: Position,
}

impl Start {
    fn of(index: &Index, target: Target, file: Option<&Arc<dyn DiskFile>>) -> Option<Self> {
        let entry = match target {
            Target::Position(position) => index.before_position(position),
            Target::Offset(offset) => index.before_offset(offset),
            Target::Time(at) if index.max_timestamp < at => None,
            Target::Time(at) => index.before_time(at),
        }?;
        let (base, bytes, end) = (index.base, index.bytes, index.end.position);
        Some(Self { file: file.cloned(), base, entry, bytes, end })
    }
}

impl Shared {
    pub(super) fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let tail = self.readable_tail()?;
        let earliest = self.earliest().0;
        if from < earliest || from > tail.position {
            return Err(ReadError::out_of_range(from.0, earliest.0, tail.position.0));
        }
        let mut left = bytes_max;
        let mut commits: Vec<Stored> = Vec::new();
        self.walk_from(&tail, bytes_max, Target::Position(from), |envelope| {
            if envelope.link.position < from {
                return Ok(ControlFlow::Continue(()));
            }
            if !commits.is_empty() && envelope.bytes > left {
                return Ok(ControlFlow::Break(()));
            }
            left = left.saturating_sub(envelope.bytes);
            let at = envelope.link.position;
            commits.push(envelope.open().map_err(|why| ReadError::corrupt(at, why))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(commits)
    }

    pub(super) fn fetch(&self, from: Offset, bytes_max: usize) -> Result<Fetched, ReadError> {
        let tail = self.readable_tail()?;
        let earliest = self.earliest().1;
        if from < earliest || from > tail.offset {
            return Err(ReadError::out_of_range(from.0, earliest.0, tail.offset.0));
        }
        let mut left = bytes_max;
        let mut fetched = Fetched { batches: Vec::new(), next: from, high_watermark: tail.offset };
        if from == tail.offset {
            return Ok(fetched);
        }
        self.walk_from(&tail, bytes_max, Target::Offset(from), |envelope| {
            if envelope.next_offset() <= from || envelope.data.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
            if !fetched.batches.is_empty() && envelope.data.len() > left {
                return Ok(ControlFlow::Break(()));
            }
            left = left.saturating_sub(envelope.data.len());
            fetched.next = envelope.next_offset();
            fetched.batches.push(envelope.data);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(fetched)
    }

    pub(super) fn offset_at(&self, at: Timestamp) -> Result<Offset, ReadError> {
        let tail = self.readable_tail()?;
        let mut found = tail.offset;
        self.walk_from(&tail, CHUNK_BYTES_MIN, Target::Time(at), |envelope| {
            let position = envelope.link.position;
            match envelope.offset_at(at).map_err(|why| ReadError::corrupt(position, why))? {
                None => Ok(ControlFlow::Continue(())),
                Some(offset) => {
                    found = offset;
                    Ok(ControlFlow::Break(()))
                }
            }
        })?;
        Ok(found)
    }

    fn readable_tail(&self) -> Result<Tail, ReadError> {
        let tail = self.tail.borrow().clone();
        if tail.stopped == Some(Stop::Closed) { Err(ReadError::Closed) } else { Ok(tail) }
    }

    /// Hands durable commits to `each`, from the last known place before `target` on, until `each`
    /// breaks or the tail is reached.
    fn walk_from(
        &self,
        tail: &Tail,
        bytes_max: usize,
        target: Target,
        mut each: impl FnMut(Envelope) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<(), ReadError> {
        let chunk_bytes = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let Some(mut at) = self.start(target) else { return Ok(()) };
        let mut chain = Chain::beginning_at(self.identity, at.entry.position);
        loop {
            let file = self.open_for_reading(&at, tail)?;
            let mut walk = Walk::new(file.as_ref(), at.entry.place, at.bytes, chain, chunk_bytes);
            while walk.chain.position < tail.position {
                match walk.next() {
                    Ok(Some(envelope)) => {
                        if each(envelope)?.is_break() {
                            return Ok(());
                        }
                    }
                    Ok(None) => break,
                    Err(obstacle) => return Err(self.unreadable(walk, tail, obstacle)),
                }
            }
            chain = walk.chain;
            if tail.position <= chain.position {
                return Ok(());
            }
            if chain.position != at.end {
                let why = "the segment ends too early";
                return Err(ReadError::corrupt(chain.position, why));
            }
            match self.start(Target::Position(chain.position)) {
                Some(next) if next.entry.position == chain.position => at = next,
                // Trimmed under the reader's feet: what it has is whole, the next read will know.
                _ => return Ok(()),
            }
        }
    }

    fn start(&self, target: Target) -> Option<Start> {
        let state = self.state();
        let active = || Start::of(&state.active, target, Some(&state.active_file));
        let in_sealed = |n: usize| Start::of(state.sealed.get(n)?, target, None);
        // The last segment that begins before the target; of times, the first that reaches it.
        let behind = match target {
            Target::Position(position) => state.sealed.partition_point(|one| one.base <= position),
            Target::Offset(offset) => state.sealed.partition_point(|one| one.base_offset <= offset),
            Target::Time(_) => {
                return (0..state.sealed.len()).find_map(in_sealed).or_else(active);
            }
        };
        active().or_else(|| in_sealed(behind.checked_sub(1)?))
    }

    fn open_for_reading(&self, at: &Start, tail: &Tail) -> Result<Arc<dyn DiskFile>, ReadError> {
        if let Some(file) = &at.file {
            return Ok(Arc::clone(file));
        }
        let path = files::segment_path(&self.folder, at.base);
        self.machine.disk.open(&path, Access::Read).map_err(|error| {
            let earliest = self.earliest().0;
            if error.kind() == io::ErrorKind::NotFound && at.base < earliest {
                return ReadError::out_of_range(at.base.0, earliest.0, tail.position.0);
            }
            ReadError::Io(error.to_string())
        })
    }

    fn unreadable(&self, walk: Walk<'_>, tail: &Tail, obstacle: Obstacle) -> ReadError {
        if let Obstacle::Io(error) = obstacle {
            return ReadError::Io(error.to_string());
        }
        let from = walk.chain.position;
        let to = good_again(walk, self.identity, tail.position).min(tail.position);
        ReadError::Corrupt { from, to, why: obstacle.to_string() }
    }
}
