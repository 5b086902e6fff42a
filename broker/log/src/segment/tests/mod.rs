//! The segment log against the suite of all logs, and against what only disks do.

mod bit_rot;
mod failing_disk;
mod folder;
mod foreign_reader;
mod torn_tail;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;

use super::*;
use crate::commit::fixture::{IDENTITY, Worker};
use crate::conformance::{Subject, suite};

/// Small enough that every few commits make a segment and an index entry.
pub(super) fn small() -> Options {
    Options { segment_bytes: 2_000, index_interval_bytes: 300, ..Options::default() }
}

struct Segments {
    folder: TempDir,
    options: Options,
}

impl Segments {
    fn new(options: Options) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), options }
    }
}

impl Subject for Segments {
    type Log = SegmentLog;
    fn open(&mut self) -> SegmentLog {
        SegmentLog::open(self.folder.path(), IDENTITY, self.options.clone()).unwrap()
    }
    fn reopen(&mut self, log: SegmentLog) -> SegmentLog {
        drop(log);
        self.open()
    }
}

mod durable {
    use super::*;
    suite!(Segments::new(small()));
}

mod os {
    use super::*;
    suite!(Segments::new(Options { durability: Durability::Os, ..small() }));
}

mod one_segment {
    use super::*;
    // But trimming, which needs a second one.
    suite!(Segments::new(Options::default());
        what_was_appended_is_read_back,
        a_fetch_begins_with_the_batch_that_holds_the_offset,
        times_are_found_in_the_middle_of_a_batch,
        a_reopened_log_is_the_same,
        readers_follow_a_writer,
    );
}

/// The files of a folder whose names end so, sorted.
pub(super) fn files_ending(folder: &Path, end: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<_> = all.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    found.sort();
    found
}

/// A folder with the commits of `rounds` rounds, each of a full commit and a small one.
pub(super) async fn filled(options: &Options, rounds: u64) -> (TempDir, Vec<Stored>) {
    let (folder, mut worker, mut stored) = (tempfile::tempdir().unwrap(), Worker::new(), vec![]);
    let log = SegmentLog::open(folder.path(), IDENTITY, options.clone()).unwrap();
    for _ in 0..rounds {
        let at = worker.position;
        let group = [worker.full_commit(), worker.commit(&[1], 40)];
        stored.extend(crate::conformance::put(&log, at, &group).await);
    }
    log.close().await.unwrap();
    (folder, stored)
}

/// A disk that says yes to every sync at once, can fail at one operation, and counts them.
#[derive(Debug)]
pub(super) struct TestDisk {
    /// Operations so far: writes, syncs, truncations, removals.
    pub(super) operations: AtomicU64,
    /// The number of the operation that fails; a failing write leaves half of its bytes.
    pub(super) fails_at: u64,
    pub(super) free_bytes: AtomicU64,
}

impl TestDisk {
    pub(super) fn failing_at(fails_at: u64) -> Arc<Self> {
        let (operations, free_bytes) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
        Arc::new(Self { operations, fails_at, free_bytes })
    }

    /// For tests that open thousands of folders.
    pub(super) fn fast() -> Arc<Self> {
        Self::failing_at(u64::MAX)
    }

    fn operate(&self) -> io::Result<()> {
        if self.operations.fetch_add(1, Ordering::SeqCst) == self.fails_at {
            return Err(io::Error::other("the disk was told to fail"));
        }
        Ok(())
    }
}

impl Disk for TestDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
        let failure = self.operate();
        let written = if failure.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        RealDisk.write_all_at(file, written, place)?;
        failure
    }
    fn sync_file(&self, _: &File) -> io::Result<()> {
        self.operate()
    }
    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        self.operate()?;
        file.set_len(length)
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.operate()
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.operate()?;
        RealDisk.unlink(path)
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free_bytes.load(Ordering::SeqCst))
    }
}

/// Other content for a file that is there. Not by truncating it first: ext4 writes such a file to
/// the disk at once, and some tests do this ten thousand times.
pub(super) fn overwrite(path: &Path, bytes: &[u8]) {
    let file = files::open(path).unwrap();
    RealDisk.write_all_at(&file, bytes, 0).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
}
