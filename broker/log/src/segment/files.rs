//! The folder of a log: which files stand in it and what they are called.
//!
//! ```text
//! 00000000000000000000.log     commits from position 0 on; the name is the first position
//! 00000000000000000000.index   of a sealed segment; may be deleted at any time
//! 00000000000000000731.log
//! ```
//! Promises: a name that is not understood is refused, never cleaned up.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use weir_wire::ids::Position;

use super::OpenError;
use super::disk::Disk;

/// Digits of a file's name: enough for 64 bits, so that names sort as positions do.
const NAME_DIGITS: usize = 20;

pub(super) fn segment_path(folder: &Path, base: Position) -> PathBuf {
    folder.join(format!("{:0NAME_DIGITS$}.log", base.0))
}

pub(super) fn index_path(folder: &Path, base: Position) -> PathBuf {
    folder.join(format!("{:0NAME_DIGITS$}.index", base.0))
}

/// The first positions of all segments, rising.
pub(super) fn list(folder: &Path) -> Result<Vec<Position>, OpenError> {
    let mut bases = Vec::new();
    for file in fs::read_dir(folder).map_err(|error| OpenError::io(folder, error))? {
        let file = file.map_err(|error| OpenError::io(folder, error))?;
        let path = file.path();
        let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
        let name = file.file_name();
        match name.to_str().and_then(|name| name.split_once('.')) {
            Some((base, "log")) if is_file && position(base).is_some() => {
                bases.extend(position(base))
            }
            Some((base, "index")) if is_file && position(base).is_some() => {}
            _ => return Err(OpenError::Foreign { path }),
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn position(name: &str) -> Option<Position> {
    let all_digits = name.len() == NAME_DIGITS && name.bytes().all(|digit| digit.is_ascii_digit());
    if all_digits { name.parse().ok().map(Position) } else { None }
}

/// Makes the folder, and its parents where they are missing, durable.
pub(super) fn make_folder(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let missing: Vec<_> = folder.ancestors().take_while(|path| !path.exists()).collect();
    fs::create_dir_all(folder)?;
    for path in missing {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        disk.sync_folder(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

pub(super) fn open(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

/// A new empty segment whose name is durable.
pub(super) fn create(disk: &dyn Disk, folder: &Path, base: Position) -> io::Result<File> {
    let path = segment_path(folder, base);
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    disk.sync_file(&file)?;
    disk.sync_folder(folder)?;
    Ok(file)
}
