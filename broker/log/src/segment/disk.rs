//! What a log does to a disk, behind a seam: tests put a failing disk here.
//!
//! Promises: after a call returned `Ok`, its effect is as durable as its name says. Not here:
//! reading, which harms nothing and is checked by checksums.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The writing side of a file system.
pub(super) trait Disk: Debug + Send + Sync + 'static {
    /// Writes all of `bytes` at `place`; to the kernel, not to the platter.
    fn write_all_at(&self, file: &File, bytes: &[u8], place: u64) -> io::Result<()>;
    /// What was written to the file, and its length, is durable.
    fn sync_file(&self, file: &File) -> io::Result<()>;
    /// The file ends at `length`, durably.
    fn truncate(&self, file: &File, length: u64) -> io::Result<()>;
    /// The names in the folder are durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Removes a name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Bytes that an ordinary user may still write there.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// The one the kernel has.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
        file.write_all_at(bytes, place)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)?;
        file.sync_all()
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(folder)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}
