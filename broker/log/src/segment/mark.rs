//! What was durable, noted outside of the segments: it proves the very last commits.
//!
//! Commits say what was durable before them; nothing says so of the last ones. So after every sync
//! the log notes in a file of its own how far it is durable. The note is written and never synced:
//! it survives the process, and what a power cut leaves of it is older than the truth, never
//! younger. It counts in the folder in which it was written only: in a copy, whose files were not
//! read at one moment, it proves nothing.
//! ```text
//! little endian
//!  0 magic u32 "WDM1" | 4 topic id u32 | 8 partition u32 | 12 position u64: durable below
//! 20 the folder's number u64           | 28 CRC-32C u32 of all before
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, BufMut};
use tracing::warn;
use weir_wire::ids::Position;

use crate::commit::Identity;
use crate::disk::{Access, Disk, DiskFile};

/// The file's name in the log's folder.
pub(super) const MARK_FILE: &str = "durable.mark";
const MAGIC: u32 = u32::from_le_bytes(*b"WDM1");
const BYTES: usize = 32;

/// The mark could not be written once; it is not tried again.
#[derive(Debug)]
struct NoMark;

/// The writer of a log's mark.
#[derive(Debug)]
pub(super) struct Mark {
    path: PathBuf,
    identity: Identity,
    /// The folder's; `None` if the disk does not tell, and then no mark is written.
    folder: Option<u64>,
    /// Opened with the first note; `Err` once that failed.
    file: Mutex<Option<Result<Arc<dyn DiskFile>, NoMark>>>,
}

impl Mark {
    pub(super) fn new(disk: &dyn Disk, folder: &Path, identity: Identity) -> Self {
        let path = folder.join(MARK_FILE);
        Self { path, identity, folder: disk.folder_number(folder).ok(), file: Mutex::default() }
    }

    /// Notes that everything below `durable` is. A mark that cannot be written proves less, and
    /// nothing else depends on it.
    pub(super) fn note(&self, disk: &dyn Disk, durable: Position) {
        let Some(folder) = self.folder else { return };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = file.get_or_insert_with(|| {
            let opened = disk.open(&self.path, Access::Write).or_else(|_| disk.create(&self.path));
            opened.map_err(|error| self.no_mark(&error))
        });
        if let Ok(opened) = opened
            && let Err(error) = opened.write_all_at(&encode(self.identity, folder, durable), 0)
        {
            *file = Some(Err(self.no_mark(&error)));
        }
    }

    fn no_mark(&self, error: &std::io::Error) -> NoMark {
        warn!(path = %self.path.display(), %error, "how far the log is durable cannot be noted; damage to its last commits may pass for a torn tail");
        NoMark
    }
}

/// Positions below were durable, as the mark in the folder proves; 0 if it proves nothing.
pub(super) fn proven(disk: &dyn Disk, folder: &Path, identity: Identity) -> Position {
    let bytes = disk.read(&folder.join(MARK_FILE)).ok();
    let number = disk.folder_number(folder).ok();
    let noted = bytes.zip(number).and_then(|(bytes, number)| decode(&bytes, identity, number));
    noted.unwrap_or(Position(0))
}

/// Whether the mark in the folder was written in another one: then all of this is a copy.
pub(super) fn is_of_another_folder(disk: &dyn Disk, folder: &Path, identity: Identity) -> bool {
    let bytes = disk.read(&folder.join(MARK_FILE)).unwrap_or_default();
    let written_in = bytes.get(20..28).and_then(|number| number.try_into().ok());
    let written_in = written_in.map(u64::from_le_bytes);
    let is_mark = written_in.is_some_and(|number| decode(&bytes, identity, number).is_some());
    is_mark && written_in != disk.folder_number(folder).ok()
}

/// Whether what stands there is no mark: neither one of this folder or another, nor what a power cut
/// leaves of a file that was never synced.
pub(super) fn is_damaged(disk: &dyn Disk, folder: &Path, identity: Identity) -> bool {
    let bytes = disk.read(&folder.join(MARK_FILE)).unwrap_or_default();
    let written_in = bytes.get(20..28).and_then(|number| number.try_into().ok());
    let written_in = written_in.map(u64::from_le_bytes);
    let is_mark = written_in.is_some_and(|number| decode(&bytes, identity, number).is_some());
    !is_mark && bytes.iter().any(|byte| *byte != 0)
}

fn encode(identity: Identity, folder: u64, durable: Position) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES);
    out.put_u32_le(MAGIC);
    out.put_u32_le(identity.topic.0);
    out.put_u32_le(identity.partition.0);
    out.put_u64_le(durable.0);
    out.put_u64_le(folder);
    out.put_u32_le(crc32c::crc32c(&out));
    out
}

fn decode(bytes: &[u8], identity: Identity, folder: u64) -> Option<Position> {
    let (body, mut crc) = bytes.split_at_checked(BYTES - 4)?;
    if crc.len() != 4 || crc.get_u32_le() != crc32c::crc32c(body) {
        return None;
    }
    let mut at = &body[12..];
    let durable = Position(at.get_u64_le());
    (encode(identity, folder, durable) == bytes).then_some(durable)
}
