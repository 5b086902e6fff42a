//! Appends, rolls to the next segment and closes.
//!
//! Promises: one write for one append; a segment is durable before the next one is made; the first
//! failure is the last write.

use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::sync::{Arc, MutexGuard};

use tracing::debug;
use weir_wire::ids::Position;

use super::index::{Index, Noted};
use super::state::{Shared, Writer};
use super::{Durability, files};
use crate::commit::{Commit, behind_head};
use crate::disk::DiskFile;
use crate::planted::{Bug, is_planted};
use crate::{AppendError, GROUP_BYTES_MAX, Stop};

/// Bytes of the write buffer that are kept for the next append: an ordinary group fits, and a
/// thousand idle logs hold 256 MiB at most.
const BUFFER_BYTES_KEPT: usize = 256 << 10;
/// Data of so many bytes is written from where it is; of less, a copy costs less than another piece of a
/// write.
const LENT_BYTES_MIN: usize = 8 << 10;
/// Bytes written between two looks at the free space: 64 logs in the middle of a grant use up no
/// more than the reserve.
const GRANT_BYTES: u64 = 1 << 20;
/// The reserve is at most this part of the disk: a twentieth.
const RESERVE_SHARE: u64 = 20;

/// The row of all bytes: those of `buffer`, with what was lent in its places.
fn pieces<'a>(buffer: &'a [u8], lent: &[(usize, &'a [u8])]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::with_capacity(2 * lent.len() + 1);
    let mut from = 0;
    for &(at, data) in lent {
        pieces.extend([&buffer[from..at], data]);
        from = at;
    }
    pieces.push(&buffer[from..]);
    pieces
}

impl Shared {
    pub(super) fn append(
        self: &Arc<Self>,
        expected: Position,
        commits: &[Commit],
    ) -> Result<(), AppendError> {
        let mut writer = self.writer()?;
        let (begin, synced) = {
            let state = self.state();
            if let Some(stop) = &state.stopped {
                return Err(stop.clone().into());
            }
            (state.active.end, state.synced)
        };
        if expected != begin.position {
            return Err(AppendError::Conflict { expected, actual: begin.position });
        }
        let Writer { encoder, buffer, noted, granted_bytes } = &mut *writer;
        if commits.is_empty() {
            return self.find_room(granted_bytes, GROUP_BYTES_MAX);
        }
        buffer.clear();
        noted.clear();
        let mut chain = begin;
        // Data that is written from where it is, and where in the buffer it belongs.
        let mut lent: Vec<(usize, &[u8])> = Vec::new();
        for commit in commits {
            let from = buffer.len();
            // A commit that cannot follow is a defect of the caller: better stop than store it.
            chain = chain
                .extend_up_to_head(commit, synced, encoder, buffer)
                .map_err(|why| self.broken("a commit was refused", why))?;
            let data = behind_head(commit);
            let bytes = buffer.len() - from + data.len();
            match data.len() {
                ..LENT_BYTES_MIN => buffer.extend_from_slice(data),
                _ => lent.push((buffer.len(), data)),
            }
            noted.push(Noted {
                end: chain,
                time: commit.time,
                first_offset: commit.first_offset,
                max_timestamp: commit.max_timestamp,
                bytes: bytes as u64,
            });
        }
        let bytes = noted.iter().map(|noted| noted.bytes).sum();
        self.find_room(granted_bytes, bytes)?;
        *granted_bytes = granted_bytes.saturating_sub(bytes);
        self.write(&pieces(buffer, &lent), bytes, noted)?;
        buffer.clear();
        buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Writes one group behind everything else, in a new segment if the active one is full.
    fn write(
        self: &Arc<Self>,
        pieces: &[&[u8]],
        bytes: u64,
        noted: &[Noted],
    ) -> Result<(), AppendError> {
        let (mut file, mut place, must_roll) = {
            let state = self.state();
            (Arc::clone(&state.active_file), state.active.bytes, state.must_roll)
        };
        let is_full = place + bytes > self.options.segment_bytes;
        if place > 0 && (is_full || must_roll) {
            self.roll()?;
            file = Arc::clone(&self.state().active_file);
            place = 0;
        }
        file.write_pieces_at(pieces, place)
            .map_err(|error| self.write_failed(file.as_ref(), place, error))?;
        let mut state = self.state();
        // A sync may have failed meanwhile: then the caller must not count on this write.
        if let Some(stop) = &state.stopped {
            return Err(stop.clone().into());
        }
        for noted in noted {
            state.active.note(*noted, self.options.index_interval_bytes);
        }
        match self.options.durability {
            Durability::Durable => {
                let end = state.active.end;
                self.begin_sync(&mut state);
                drop(state);
                if is_planted(Bug::AckBeforeSync) {
                    self.advance_tail(end);
                }
            }
            Durability::Os => {
                let end = state.active.end;
                drop(state);
                self.advance_tail(end);
            }
        }
        Ok(())
    }

    /// A disk that has no room after all has harmed nothing: what it took of the group is taken
    /// off again, and the file gets no further write. After any other failure nobody knows.
    fn write_failed(&self, file: &dyn DiskFile, place: u64, error: io::Error) -> AppendError {
        let is_full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if is_full && file.truncate(place).is_ok() {
            self.state().must_roll = true;
            return AppendError::Full;
        }
        self.broken("a write failed", error)
    }

    /// Seals the active segment and begins the next.
    fn roll(&self) -> Result<(), AppendError> {
        // First all of the old one, then the name of the new one: recovery calls bad bytes in a
        // segment that is not the last corruption, and never a torn tail.
        if !is_planted(Bug::RollUnsynced) {
            self.sync_now()?;
        }
        let end = self.state().active.end;
        let file = files::create(self.disk(), &self.folder, end.position).map_err(|error| {
            match error.kind() {
                // It was not made; had it been, the name would be taken.
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => AppendError::Full,
                _ => self.broken("a segment could not be made", error),
            }
        })?;
        let sealed = {
            let mut state = self.state();
            let sealed = Arc::new(std::mem::replace(&mut state.active, Index::empty(end)));
            state.active_file = file;
            state.must_roll = false;
            state.sealed.push_back(Arc::clone(&sealed));
            sealed
        };
        let path = sealed.name().index_path(&self.folder);
        if let Err(error) = self.disk().write(&path, &sealed.encode(self.identity)) {
            debug!(path = %path.display(), %error, "no index was written; the next start reads the segment");
        }
        Ok(())
    }

    /// Keeps the reserve: it is for readers' cursors, retention and an orderly shutdown.
    fn find_room(&self, granted_bytes: &mut u64, bytes: u64) -> Result<(), AppendError> {
        if *granted_bytes < bytes {
            let space = self
                .disk()
                .space(&self.folder)
                .map_err(|error| self.broken("the free space is not known", error))?;
            let reserve = self.options.reserve_bytes.min(space.total / RESERVE_SHARE);
            let left = space.free.saturating_sub(reserve);
            if left < bytes {
                *granted_bytes = 0;
                return Err(AppendError::Full);
            }
            *granted_bytes = left.min(bytes.saturating_add(GRANT_BYTES));
        }
        Ok(())
    }

    /// Ends the active segment if there is anything in it.
    pub(super) fn seal(&self) -> Result<(), AppendError> {
        let _writer = self.writer()?;
        let is_empty = {
            let state = self.state();
            if let Some(stop) = &state.stopped {
                return Err(stop.clone().into());
            }
            state.active.bytes == 0
        };
        if is_empty { Ok(()) } else { self.roll() }
    }

    pub(super) fn close(&self) -> Result<(), AppendError> {
        let writer = self.writer()?;
        self.sync_now()?;
        self.stop(&mut self.state(), Stop::Closed);
        drop(writer);
        // A cleaning under way looks whether it may go on.
        drop(self.cleaning.lock());
        Ok(())
    }

    fn writer(&self) -> Result<MutexGuard<'_, Writer>, AppendError> {
        // Whoever panicked left the end of the file unknown.
        self.writer.lock().map_err(|_| self.broken("an append was interrupted", "a defect in weir"))
    }

    fn broken(&self, what: &str, why: impl Display) -> AppendError {
        self.stop(&mut self.state(), Stop::Broken(format!("{what}: {why}"))).into()
    }
}
