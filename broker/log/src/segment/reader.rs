//! Reads what is durable, by positional reads that share nothing with the writer but the tail.
//!
//! Promises: nothing at or beyond the tail is handed out; what does not verify is reported and
//! never skipped. Sealed segments are opened for the read, so that a log with a thousand of them
//! holds one file; a reader that has one open keeps it when it is cleaned away.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use weir_wire::ids::{Offset, Position, Timestamp};

use super::files::Name;
use super::index::{Entry, Index};
use super::state::Shared;
use super::walk::{Obstacle, Walk, good_again};
use crate::commit::{Chain, Envelope, Identity, Stored};
use crate::disk::{Access, DiskFile};
use crate::planted::{Bug, is_planted};
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

/// Times a read begins anew because the segment it found was cleaned before it could open it. Each
/// time is a whole cleaning in between.
const CLEANED_MEANWHILE_MAX: u32 = 8;

/// What `attempt` finds where no cleaning comes in between.
fn until_whole<T>(
    mut attempt: impl FnMut() -> Result<Option<T>, ReadError>,
) -> Result<T, ReadError> {
    for _ in 0..CLEANED_MEANWHILE_MAX {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
    }
    Err(ReadError::Io("the log was cleaned again and again meanwhile; try again".to_owned()))
}

/// How far a walk came.
#[derive(PartialEq, Eq)]
enum Reached {
    /// Everything durable was handed out.
    Tail,
    /// The caller has enough.
    Break,
    /// The log was cleaned under the reader's feet: what it has is whole.
    Cleaned,
}

/// Where in which file a read begins.
struct Start {
    /// `None`: a sealed segment's, still to be opened.
    file: Option<Arc<dyn DiskFile>>,
    name: Name,
    entry: Entry,
    /// What the commit at `entry` must follow.
    chain: Chain,
    /// Bytes written.
    bytes: u64,
    /// The position behind the last commit.
    end: Position,
    /// Bytes from `entry` on that are whole commits, about as many as are wanted.
    whole_bytes: usize,
}

impl Start {
    fn of(
        index: &Index,
        identity: Identity,
        target: Target,
        file: Option<&Arc<dyn DiskFile>>,
        chunk_bytes: usize,
    ) -> Option<Self> {
        let entry = match target {
            Target::Position(position) => index.before_position(position),
            Target::Offset(offset) => index.before_offset(offset),
            Target::Time(at) if index.max_timestamp < at => None,
            Target::Time(at) => index.before_time(at),
        }?;
        let chain = index.chain_at(identity, entry.position);
        let (name, bytes, end) = (index.name(), index.bytes, index.end.position);
        let whole_bytes = index.whole_bytes(entry.place, chunk_bytes);
        Some(Self { file: file.cloned(), name, entry, chain, bytes, end, whole_bytes })
    }
}

impl Shared {
    pub(super) fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        until_whole(|| self.try_to_read(from, bytes_max))
    }

    fn try_to_read(
        &self,
        from: Position,
        bytes_max: usize,
    ) -> Result<Option<Vec<Stored>>, ReadError> {
        let tail = self.readable_tail()?;
        let earliest = self.earliest().0;
        let out_of_range = || ReadError::out_of_range(from.0, earliest.0, tail.position.0);
        if from > tail.position {
            return Err(out_of_range());
        }
        let is_cleaned = from < earliest;
        let mut left = bytes_max;
        let mut commits: Vec<Stored> = Vec::new();
        let reached = self.walk_from(&tail, bytes_max, Target::Position(from), |envelope, _| {
            if envelope.link.position < from {
                return Ok(ControlFlow::Continue(()));
            }
            if is_cleaned && envelope.link.position != from {
                return Ok(ControlFlow::Break(()));
            }
            if !commits.is_empty() && envelope.bytes > left {
                return Ok(ControlFlow::Break(()));
            }
            left = left.saturating_sub(envelope.bytes);
            let at = envelope.link.position;
            commits.push(envelope.open().map_err(|why| ReadError::corrupt(at, why))?);
            Ok(if is_cleaned { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        match (commits.is_empty(), reached) {
            (true, Reached::Cleaned) => Ok(None),
            (true, _) if is_cleaned => Err(out_of_range()),
            _ => Ok(Some(commits)),
        }
    }

    pub(super) fn fetch(&self, from: Offset, bytes_max: usize) -> Result<Fetched, ReadError> {
        until_whole(|| self.try_to_fetch(from, bytes_max))
    }

    fn try_to_fetch(&self, from: Offset, bytes_max: usize) -> Result<Option<Fetched>, ReadError> {
        let tail = self.readable_tail()?;
        let earliest = self.earliest().1;
        if from < earliest || from > tail.offset {
            return Err(ReadError::out_of_range(from.0, earliest.0, tail.offset.0));
        }
        let mut left = bytes_max;
        let mut fetched = Fetched { batches: Vec::new(), next: from, high_watermark: tail.offset };
        if from == tail.offset {
            return Ok(Some(fetched));
        }
        let reached =
            self.walk_from(&tail, bytes_max, Target::Offset(from), |envelope, is_drained| {
                if envelope.next_offset() <= from || envelope.data.is_empty() {
                    return Ok(ControlFlow::Continue(()));
                }
                if !fetched.batches.is_empty() && envelope.data.len() > left {
                    return Ok(ControlFlow::Break(()));
                }
                left = left.saturating_sub(envelope.data.len());
                fetched.next = envelope.next_offset();
                fetched.batches.push(envelope.data);
                // What is behind a whole read would be read, verified, and found to be too much.
                let has_enough = left == 0 || (is_drained && bytes_max <= CHUNK_BYTES_MAX);
                Ok(if has_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
            })?;
        match reached {
            // What lies between the last batch and the tail was cleaned away.
            Reached::Tail => fetched.next = tail.offset,
            Reached::Cleaned if fetched.batches.is_empty() => return Ok(None),
            Reached::Cleaned | Reached::Break => {}
        }
        Ok(Some(fetched))
    }

    pub(super) fn offset_at(&self, at: Timestamp) -> Result<Offset, ReadError> {
        until_whole(|| self.try_to_find(at))
    }

    fn try_to_find(&self, at: Timestamp) -> Result<Option<Offset>, ReadError> {
        let tail = self.readable_tail()?;
        let (mut found, start) = (tail.offset, self.earliest().1);
        let reached = self.walk_from(&tail, CHUNK_BYTES_MIN, Target::Time(at), |envelope, _| {
            // Events that retention removed may still be in the segment that holds its first.
            if envelope.next_offset() <= start {
                return Ok(ControlFlow::Continue(()));
            }
            let position = envelope.link.position;
            match envelope.offset_at(at).map_err(|why| ReadError::corrupt(position, why))? {
                None => Ok(ControlFlow::Continue(())),
                Some(offset) => {
                    found = offset;
                    Ok(ControlFlow::Break(()))
                }
            }
        })?;
        Ok((reached != Reached::Cleaned).then_some(found))
    }

    fn readable_tail(&self) -> Result<Tail, ReadError> {
        let mut tail = self.tail.borrow().clone();
        if is_planted(Bug::ReadBeforeSync) {
            let written = self.state().active.end;
            (tail.position, tail.offset) = (written.position, written.offset);
        }
        if tail.stopped == Some(Stop::Closed) { Err(ReadError::Closed) } else { Ok(tail) }
    }

    /// Hands durable commits to `each`, from the last known place before `target` on, until `each`
    /// breaks or the tail is reached. `each` hears, too, whether all that was read was handed out.
    fn walk_from(
        &self,
        tail: &Tail,
        bytes_max: usize,
        target: Target,
        mut each: impl FnMut(Envelope, bool) -> Result<ControlFlow<()>, ReadError>,
    ) -> Result<Reached, ReadError> {
        let chunk_bytes = bytes_max.clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let Some(mut at) = self.start(target, chunk_bytes) else { return Ok(Reached::Tail) };
        let Some(mut file) = self.open_for_reading(&at)? else { return Ok(Reached::Cleaned) };
        loop {
            let mut walk =
                Walk::new(file.as_ref(), at.entry.place, at.bytes, at.chain, chunk_bytes)
                    .reading_first(at.whole_bytes);
            while walk.chain.position < tail.position {
                match walk.next() {
                    Ok(Some(envelope)) => {
                        if each(envelope, walk.is_drained())?.is_break() {
                            return Ok(Reached::Break);
                        }
                    }
                    Ok(None) => break,
                    Err(obstacle) => return Err(self.unreadable(walk, tail, obstacle)),
                }
            }
            let reached = walk.chain.position;
            if tail.position <= reached {
                return Ok(Reached::Tail);
            }
            if reached != at.end {
                let why = "the segment ends too early";
                return Err(ReadError::corrupt(reached, why));
            }
            let Some(next) = self.start_behind(at.name, reached, chunk_bytes) else {
                return Ok(Reached::Cleaned);
            };
            match self.open_for_reading(&next)? {
                Some(opened) => (at, file) = (next, opened),
                None => return Ok(Reached::Cleaned),
            }
        }
    }

    fn start(&self, target: Target, chunk_bytes: usize) -> Option<Start> {
        let state = self.state();
        let identity = self.identity;
        let of =
            |index: &Index, target, file| Start::of(index, identity, target, file, chunk_bytes);
        let active = || of(&state.active, target, Some(&state.active_file));
        let in_sealed = |n: usize| of(state.sealed.get(n)?, target, None);
        // The last segment that begins before the target; of times, the first that reaches it.
        let behind = match target {
            Target::Position(position) => state.sealed.partition_point(|one| one.base <= position),
            Target::Offset(offset) => state.sealed.partition_point(|one| one.base_offset <= offset),
            Target::Time(_) => {
                return (0..state.sealed.len()).find_map(in_sealed).or_else(active);
            }
        };
        let last = || in_sealed(behind.checked_sub(1)?);
        // What lies before the first of an offset's was cleaned away; reading begins behind that.
        let first = || match (target, state.sealed.front()) {
            (Target::Offset(_), Some(first)) => of(first, Target::Position(first.base), None),
            (Target::Offset(_), None) => {
                let base = Target::Position(state.active.base);
                of(&state.active, base, Some(&state.active_file))
            }
            _ => None,
        };
        active().or_else(last).or_else(first)
    }

    /// The beginning of the segment behind the one with this name, all of which was read up to
    /// `reached`; `None` if they were cleaned meanwhile: what the reader has is whole, and its next
    /// read will find what there is now.
    fn start_behind(&self, name: Name, reached: Position, chunk_bytes: usize) -> Option<Start> {
        let state = self.state();
        let at = state.sealed.iter().position(|index| index.name() == name)?;
        let (next, file) = match state.sealed.get(at + 1) {
            Some(next) => (&**next, None),
            None => (&state.active, Some(&state.active_file)),
        };
        let follows = match name.generation {
            Some(_) => reached <= next.base,
            None => reached == next.base,
        };
        Start::of(next, self.identity, Target::Position(next.base), file, chunk_bytes)
            .filter(|_| follows)
    }

    /// `None` if the segment was cleaned away meanwhile.
    fn open_for_reading(&self, at: &Start) -> Result<Option<Arc<dyn DiskFile>>, ReadError> {
        if let Some(file) = &at.file {
            return Ok(Some(Arc::clone(file)));
        }
        match self.machine.disk.open(&at.name.path(&self.folder), Access::Read) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.has(at.name) => Ok(None),
            Err(error) => Err(ReadError::Io(error.to_string())),
        }
    }

    fn has(&self, name: Name) -> bool {
        self.state().sealed.iter().any(|index| index.name() == name)
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
