//! Files that only the broker's user may read, there whole or not at all, also after a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::HomeError;

/// The largest file of the house that is read whole: a certificate chain.
const BYTES_MAX: u64 = 64 << 10;
/// What group and others may do with a secret: nothing.
const OTHERS: u32 = 0o077;

/// Writes a file (0600) in place of the one that is there.
///
/// The directory must exist, and the caller must be its only writer.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let young = path.with_added_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&young)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&young, path)?;
    sync_folder_of(path)
}

/// Makes the names in a file's folder durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    File::open(folder)?.sync_all()
}

/// Reads a small file as text; `None` if it is not there.
pub fn read(path: &Path) -> Result<Option<String>, HomeError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(HomeError::io("open", path))?,
    };
    let mut text = String::new();
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(HomeError::io("read", path))?;
    Ok(Some(text))
}

/// Reads a small file as text, and refuses one that other users can read; `None` if it is not there.
pub fn read_secret(path: &Path) -> Result<Option<String>, HomeError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.permissions().mode() & OTHERS != 0 => Err(HomeError::Exposed {
            path: path.to_owned(),
            mode: metadata.permissions().mode() & 0o777,
        }),
        _ => read(path),
    }
}
