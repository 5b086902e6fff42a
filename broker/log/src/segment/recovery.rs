//! Opens a folder as a log: what was durable is found again, or the folder is refused.
//!
//! The longest row of commits that verifies wins. What follows it is a *torn tail* and is cut, if
//! nothing says that it was ever durable; it is *corruption*, and the log is refused, if
//! - it stands in a segment that is not the last: a segment is synced before the next is made; or
//! - a later commit says by its durable mark that the bad position was durable when it was written;
//!   or
//! - the mark beside the segments says so.
//!
//! Where a snapshot is there, the row begins with it, and what it speaks of has to be there too.
//!
//! Promises: nothing that was durable is cut; nothing that is not understood is touched; the tail
//! is written again and synced before anyone sees it, since what survived a kill may be in the page
//! cache only, and the cache may hold it for written after a sync that failed.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::{debug, warn};
use weir_wire::ids::Position;

use super::files::{Generation, Name};
use super::index::{Index, Noted};
use super::snapshot::{self, Clean, Damaged, Head};
use super::state::Recovered;
use super::walk::{Obstacle, Walk, good_again};
use super::{OpenError, Options, files, mark};
use crate::commit::{Chain, Commit, Encoder, Identity, Unreadable};
use crate::disk::{Access, Disk, DiskFile};
use crate::planted::{Bug, is_planted};

/// Bytes read at a time: large enough for the disk's full speed, small enough for a thousand logs.
const CHUNK_BYTES: usize = 1 << 20;

pub(super) fn recover(
    disk: &dyn Disk,
    folder: &Path,
    identity: Identity,
    options: &Options,
) -> Result<Recovered, OpenError> {
    if !options.may_create && !disk.has_folder(folder) {
        return Err(OpenError::Missing { folder: folder.to_owned() });
    }
    disk.make_folder(folder).map_err(|error| OpenError::io(folder, error))?;
    let listed = files::list(disk, folder)?;
    let head = newest_snapshot(disk, folder, identity, &listed)?;
    let begins = head.as_ref().map_or(Position(0), |head| head.chain.position);
    let bases: Vec<_> = listed.segments.iter().copied().filter(|base| begins <= *base).collect();
    let marked = match is_planted(Bug::IgnoreTheMark) {
        true => Position(0),
        false => mark::proven(disk, folder, identity),
    };
    let Some((&last, before)) = bases.split_last() else {
        if !options.may_create || marked > Position(0) || head.is_some() {
            return Err(OpenError::Missing { folder: folder.to_owned() });
        }
        let file = files::create(disk, folder, Position(0))
            .map_err(|error| OpenError::io(folder, error))?;
        return begin(folder, identity, options, file);
    };
    let folder = Folder { disk, folder, identity, options, marked };
    let mut chain = Chain::beginning_at(identity, Position(0));
    let mut sealed = VecDeque::with_capacity(before.len());
    if let Some(head) = &head {
        for clean in &head.clean {
            sealed.push_back(Arc::new(folder.clean(clean)?));
        }
        chain = head.chain;
    }
    for &base in before {
        folder.expect_no_gap(base, &chain)?;
        let name = Name { base, generation: None };
        let index = folder.sealed(name, chain)?;
        chain = index.end;
        sealed.push_back(Arc::new(index));
    }
    folder.expect_no_gap(last, &chain)?;
    let recovered = folder.last(sealed, chain, head.clone())?;
    remove_leftovers(disk, folder.folder, head.as_deref(), &listed)
        .map_err(|error| OpenError::io(folder.folder, error))?;
    Ok(recovered)
}

/// The head of the last snapshot that got its name: what was durable then, so damage if it does not
/// verify.
pub(super) fn newest_snapshot(
    disk: &dyn Disk,
    folder: &Path,
    identity: Identity,
    listed: &files::Listed,
) -> Result<Option<Arc<Head>>, OpenError> {
    let Some(&(position, generation)) = listed.snapshots.last() else { return Ok(None) };
    let path = files::snapshot_path(folder, position, generation);
    let corrupt = |why: String| {
        let path = path.clone();
        OpenError::Corrupt { path, from: Position(0), to: position, why }
    };
    match snapshot::open(disk, &path, identity) {
        Ok((head, _)) if (head.chain.position, head.generation) == (position, generation) => {
            Ok(Some(Arc::new(head)))
        }
        Ok(_) => Err(corrupt("the snapshot has another's name".to_owned())),
        Err(Damaged::Io(error)) => Err(OpenError::io(&path, error)),
        Err(damaged) => Err(corrupt(damaged.to_string())),
    }
}

/// Finishes what a crash interrupted: removes what the snapshot does without, and what never became
/// one. Only files that a cleaning makes or replaces, and only when all the others were found whole.
fn remove_leftovers(
    disk: &dyn Disk,
    folder: &Path,
    head: Option<&Head>,
    listed: &files::Listed,
) -> io::Result<()> {
    let begins = head.map_or(Position(0), |head| head.chain.position);
    let stands_for = |base: Position, generation: Generation| {
        let named = |clean: &Clean| (clean.base, clean.generation) == (base, generation);
        head.is_some_and(|head| head.clean.iter().any(named))
    };
    let is_left_over = |name: &Name| match name.generation {
        None => name.base < begins,
        Some(generation) => !stands_for(name.base, generation),
    };
    let segments = listed.segments.iter().map(|&base| Name { base, generation: None });
    let clean =
        listed.clean.iter().map(|&(base, generation)| Name { base, generation: Some(generation) });
    let indexes = listed.indexes.iter().filter(|name| is_left_over(name));
    let mut gone: Vec<_> = indexes.map(|name| name.index_path(folder)).collect();
    gone.extend(segments.chain(clean).filter(is_left_over).map(|name| name.path(folder)));
    let older = listed.snapshots.iter().rev().skip(1);
    gone.extend(older.map(|&(at, generation)| files::snapshot_path(folder, at, generation)));
    gone.extend(listed.unfinished.iter().cloned());
    for path in &gone {
        debug!(path = %path.display(), "removed what a cleaning left over");
        disk.unlink(path)?;
    }
    if gone.is_empty() { Ok(()) } else { disk.sync_folder(folder) }
}

/// A log without an OPEN record gets one.
fn begin(
    folder: &Path,
    identity: Identity,
    options: &Options,
    active_file: Arc<dyn DiskFile>,
) -> Result<Recovered, OpenError> {
    let beginning = Chain::beginning_at(identity, Position(0));
    let commit = Commit::open(options.open_note.clone());
    let mut bytes = Vec::new();
    let end = beginning
        .extend(&commit, Position(0), &mut Encoder::default(), &mut bytes)
        .map_err(|why| OpenError::Unwritable { why: why.0 })?;
    active_file
        .write_all_at(&bytes, 0)
        .and_then(|()| active_file.sync())
        .map_err(|error| OpenError::io(folder, error))?;
    let mut active = Index::empty(beginning);
    let noted = Noted {
        end,
        time: commit.time,
        first_offset: commit.first_offset,
        max_timestamp: commit.max_timestamp,
        bytes: bytes.len() as u64,
    };
    active.note(noted, options.index_interval_bytes);
    Ok(Recovered { snapshot: None, sealed: VecDeque::new(), active, active_file })
}

/// What the steps of one recovery share.
struct Folder<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    identity: Identity,
    options: &'a Options,
    /// Positions below were durable, as the mark says.
    marked: Position,
}

impl Folder<'_> {
    fn expect_no_gap(&self, base: Position, chain: &Chain) -> Result<(), OpenError> {
        if base == chain.position {
            return Ok(());
        }
        Err(OpenError::Gap { folder: self.folder.to_owned(), after: chain.position, found: base })
    }

    /// What a cleaning left, which has to be what its snapshot says.
    fn clean(&self, clean: &Clean) -> Result<Index, OpenError> {
        let Clean { base, generation, end, bytes } = *clean;
        let name = Name { base, generation: Some(generation) };
        let index = self.sealed(name, Chain::sparse_at(self.identity, base))?;
        let begins = index.entries.first().map(|first| first.position);
        if begins != Some(base) || index.end != end || index.bytes != bytes {
            let (path, to) = (name.path(self.folder), end.position);
            let why = "it is not the segment that the snapshot speaks of".to_owned();
            return Err(OpenError::Corrupt { path, from: base, to, why });
        }
        Ok(index)
    }

    /// A segment that is not the last: its index is taken if it fits, else all of it is read.
    fn sealed(&self, name: Name, chain: Chain) -> Result<Index, OpenError> {
        let path = name.path(self.folder);
        let file =
            self.disk.open(&path, Access::Read).map_err(|error| OpenError::io(&path, error))?;
        let length = file.length().map_err(|error| OpenError::io(&path, error))?;
        let index_path = name.index_path(self.folder);
        let copy = self.disk.read(&index_path).ok();
        if !self.options.verify_all
            && let Some(index) =
                copy.as_deref().and_then(|copy| Index::decode(copy, self.identity, name.generation))
            && self.fits(&index, file.as_ref(), length, &chain)
        {
            return Ok(index);
        }
        let mut walk = Walk::new(file.as_ref(), 0, length, chain, CHUNK_BYTES);
        let (mut index, _, obstacle) = self.follow(&mut walk, &path)?;
        index.generation = name.generation;
        if let Some(obstacle) = obstacle {
            let from = walk.chain.position;
            let to = good_again(walk, self.identity, from.next());
            return Err(OpenError::Corrupt { path, from, to, why: obstacle.to_string() });
        }
        let fresh = index.encode(self.identity);
        if copy.as_ref() != Some(&fresh)
            && let Err(error) = self.disk.write(&index_path, &fresh)
        {
            debug!(path = %index_path.display(), %error, "no index was written; the next start reads the segment again");
        }
        Ok(index)
    }

    /// Whether an index is of this very file: its ends are where it says, and linked as it says.
    fn fits(&self, index: &Index, file: &dyn DiskFile, length: u64, chain: &Chain) -> bool {
        let Some(last) = index.entries.last() else { return false };
        if index.base != chain.position || index.bytes != length || last.place >= length {
            return false;
        }
        let mut first = Walk::new(file, 0, length, *chain, CHUNK_BYTES.min(64 << 10));
        let begins = matches!(first.next(), Ok(Some(envelope)) if envelope.first_offset == index.base_offset);
        let from =
            if last.place == 0 { *chain } else { index.chain_at(self.identity, last.position) };
        let mut tail = Walk::new(file, last.place, length, from, CHUNK_BYTES);
        while let Ok(Some(_)) = tail.next() {}
        begins && tail.place == length && tail.chain == index.end
    }

    /// The last segment: the one that may end in the middle of a commit.
    fn last(
        &self,
        sealed: VecDeque<Arc<Index>>,
        chain: Chain,
        snapshot: Option<Arc<Head>>,
    ) -> Result<Recovered, OpenError> {
        let path = files::segment_path(self.folder, chain.position);
        let io = |error| OpenError::io(&path, error);
        let active_file = self.disk.open(&path, Access::Write).map_err(io)?;
        let mut length = active_file.length().map_err(io)?;
        if is_planted(Bug::ReuseOffset) {
            length = length.saturating_sub(1);
        }
        let mut walk = Walk::new(active_file.as_ref(), 0, length, chain, CHUNK_BYTES);
        let (active, proven, obstacle) = self.follow(&mut walk, &path)?;
        // A log that was there has its OPEN record, or a snapshot.
        let has_none = active.bytes == 0 && sealed.is_empty() && snapshot.is_none();
        let was_there = chain.position != Position(0) || !self.options.may_create;
        if has_none && was_there {
            let (from, to) = (chain.position, chain.position.next().max(self.marked));
            let why = "the only segment holds no commit".to_owned();
            return Err(OpenError::Corrupt { path, from, to, why });
        }
        if let Some(obstacle) = obstacle {
            self.cut(walk, &path, active_file.as_ref(), obstacle)?;
        }
        let end = active.end.position;
        if end < self.marked {
            let (from, to) = (end, self.marked);
            let why = "the log ends before what it had made durable".to_owned();
            return Err(OpenError::Corrupt { path, from, to, why });
        }
        if has_none {
            return begin(self.folder, self.identity, self.options, active_file);
        }
        self.write_again(active_file.as_ref(), &active, proven.max(self.marked)).map_err(io)?;
        active_file.sync().map_err(io)?;
        self.disk.sync_folder(self.folder).map_err(|error| OpenError::io(self.folder, error))?;
        Ok(Recovered { snapshot, sealed, active, active_file })
    }

    /// What is not known to be durable is written a second time: if a sync failed before the
    /// process ended, the kernel holds these bytes for written when they are not, and syncing them
    /// would do nothing.
    fn write_again(&self, file: &dyn DiskFile, index: &Index, proven: Position) -> io::Result<()> {
        let from = index.before_position(proven).map_or(0, |entry| entry.place);
        let mut place = if proven < index.end.position { from } else { index.bytes };
        let mut chunk = Vec::new();
        while place < index.bytes && !is_planted(Bug::TailNotWrittenAgain) {
            chunk.resize((index.bytes - place).min(CHUNK_BYTES as u64) as usize, 0);
            file.read_exact_at(&mut chunk, place)?;
            file.write_all_at(&chunk, place)?;
            place += chunk.len() as u64;
        }
        Ok(())
    }

    /// Reads as far as commits follow each other. Gives what they say to have been durable, too.
    fn follow(
        &self,
        walk: &mut Walk<'_>,
        path: &Path,
    ) -> Result<(Index, Position, Option<Obstacle>), OpenError> {
        let mut index = Index::empty(walk.chain);
        let mut proven = Position(0);
        loop {
            match walk.next() {
                Ok(Some(envelope)) => {
                    let noted = Noted::of(&envelope, walk.chain);
                    index.note(noted, self.options.index_interval_bytes);
                    proven = proven.max(envelope.link.durable);
                }
                Ok(None) => return Ok((index, proven, None)),
                Err(Obstacle::Io(error)) => return Err(OpenError::io(path, error)),
                Err(Obstacle::Unreadable(Unreadable::Version(version))) => {
                    return Err(OpenError::Version { path: path.to_owned(), version });
                }
                // A first commit that is whole and not ours: the file is in the wrong place, or
                // under a wrong name, and nothing in it is torn.
                Err(Obstacle::Misplaced(why)) if walk.place == 0 => {
                    return Err(OpenError::Misplaced { path: path.to_owned(), why });
                }
                Err(obstacle) => return Ok((index, proven, Some(obstacle))),
            }
        }
    }

    /// Takes a torn tail off, unless it was durable once.
    fn cut(
        &self,
        walk: Walk<'_>,
        path: &Path,
        file: &dyn DiskFile,
        obstacle: Obstacle,
    ) -> Result<(), OpenError> {
        let io = |error| OpenError::io(path, error);
        let (bad, place) = (walk.chain.position, walk.place);
        let length = file.length().map_err(io)?;
        if bad < self.marked {
            let (path, to) = (path.to_owned(), self.marked);
            return Err(OpenError::Corrupt { path, from: bad, to, why: obstacle.to_string() });
        }
        let proof = walk
            .find(self.identity, |later| later.link.position > bad && later.link.durable > bad)
            .map_err(io)?;
        if let Some(later) = proof
            && !is_planted(Bug::CutWithoutProof)
        {
            let (path, to) = (path.to_owned(), later.link.position);
            return Err(OpenError::Corrupt { path, from: bad, to, why: obstacle.to_string() });
        }
        warn!(
            path = %path.display(), position = %bad, bytes = length - place, why = %obstacle,
            "a torn tail was cut off; no later commit proves that it was durable"
        );
        file.truncate(place).map_err(io)
    }
}
