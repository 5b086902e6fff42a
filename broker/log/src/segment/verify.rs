//! Reads every byte of a log and changes none: for `weir check` and `weir dump`.
//!
//! The judgement is recovery's: what a start would cut off as a torn tail is no damage, what a
//! start would refuse is.

use std::path::{Path, PathBuf};

use weir_wire::ids::{Offset, Position};

use super::walk::{Obstacle, Walk, good_again};
use super::{OpenError, files, mark};
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
    /// The first position that is there.
    pub earliest: Position,
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

/// Reads the log in `folder` and hands every commit that verifies to `each`, in order, with the
/// file it stands in and its place there. An error is why a start would refuse the log.
pub fn verify(
    disk: &dyn Disk,
    folder: &Path,
    identity: Identity,
    mut each: impl FnMut(Stored, &Path, u64),
) -> Result<Verified, OpenError> {
    let missing = || OpenError::Missing { folder: folder.to_owned() };
    if !disk.has_folder(folder) {
        return Err(missing());
    }
    let bases = files::list(disk, folder)?;
    let marked = mark::proven(disk, folder, identity);
    let (&first, &last) = bases.first().zip(bases.last()).ok_or_else(missing)?;
    let mut chain = Chain::beginning_at(identity, first);
    let mut verified = Verified {
        segments: bases.len() as u64,
        bytes: 0,
        earliest: first,
        end: first,
        next_offset: Offset(0),
        torn: None,
        mark_is_damaged: mark::is_damaged(disk, folder, identity),
    };
    for base in bases {
        if base != chain.position {
            let (folder, after) = (folder.to_owned(), chain.position);
            return Err(OpenError::Gap { folder, after, found: base });
        }
        let path = files::segment_path(folder, base);
        let io = |error| OpenError::io(&path, error);
        let file = disk.open(&path, Access::Read).map_err(io)?;
        let length = file.length().map_err(io)?;
        let mut walk = Walk::new(file.as_ref(), 0, length, chain, CHUNK_BYTES);
        let obstacle = loop {
            let place = walk.place;
            match walk.next() {
                Ok(Some(envelope)) => {
                    let (position, bytes) = (envelope.link.position, envelope.bytes as u64);
                    let stored = envelope.open().map_err(|why| OpenError::Corrupt {
                        path: path.clone(),
                        from: position,
                        to: position.next(),
                        why: why.to_string(),
                    })?;
                    verified.bytes += bytes;
                    each(stored, &path, place);
                }
                Ok(None) => break None,
                Err(Obstacle::Io(error)) => return Err(io(error)),
                Err(Obstacle::Unreadable(crate::commit::Unreadable::Version(version))) => {
                    return Err(OpenError::Version { path, version });
                }
                Err(Obstacle::Misplaced(why)) if walk.place == 0 => {
                    return Err(OpenError::Misplaced { path, why });
                }
                Err(obstacle) => break Some(obstacle),
            }
        };
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
        let (path, from, to) = (files::segment_path(folder, last), verified.end, marked);
        let why = "the log ends before what it had made durable".to_owned();
        return Err(OpenError::Corrupt { path, from, to, why });
    }
    Ok(verified)
}
