//! The folder of a log: which files stand in it and what they are called.
//!
//! ```text
//! 00000000000000000000-00000003.clean      what the third cleaning left of the commits before 731
//! 00000000000000000000-00000003.index      of it
//! 00000000000000000731-00000003.snapshot   what all before 731 adds up to, and which files are it
//! 00000000000000000731.log     commits from position 731 on; the name is the first position
//! 00000000000000000731.index   of a sealed segment; may be deleted at any time
//! 00000000000000001022.log
//! durable.mark                 how far the log is durable, see `mark`
//! ```
//! A log that was never cleaned begins with `00000000000000000000.log`. A snapshot that is still
//! written has the end `.unfinished`.
//!
//! Promises: a name that is not understood is refused, never cleaned up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_wire::ids::Position;

use super::OpenError;
use super::mark::MARK_FILE;
use crate::disk::{Disk, DiskFile, Entry};

/// Digits of a position in a name: enough for 64 bits, so that names sort as positions do.
const POSITION_DIGITS: usize = 20;
/// Digits of a generation: enough for a cleaning every second of a century.
const GENERATION_DIGITS: usize = 10;

/// Counts the cleanings of a log, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Generation(pub(super) u64);

/// A segment's name: its first position, and which cleaning wrote it, if one did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) base: Position,
    pub(super) generation: Option<Generation>,
}

/// What stands in a log's folder, sorted by name.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// The first positions of segments as they were appended, rising.
    pub(super) segments: Vec<Position>,
    pub(super) clean: Vec<(Position, Generation)>,
    pub(super) snapshots: Vec<(Position, Generation)>,
    /// Indexes, of segments that are there or not.
    pub(super) indexes: Vec<Name>,
    /// Snapshots that were never finished.
    pub(super) unfinished: Vec<PathBuf>,
}

fn name(base: Position, generation: Option<Generation>, end: &str) -> String {
    let Position(base) = base;
    match generation {
        None => format!("{base:0POSITION_DIGITS$}.{end}"),
        Some(Generation(number)) => {
            format!("{base:0POSITION_DIGITS$}-{number:0GENERATION_DIGITS$}.{end}")
        }
    }
}

impl Name {
    /// The segment itself.
    pub(super) fn path(self, folder: &Path) -> PathBuf {
        let end = if self.generation.is_some() { "clean" } else { "log" };
        folder.join(name(self.base, self.generation, end))
    }

    /// The copy of its index.
    pub(super) fn index_path(self, folder: &Path) -> PathBuf {
        folder.join(name(self.base, self.generation, "index"))
    }
}

pub(super) fn segment_path(folder: &Path, base: Position) -> PathBuf {
    Name { base, generation: None }.path(folder)
}

pub(super) fn snapshot_path(folder: &Path, position: Position, generation: Generation) -> PathBuf {
    folder.join(name(position, Some(generation), "snapshot"))
}

/// Where a snapshot is written before it gets its name.
pub(super) fn unfinished_path(
    folder: &Path,
    position: Position,
    generation: Generation,
) -> PathBuf {
    folder.join(name(position, Some(generation), "unfinished"))
}

/// All files of the folder, by what they are.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Listed, OpenError> {
    let mut listed = Listed::default();
    for Entry { name, is_file } in
        disk.list(folder).map_err(|error| OpenError::io(folder, error))?
    {
        let parsed = name.to_str().and_then(|name| name.split_once('.'));
        let parsed = parsed.filter(|_| is_file).and_then(|(stem, end)| Some((parse(stem)?, end)));
        match parsed {
            Some((Name { base, generation: None }, "log")) => listed.segments.push(base),
            Some((name, "index")) => listed.indexes.push(name),
            Some((Name { base, generation: Some(generation) }, "clean")) => {
                listed.clean.push((base, generation));
            }
            Some((Name { base, generation: Some(generation) }, "snapshot")) => {
                listed.snapshots.push((base, generation));
            }
            Some((Name { generation: Some(_), .. }, "unfinished")) => {
                listed.unfinished.push(folder.join(name));
            }
            _ if is_file && name == MARK_FILE => {}
            _ => return Err(OpenError::Foreign { path: folder.join(name) }),
        }
    }
    listed.segments.sort_unstable();
    listed.clean.sort_unstable();
    listed.snapshots.sort_unstable_by_key(|(_, generation)| *generation);
    Ok(listed)
}

fn parse(stem: &str) -> Option<Name> {
    let (base, generation) = match stem.split_once('-') {
        None => (stem, None),
        Some((base, generation)) => {
            (base, Some(Generation(number(generation, GENERATION_DIGITS)?)))
        }
    };
    Some(Name { base: Position(number(base, POSITION_DIGITS)?), generation })
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let is_whole = text.len() == digits && text.bytes().all(|digit| digit.is_ascii_digit());
    if is_whole { text.parse().ok() } else { None }
}

/// A new empty segment whose name is durable.
pub(super) fn create(
    disk: &dyn Disk,
    folder: &Path,
    base: Position,
) -> io::Result<Arc<dyn DiskFile>> {
    let file = disk.create(&segment_path(folder, base))?;
    file.sync()?;
    disk.sync_folder(folder)?;
    Ok(file)
}
