//! The segment log against the suite of all logs, and against what only disks do.

mod bit_rot;
mod cleaning;
mod failing_disk;
mod folder;
mod foreign_reader;
mod large;
mod torn_tail;

use std::fs::File;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::commit::fixture::{IDENTITY, Worker};
use crate::conformance::{Subject, suite};
use crate::simulated_disk::SimulatedDisk;

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
        SegmentLog::open(&Machine::real(), self.folder.path(), IDENTITY, self.options.clone())
            .unwrap()
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
    // But cleaning, which needs a second one.
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

/// A folder on the real disk with the commits of `rounds` rounds.
pub(super) async fn filled(options: &Options, rounds: u64) -> (TempDir, Vec<Stored>) {
    let folder = tempfile::tempdir().unwrap();
    let stored = fill(&Machine::real(), folder.path(), options, rounds, 40).await;
    (folder, stored)
}

/// A log that was closed after `rounds` rounds, each of a full commit and one with `bytes` bytes.
pub(super) async fn fill(
    machine: &Machine,
    folder: &Path,
    options: &Options,
    rounds: u64,
    bytes: usize,
) -> Vec<Stored> {
    let (mut worker, mut stored) = (Worker::new(), vec![]);
    let log = SegmentLog::open(machine, folder, IDENTITY, options.clone()).unwrap();
    for _ in 0..rounds {
        let at = worker.position;
        let group = [worker.full_commit(), worker.commit(&[1], bytes)];
        stored.extend(crate::conformance::put(&log, at, &group).await);
    }
    log.close().await.unwrap();
    stored
}

/// The only log of a simulated disk.
pub(super) const LOG: &str = "/log";

/// A simulated disk and what it takes to open logs on it.
pub(super) fn simulated() -> (SimulatedDisk, Machine) {
    let disk = SimulatedDisk::default();
    let machine = Machine { disk: Arc::new(disk.clone()), blocking: Blocking::threads() };
    (disk, machine)
}

pub(super) fn open(machine: &Machine, options: &Options) -> Result<SegmentLog, OpenError> {
    SegmentLog::open(machine, Path::new(LOG), IDENTITY, options.clone())
}

/// The paths on a simulated disk that end so, sorted.
pub(super) fn paths_ending(disk: &SimulatedDisk, end: &str) -> Vec<PathBuf> {
    let mut paths = disk.paths();
    paths.retain(|path| path.to_string_lossy().ends_with(end));
    paths
}

/// What was durable is known from the segments alone, as after a power cut.
pub(super) fn forget_mark(disk: &SimulatedDisk) {
    disk.unlink(&Path::new(LOG).join(mark::MARK_FILE)).unwrap();
}
