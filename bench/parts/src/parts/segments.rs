//! A segment file, on the real disk: what the kernel does for it is not counted.

use std::collections::VecDeque;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;
use weir_log::PartitionLog;
use weir_log::blocking::{Blocking, Work};
use weir_log::disk::RealDisk;
use weir_log::segment::{Machine, Options, SegmentLog};
use weir_views::partition::PartitionView;
use weir_wire::ids::{Offset, Position};

use crate::count::warm;
use crate::judged::{IDENTITY, commits, under_native_rule};

const BATCHES: u32 = 100;
const EVENTS: u32 = 100;
/// A key comes 40 times in all of them: half is refused.
const LIMIT: u64 = 20;
/// As much as recovery reads of a log at once.
const REPLAY_BYTES: usize = 4 << 20;
/// What a consumer gets at once.
const FETCH_BYTES: usize = 1 << 20;

/// A disk whose work is done by whoever waits for it: one thread, so that all of it is counted.
struct Bed {
    machine: Machine,
    work: Arc<Mutex<VecDeque<Work>>>,
    folder: TempDir,
}

impl Bed {
    /// With a log of all the batches.
    fn new() -> Self {
        let work = Arc::new(Mutex::new(VecDeque::new()));
        let given = Arc::clone(&work);
        let blocking = Blocking::by(move |work| lock(&given).push_back(work));
        let machine = Machine { disk: Arc::new(RealDisk), blocking };
        let folder = TempDir::new().expect("a folder for the segment");
        let bed = Self { machine, work, folder };
        let log = bed.open();
        let commits = commits(under_native_rule(LIMIT), BATCHES, EVENTS);
        bed.wait(log.append(Position(1), commits)).expect("room for the segment");
        bed.wait(log.close()).expect("a disk that syncs");
        bed
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> SegmentLog {
        let options = Options { reserve_bytes: 0, ..Options::default() };
        SegmentLog::open(&self.machine, self.path(), IDENTITY, options).expect("a whole log")
    }

    fn wait<T>(&self, mut future: BoxFuture<'_, T>) -> T {
        loop {
            if let Some(done) = (&mut future).now_or_never() {
                return done;
            }
            let work = lock(&self.work).pop_front();
            work.expect("whoever waits has given work")();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn recovery() {
    let bed = Bed::new();
    warm(|| drop(black_box(bed.open())));
}

pub fn replay() {
    let bed = Bed::new();
    let log = bed.open();
    let tail = log.tail().borrow().position;
    warm(|| {
        let mut view = PartitionView::default();
        while view.next() < tail {
            for stored in bed.wait(log.read(view.next(), REPLAY_BYTES)).expect("a whole log") {
                view.apply(stored.position, &stored.commit);
            }
        }
        drop(black_box(view));
    });
}

pub fn fetch() {
    let bed = Bed::new();
    let log = bed.open();
    warm(|| drop(black_box(bed.wait(log.fetch(Offset(0), FETCH_BYTES)).expect("a whole log"))));
}
