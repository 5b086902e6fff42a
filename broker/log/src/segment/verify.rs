//! Reads every byte of a log and changes none: for `weir check` and `weir dump`.
//!
//! The judgement is recovery's: what a start would cut off as a torn tail is no damage, what a
//! start would refuse is.

use std::path::{Path, PathBuf};

use weir_wire::ids::{Offset, Position};

use super::files::Name;
use super::recovery::newest_snapshot;
use super::snapshot::{self, Clean, Damaged, Head};
use super::walk::{Obstacle, Walk, good_again};
use super::{OpenError, files, mark};
use crate::Snapshot;
use crate::commit::{Chain, Identity, Stored};
use crate::disk::{Access, Disk};

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// What a log's folder holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Segment files.
    pub segments: u64,
    /// Bytes of the commits that verify.
    pub bytes: u64,
    /// The first position from which on every commit is there.
    pub earliest: Position,
    /// The first offset that may be fetched.
    pub start: Offset,
    /// The position behind the last commit that verifies.
    pub end: Position,
    /// The offset behind the last event that verifies.
    pub next_offset: Offset,
    /// Bytes behind it that nothing says to have been durable: the next start cuts them off.
    pub torn: Option<Torn>,
    /// What was noted of the log's durability does not verify: its last commits cannot be proven.
    pub mark_is_damaged: bool,
}

/// The end of a write that a crash interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// In which file.
    pub path: PathBuf,
    /// Bytes from its beginning.
    pub place: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// What stands in a log's folder, as it is met.
#[derive(Debug)]
pub enum Found<'a> {
    /// What everything before a position adds up to. Comes first.
    Snapshot(Snapshot),
    /// What a cleaning left of a commit before the snapshot's position.
    Left(Placed<'a>),
    /// A commit as it was appended.
    Commit(Placed<'a>),
}

/// A commit and where it stands.
#[derive(Debug)]
pub struct Placed<'a> {
    /// The commit.
    pub stored: Stored,
    /// Its file.
    pub path: &'a Path,
    /// Bytes from the file's beginning.
    pub place: u64,
}

/// Reads the log in `folder` and hands everything that verifies to `each`, in order. An error is why
/// a start would refuse the log.
pub fn verify(
    disk: &dyn Disk,
    folder: &Path,
    identity: Identity,
    mut each: impl FnMut(Found<'_>),
) -> Result<Verified, OpenError> {
    let missing = || OpenError::Missing { folder: folder.to_owned() };
    if !disk.has_folder(folder) {
        return Err(missing());
    }
    let listed = files::list(disk, folder)?;
    let head = newest_snapshot(disk, folder, identity, &listed)?;
    let marked = mark::proven(disk, folder, identity);
    let begins = head.as_ref().map_or(Position(0), |head| head.chain.position);
    let bases: Vec<_> = listed.segments.iter().copied().filter(|base| begins <= *base).collect();
    let &last = bases.last().ok_or_else(missing)?;
    let mut chain = Chain::beginning_at(identity, Position(0));
    let mut verified = Verified {
        segments: bases.len() as u64,
        bytes: 0,
        earliest: begins,
        start: Offset(0),
        end: begins,
        next_offset: Offset(0),
        torn: None,
        mark_is_damaged: mark::is_damaged(disk, folder, identity),
    };
    let folder = Folder { disk, folder, identity };
    if let Some(head) = head {
        chain = head.chain;
        verified.start = head.start;
        verified.segments += head.clean.len() as u64;
        each(Found::Snapshot(folder.snapshot(&head)?));
        for clean in &head.clean {
            verified.bytes += folder.clean(clean, &mut each)?;
        }
    }
    for base in bases {
        if base != chain.position {
            let (folder, after) = (folder.folder.to_owned(), chain.position);
            return Err(OpenError::Gap { folder, after, found: base });
        }
        let path = files::segment_path(folder.folder, base);
        let io = |error| OpenError::io(&path, error);
        let file = disk.open(&path, Access::Read).map_err(io)?;
        let length = file.length().map_err(io)?;
        let mut walk = Walk::new(file.as_ref(), 0, length, chain, CHUNK_BYTES);
        let mut hand_over = |placed: Placed<'_>| each(Found::Commit(placed));
        let obstacle = follow(&mut walk, &path, &mut verified.bytes, &mut hand_over)?;
        chain = walk.chain;
        (verified.end, verified.next_offset) = (chain.position, chain.offset);
        let Some(obstacle) = obstacle else { continue };
        let (bad, place) = (chain.position, walk.place);
        let to = match base == last {
            false => Some(good_again(walk, identity, bad.next())),
            true if bad < marked => Some(marked),
            true => {
                let proof = |later: &crate::commit::Envelope| {
                    later.link.position > bad && later.link.durable > bad
                };
                walk.find(identity, proof).map_err(io)?.map(|later| later.link.position)
            }
        };
        if let Some(to) = to {
            return Err(OpenError::Corrupt { path, from: bad, to, why: obstacle.to_string() });
        }
        verified.torn = Some(Torn { path, place, bytes: length - place });
    }
    if verified.end < marked {
        let (from, to) = (verified.end, marked);
        let path = files::segment_path(folder.folder, last);
        let why = "the log ends before what it had made durable".to_owned();
        return Err(OpenError::Corrupt { path, from, to, why });
    }
    Ok(verified)
}

/// Hands over what follows in a segment; gives what is in the way of the next, if there is one.
fn follow(
    walk: &mut Walk<'_>,
    path: &Path,
    bytes: &mut u64,
    each: &mut dyn FnMut(Placed<'_>),
) -> Result<Option<Obstacle>, OpenError> {
    loop {
        let place = walk.place;
        match walk.next() {
            Ok(Some(envelope)) => {
                let position = envelope.link.position;
                *bytes += envelope.bytes as u64;
                let stored = envelope.open().map_err(|why| OpenError::Corrupt {
                    path: path.to_owned(),
                    from: position,
                    to: position.next(),
                    why: why.to_string(),
                })?;
                each(Placed { stored, path, place });
            }
            Ok(None) => return Ok(None),
            Err(Obstacle::Io(error)) => return Err(OpenError::io(path, error)),
            Err(Obstacle::Unreadable(crate::commit::Unreadable::Version(version))) => {
                return Err(OpenError::Version { path: path.to_owned(), version });
            }
            Err(Obstacle::Misplaced(why)) if walk.place == 0 => {
                return Err(OpenError::Misplaced { path: path.to_owned(), why });
            }
            Err(obstacle) => return Ok(Some(obstacle)),
        }
    }
}

/// Whose files are read.
struct Folder<'a> {
    disk: &'a dyn Disk,
    folder: &'a Path,
    identity: Identity,
}

impl Folder<'_> {
    fn snapshot(&self, head: &Head) -> Result<Snapshot, OpenError> {
        let position = head.chain.position;
        let path = files::snapshot_path(self.folder, position, head.generation);
        let view = snapshot::open(self.disk, &path, self.identity)
            .and_then(|(head, file)| snapshot::read_view(&head, file.as_ref()));
        match view {
            Ok(view) => Ok(Snapshot { position, view, note: head.note.clone() }),
            Err(Damaged::Io(error)) => Err(OpenError::io(&path, error)),
            Err(Damaged::Invalid(why)) => Err(OpenError::Corrupt {
                path,
                from: Position(0),
                to: position,
                why: why.to_owned(),
            }),
        }
    }

    /// Gives the segment's bytes.
    fn clean(&self, clean: &Clean, each: &mut impl FnMut(Found<'_>)) -> Result<u64, OpenError> {
        let Clean { base, generation, end, bytes } = *clean;
        let path = Name { base, generation: Some(generation) }.path(self.folder);
        let io = |error| OpenError::io(&path, error);
        let file = self.disk.open(&path, Access::Read).map_err(io)?;
        let length = file.length().map_err(io)?;
        let chain = Chain::sparse_at(self.identity, base);
        let mut walk = Walk::new(file.as_ref(), 0, length, chain, CHUNK_BYTES);
        let mut read = 0;
        let mut hand_over = |placed: Placed<'_>| each(Found::Left(placed));
        let obstacle = follow(&mut walk, &path, &mut read, &mut hand_over)?;
        let why = match obstacle {
            Some(obstacle) => obstacle.to_string(),
            None if walk.chain == end && length == bytes => return Ok(read),
            None => "it is not the segment that the snapshot speaks of".to_owned(),
        };
        let (from, to) = (walk.chain.position, end.position);
        Err(OpenError::Corrupt { path, from, to, why })
    }
}
