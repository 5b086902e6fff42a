//! Cleans: writes what is left of old segments into new ones, and the snapshot that puts them in
//! their place.
//!
//! ```text
//! write and sync clean segments ─▶ write and sync the snapshot ─▶ rename it ─▶ serve ─▶ remove the old
//! ```
//! Promises: the rename is the moment: before it a crash leaves all as it was, behind it all is
//! cleaned, and the next start removes what is too much. A failure before it harms nothing.

use std::io;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tracing::{debug, warn};
use weir_wire::ids::Position;

use super::files::{self, Generation, Name};
use super::index::{Index, Noted};
use super::snapshot::{self, Clean, Damaged, Head};
use super::state::Shared;
use super::walk::{Obstacle, Walk};
use crate::commit::{Chain, Commit, Encoder};
use crate::disk::{Access, DiskFile};
use crate::{CleanError, Cleaning, ReadError, Sieve, Snapshot, Stop};

/// Bytes read and written at a time.
const CHUNK_BYTES: usize = 1 << 20;
/// The part of the reserve that a cleaning leaves alone when it copies events: a half. Dropping
/// whole segments makes room and may use all of it.
const RESERVE_KEPT_SHARE: u64 = 2;

/// What a cleaning begins with.
struct Before {
    /// Everything before its end.
    segments: Vec<Arc<Index>>,
    /// The end of all of it.
    end: Chain,
    /// The snapshot that is replaced.
    head: Option<Arc<Head>>,
}

impl Shared {
    pub(super) fn clean(&self, cleaning: Cleaning) -> Result<(), CleanError> {
        let _turn = self.cleaning.lock().unwrap_or_else(PoisonError::into_inner);
        let Cleaning { below, start, view, note, mut sieve } = cleaning;
        let Before { segments: old, end: chain, head: before } = self.to_clean(below)?;
        let start_before = before.as_ref().map_or_else(Default::default, |head| head.start);
        if start < start_before || chain.offset < start {
            let why = format!("offset {start} cannot be the first: {start_before} was");
            return Err(CleanError::Failed(why));
        }
        let generation = Generation(before.as_ref().map_or(1, |head| head.generation.0 + 1));
        let copied: u64 = old
            .iter()
            .filter(|index| sieve.wants(&index.stretch(true)))
            .map(|index| index.bytes)
            .sum();
        self.find_room_to_clean(copied, view.iter().map(|piece| piece.len() as u64).sum())?;

        let written = self.write_clean(&old, generation, &mut *sieve)?;
        let clean = written.iter().map(|index| Clean::of(index)).collect();
        let head = Head::new(generation, chain, start, note, clean, &view);
        self.name_snapshot(&head, &view).inspect_err(|error| self.take_back(error, &written))?;
        for index in &written {
            let path = index.name().index_path(&self.folder);
            if let Err(error) = self.disk().write(&path, &index.encode(self.identity)) {
                debug!(path = %path.display(), %error, "no index was written; the next start reads the segment");
            }
        }
        {
            let mut state = self.state();
            let behind = state.sealed.iter().filter(|index| below <= index.base);
            state.sealed = written.into_iter().chain(behind.cloned()).collect();
            state.snapshot = Some(Arc::new(head));
        }
        self.remove(old.iter().map(|index| index.name()));
        if let Some(before) = before {
            let path = files::snapshot_path(&self.folder, before.chain.position, before.generation);
            if let Err(error) = self.disk().unlink(&path) {
                warn!(path = %path.display(), %error, "a snapshot that was replaced could not be removed; the next start does");
            }
        }
        Ok(())
    }

    /// What is left of `old`, in segments that are durable, as are their names.
    fn write_clean(
        &self,
        old: &[Arc<Index>],
        generation: Generation,
        sieve: &mut dyn Sieve,
    ) -> Result<Vec<Arc<Index>>, CleanError> {
        let mut output = Output { log: self, generation, written: Vec::new(), open: None };
        let written = old
            .iter()
            .try_for_each(|index| self.thin_out(index, sieve, &mut output))
            .and_then(|()| output.finish())
            .and_then(|()| self.disk().sync_folder(&self.folder).map_err(failed));
        match written {
            Ok(()) => Ok(output.written),
            Err(error) => {
                output.remove();
                Err(error)
            }
        }
    }

    /// The moment at which the log is cleaned.
    fn name_snapshot(&self, head: &Head, view: &[Bytes]) -> Result<(), CleanError> {
        let named = snapshot::write(self.disk(), &self.folder, self.identity, head, view);
        // Where it has its name, and nobody knows whether it will after a power cut, the log stops.
        named.map_err(failed)?.map_err(|error| {
            let why = format!("a snapshot could not be made durable: {error}");
            CleanError::Stopped(self.stop(&mut self.state(), Stop::Broken(why)))
        })
    }

    /// Removes what was written for a snapshot that did not get its name.
    fn take_back(&self, error: &CleanError, written: &[Arc<Index>]) {
        // One that may have it speaks of these: the next start finds out.
        if matches!(error, CleanError::Failed(_)) {
            self.remove(written.iter().map(|index| index.name()));
        }
    }

    fn to_clean(&self, below: Position) -> Result<Before, CleanError> {
        let state = self.state();
        if let Some(stop) = &state.stopped {
            return Err(CleanError::Stopped(stop.clone()));
        }
        let old: Vec<_> =
            state.sealed.iter().take_while(|index| index.base < below).cloned().collect();
        let last = old.iter().rev().find(|index| index.generation.is_none());
        let end = last
            .map(|index| index.end)
            .or_else(|| state.snapshot.as_ref().map(|head| head.chain))
            .filter(|end| end.position == below && below <= state.synced);
        let end = end.ok_or_else(|| {
            CleanError::Failed(format!("no sealed stretch that is durable ends at {below}"))
        })?;
        Ok(Before { segments: old, end, head: state.snapshot.clone() })
    }

    fn find_room_to_clean(&self, copied: u64, view: u64) -> Result<(), CleanError> {
        let space = self.disk().space(&self.folder).map_err(failed)?;
        let reserve = match copied {
            0 => 0,
            _ => self.options.reserve_bytes / RESERVE_KEPT_SHARE,
        };
        let needed = copied.saturating_add(view).saturating_add(reserve);
        if space.free < needed {
            let why = format!("it takes {needed} bytes of room and {} are free", space.free);
            return Err(CleanError::Failed(why));
        }
        Ok(())
    }

    /// Hands the commits of a segment to the sieve, and what it keeps to the output.
    fn thin_out(
        &self,
        index: &Index,
        sieve: &mut dyn Sieve,
        output: &mut Output<'_>,
    ) -> Result<(), CleanError> {
        if !sieve.wants(&index.stretch(true)) {
            return Ok(());
        }
        let path = index.name().path(&self.folder);
        let file = self.disk().open(&path, Access::Read).map_err(failed)?;
        let chain = index.chain_at(self.identity, index.base);
        let mut walk = Walk::new(file.as_ref(), 0, index.bytes, chain, CHUNK_BYTES);
        loop {
            let at = walk.chain.position;
            let corrupt = |why: String| CleanError::Unreadable(ReadError::corrupt(at, why));
            let envelope = match walk.next() {
                Ok(Some(envelope)) => envelope,
                Ok(None) => break,
                Err(Obstacle::Io(error)) => return Err(failed(error)),
                Err(obstacle) => return Err(corrupt(obstacle.to_string())),
            };
            let stored = envelope.open().map_err(|why| corrupt(why.to_string()))?;
            let position = stored.position;
            if let Some(kept) = sieve.keep(stored).map_err(CleanError::Failed)? {
                output.push(position, &kept)?;
            }
        }
        if walk.chain != index.end {
            let why = "the segment ends elsewhere than it did".to_owned();
            return Err(ReadError::corrupt(walk.chain.position, why).into());
        }
        Ok(())
    }

    /// Takes segments away that nobody needs. A file that stays is removed by the next start.
    fn remove(&self, names: impl Iterator<Item = Name>) {
        for name in names {
            // The index goes first: one without a segment would never be looked at again.
            let _ = self.disk().unlink(&name.index_path(&self.folder));
            let path = name.path(&self.folder);
            if let Err(error) = self.disk().unlink(&path) {
                warn!(path = %path.display(), %error, "a segment that was cleaned could not be removed; the next start does");
            }
        }
    }

    pub(super) fn snapshot(&self) -> Result<Option<Snapshot>, ReadError> {
        let head = {
            let state = self.state();
            if state.stopped == Some(Stop::Closed) {
                return Err(ReadError::Closed);
            }
            state.snapshot.clone()
        };
        let Some(head) = head else { return Ok(None) };
        let (position, generation) = (head.chain.position, head.generation);
        let path = files::snapshot_path(&self.folder, position, generation);
        let read = snapshot::open(self.disk(), &path, self.identity).and_then(|(found, file)| {
            if found != *head {
                return Err(Damaged::Invalid("it is another one than it was"));
            }
            snapshot::read_view(&found, file.as_ref())
        });
        match read {
            Ok(view) => Ok(Some(Snapshot { position, view, note: head.note.clone() })),
            Err(Damaged::Io(error)) => Err(ReadError::Io(error.to_string())),
            Err(Damaged::Invalid(why)) => {
                Err(ReadError::Corrupt { from: Position(0), to: position, why: why.to_owned() })
            }
        }
    }
}

impl Clean {
    fn of(index: &Index) -> Self {
        let generation = index.generation.unwrap_or(Generation(0));
        Self { base: index.base, generation, end: index.end, bytes: index.bytes }
    }
}

fn failed(error: io::Error) -> CleanError {
    CleanError::Failed(error.to_string())
}

/// The segments that a cleaning writes.
struct Output<'a> {
    log: &'a Shared,
    generation: Generation,
    written: Vec<Arc<Index>>,
    open: Option<Open>,
}

/// The one that grows.
struct Open {
    file: Arc<dyn DiskFile>,
    index: Index,
    encoder: Encoder,
    /// Of commits that are in the index and not in the file yet.
    buffer: Vec<u8>,
    /// Where it goes.
    place: u64,
}

impl Output<'_> {
    fn push(&mut self, at: Position, commit: &Commit) -> Result<(), CleanError> {
        if let Some(stop) = &self.log.state().stopped {
            return Err(CleanError::Stopped(stop.clone()));
        }
        let is_full = |open: &Open| self.log.options.segment_bytes <= open.index.bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.finish()?;
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(at)?,
        };
        let from = open.buffer.len();
        let end = open
            .index
            .end
            .extend_sparse(at, commit, &mut open.encoder, &mut open.buffer)
            .map_err(|why| CleanError::Failed(why.to_string()))?;
        let noted = Noted {
            end,
            time: commit.time,
            first_offset: commit.first_offset,
            max_timestamp: commit.max_timestamp,
            bytes: (open.buffer.len() - from) as u64,
        };
        open.index.note(noted, self.log.options.index_interval_bytes);
        let flushed = if CHUNK_BYTES <= open.buffer.len() { open.flush() } else { Ok(()) };
        self.open = Some(open);
        flushed
    }

    fn begin(&self, base: Position) -> Result<Open, CleanError> {
        let name = Name { base, generation: Some(self.generation) };
        let path = name.path(&self.log.folder);
        match self.log.disk().unlink(&path) {
            // What an attempt before could not take away.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file = self.log.disk().create(&path).map_err(failed)?;
        let chain = Chain::sparse_at(self.log.identity, base);
        let index = Index::empty_clean(chain, self.generation);
        Ok(Open { file, index, encoder: Encoder::default(), buffer: Vec::new(), place: 0 })
    }

    /// Makes the segment that grows durable, if there is one.
    fn finish(&mut self) -> Result<(), CleanError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.flush()?;
        open.file.sync().map_err(failed)?;
        self.written.extend(self.open.take().map(|open| Arc::new(open.index)));
        Ok(())
    }

    /// Takes everything back.
    fn remove(&self) {
        let open = self.open.as_ref().map(|open| open.index.name());
        self.log.remove(self.written.iter().map(|index| index.name()).chain(open));
    }
}

impl Open {
    fn flush(&mut self) -> Result<(), CleanError> {
        self.file.write_all_at(&self.buffer, self.place).map_err(failed)?;
        self.place += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
