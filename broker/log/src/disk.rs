//! What a log does to a machine's disk, behind a seam: the kernel's file system here, a simulated
//! or failing one in tests.
//!
//! Promises: after a call returned `Ok`, its effect is as durable as its name says, and no more: a
//! write is the kernel's, a new name may vanish until its folder was synced. Not here: what the
//! files mean.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// A file system, as far as logs use one. All calls block.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a folder, and its parents where they are missing. Their names are durable.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;
    /// Whether there is a folder with this name.
    fn has_folder(&self, folder: &Path) -> bool;
    /// A number that no other folder of the file system has while this one exists: a copy of it has
    /// another.
    fn folder_number(&self, folder: &Path) -> io::Result<u64>;
    /// What stands in a folder, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>>;
    /// Opens a file that is there.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Makes an empty file for reading and writing; an error if there is one.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// All bytes of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Makes or replaces a small file that may be lost or half there after a crash.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file or folder another name in the same file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that stands in it.
    fn remove_folder(&self, folder: &Path) -> io::Result<()>;
    /// The names in the folder are durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The room on the file system that holds the folder.
    fn space(&self, folder: &Path) -> io::Result<Space>;
}

/// An open file. Its calls block; reads and writes are positional, so it is shared without a lock.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Its bytes.
    fn length(&self) -> io::Result<u64>;
    /// Fills `bytes` from `place` on.
    fn read_exact_at(&self, bytes: &mut [u8], place: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `place`; to the kernel, not to the platter.
    fn write_all_at(&self, bytes: &[u8], place: u64) -> io::Result<()>;
    /// Writes all of `pieces` one behind the other, as [`write_all_at`](Self::write_all_at) their whole.
    fn write_pieces_at(&self, pieces: &[&[u8]], place: u64) -> io::Result<()> {
        match pieces {
            [one] => self.write_all_at(one, place),
            many => self.write_all_at(&many.concat(), place),
        }
    }
    /// What was written, and the length, is durable.
    fn sync(&self) -> io::Result<()>;
    /// The file ends at `length`, durably.
    fn truncate(&self, length: u64) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, without the folder.
    pub name: OsString,
    /// An ordinary file, and not a folder or something stranger.
    pub is_file: bool,
}

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// That an ordinary user may still write.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// Pieces that are handed to the kernel at once: what POSIX systems take (`IOV_MAX`).
const PIECES_AT_ONCE_MAX: usize = 1_024;

/// The one the kernel has.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let missing: Vec<_> = folder.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(folder)?;
        for path in missing {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            self.sync_folder(parent.unwrap_or(Path::new(".")))?;
        }
        Ok(())
    }

    fn has_folder(&self, folder: &Path) -> bool {
        folder.is_dir()
    }

    fn folder_number(&self, folder: &Path) -> io::Result<u64> {
        Ok(fs::metadata(folder)?.ino())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<Entry>> {
        let entry = |entry: io::Result<fs::DirEntry>| {
            let entry = entry?;
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            Ok(Entry { name: entry.file_name(), is_file })
        };
        fs::read_dir(folder)?.map(entry).collect()
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let writes = access == Access::Write;
        Ok(Arc::new(File::options().read(true).write(writes).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(File::options().read(true).write(true).create_new(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let space = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(Space { free: bytes(space.f_bavail), total: bytes(space.f_blocks) })
    }
}

impl DiskFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], place: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, place)
    }

    fn write_all_at(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, place)
    }

    fn write_pieces_at(&self, pieces: &[&[u8]], mut place: u64) -> io::Result<()> {
        if let [one] = pieces {
            return FileExt::write_all_at(self, one, place);
        }
        let mut pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut pieces[..];
        // What is empty is done.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let at_once = left.len().min(PIECES_AT_ONCE_MAX);
            match rustix::io::pwritev(self, &left[..at_once], place) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    place += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)?;
        self.sync_all()
    }
}
