//! The folder of a log: which files stand in it and what they are called.
//!
//! ```text
//! 00000000000000000000.log     commits from position 0 on; the name is the first position
//! 00000000000000000000.index   of a sealed segment; may be deleted at any time
//! 00000000000000000731.log
//! durable.mark                how far the log is durable, see `mark`
//! ```
//! Promises: a name that is not understood is refused, never cleaned up.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use weir_wire::ids::Position;

use super::OpenError;
use super::mark::MARK_FILE;
use crate::disk::{Disk, DiskFile, Entry};

/// Digits of a file's name: enough for 64 bits, so that names sort as positions do.
const NAME_DIGITS: usize = 20;

pub(super) fn segment_path(folder: &Path, base: Position) -> PathBuf {
    folder.join(format!("{:0NAME_DIGITS$}.log", base.0))
}

pub(super) fn index_path(folder: &Path, base: Position) -> PathBuf {
    folder.join(format!("{:0NAME_DIGITS$}.index", base.0))
}

/// The first positions of all segments, rising.
pub(super) fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<Position>, OpenError> {
    let mut bases = Vec::new();
    for Entry { name, is_file } in
        disk.list(folder).map_err(|error| OpenError::io(folder, error))?
    {
        match name.to_str().and_then(|name| name.split_once('.')) {
            Some((base, "log")) if is_file && position(base).is_some() => {
                bases.extend(position(base))
            }
            Some((base, "index")) if is_file && position(base).is_some() => {}
            _ if is_file && name == MARK_FILE => {}
            _ => return Err(OpenError::Foreign { path: folder.join(name) }),
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn position(name: &str) -> Option<Position> {
    let all_digits = name.len() == NAME_DIGITS && name.bytes().all(|digit| digit.is_ascii_digit());
    if all_digits { name.parse().ok().map(Position) } else { None }
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
