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

use tokio::runtime::Handle;

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
        Ok(RealFile::of(File::options().read(true).write(writes).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(RealFile::of(File::options().read(true).write(true).create_new(true).open(path)?))
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

/// An open file of the kernel's.
///
/// The last handle of a file without a name gives back its room, which took 20 ms for 250 MiB where a disk is
/// told what is free (ext4 with `discard`). A topic's last handles go wherever its last user lets go of it:
/// where a runtime is at work, a thread that may wait closes them.
#[derive(Debug)]
struct RealFile {
    /// There until it is dropped.
    open: Option<File>,
}

impl RealFile {
    fn of(file: File) -> Arc<dyn DiskFile> {
        Arc::new(Self { open: Some(file) })
    }

    fn file(&self) -> &File {
        self.open.as_ref().expect("it is open until it is dropped")
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        let open = self.open.take();
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || drop(open));
        }
    }
}

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file().metadata()?.len())
    }

    fn read_exact_at(&self, bytes: &mut [u8], place: u64) -> io::Result<()> {
        self.file().read_exact_at(bytes, place)
    }

    fn write_all_at(&self, bytes: &[u8], place: u64) -> io::Result<()> {
        self.file().write_all_at(bytes, place)
    }

    fn write_pieces_at(&self, pieces: &[&[u8]], mut place: u64) -> io::Result<()> {
        if let [one] = pieces {
            return self.file().write_all_at(one, place);
        }
        let mut pieces: Vec<_> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
        let mut left = &mut pieces[..];
        // What is empty is done.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let at_once = left.len().min(PIECES_AT_ONCE_MAX);
            match rustix::io::pwritev(self.file(), &left[..at_once], place) {
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
        self.file().sync_data()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file().set_len(length)?;
        self.file().sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// Whether this process has the file open.
    fn is_open(path: &Path) -> bool {
        let mut open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        open.any(|link| fs::read_link(link.path()).is_ok_and(|target| target == path))
    }

    #[test]
    fn a_file_is_closed_where_waiting_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let threads = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        threads.unwrap().block_on(async {
            let file = RealDisk.create(&path).unwrap();
            let (go_on, held_up) = sync_channel::<()>(1);
            let busy = tokio::task::spawn_blocking(move || held_up.recv());
            drop(file);
            assert!(is_open(&path), "nobody may wait here, and who may is busy");
            go_on.send(()).unwrap();
            busy.await.unwrap().unwrap();
            tokio::task::spawn_blocking(|| {}).await.unwrap();
            assert!(!is_open(&path));
        });
        let file = RealDisk.open(&path, Access::Read).unwrap();
        assert!(is_open(&path));
        drop(file);
        assert!(!is_open(&path), "without a runtime it is closed at once");
    }
}
