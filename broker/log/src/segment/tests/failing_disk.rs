//! A disk that fails, fills up or takes its time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use super::*;
use crate::Stop;
use crate::commit::fixture::{Worker, as_stored};
use crate::conformance::{put, read_all, wait_for};
use crate::simulated_disk::{Call, Fate};

/// Appends, rolls and closes until something fails; returns what was appended.
async fn scripted(log: &SegmentLog, worker: &mut Worker) -> (Vec<Commit>, Result<(), AppendError>) {
    let mut appended = Vec::new();
    for round in 0..6 {
        let at = worker.position;
        let group = [worker.full_commit(), worker.commit(&[round], 400)];
        appended.extend(group.clone());
        if let Err(error) = log.append(at, group.to_vec()).await {
            return (appended, Err(error));
        }
        let mut tail = log.tail();
        let position = worker.position;
        let tail = tail.wait_for(|tail| tail.position == position || tail.stopped.is_some()).await;
        if let Some(stop) = &tail.unwrap().stopped {
            return (appended, Err(stop.clone().into()));
        }
    }
    (appended, log.close().await)
}

fn is_saving(path: &Path) -> bool {
    path.ends_with(mark::MARK_FILE) || path.extension().is_some_and(|end| end == "index")
}

/// Fails the operation with this number, counted over all that change something; counts them all.
fn failing_at(disk: &SimulatedDisk, fails_at: u64) -> Arc<AtomicU64> {
    let operations = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&operations);
    disk.set_hook(move |operation| {
        // Mark and index are savings: what becomes of them is shown below.
        let counts = operation.call != Call::Read && !is_saving(operation.path);
        if counts && counted.fetch_add(1, Ordering::SeqCst) == fails_at {
            return Fate::Fails(io::ErrorKind::Other, operation.bytes.len() / 2);
        }
        Fate::Done
    });
    operations
}

#[tokio::test]
async fn after_any_failure_nothing_is_written_and_nothing_acknowledged_is_lost() {
    let options = Options { segment_bytes: 1_500, ..small() };
    for fails_at in 0.. {
        let (disk, machine) = simulated();
        let operations = failing_at(&disk, fails_at);
        let (mut appended, mut tail) = (vec![], Position(1));
        if let Ok(log) = open(&machine, &options) {
            let mut worker = Worker::new();
            let outcome;
            (appended, outcome) = scripted(&log, &mut worker).await;
            if outcome.is_ok() {
                assert!(20 < fails_at, "the script has more operations than {fails_at}");
                return;
            }
            tail = log.tail().borrow().position;
            assert!(matches!(log.tail().borrow().stopped, Some(Stop::Broken(_))), "{outcome:?}");
            let before = operations.load(Ordering::SeqCst);
            let again = log.append(worker.position, vec![]).await;
            assert!(matches!(again, Err(AppendError::Broken(_))), "{again:?}");
            assert!(matches!(log.close().await, Err(AppendError::Broken(_))));
            assert_eq!(operations.load(Ordering::SeqCst), before, "no retry");
            assert_eq!(log.tail().borrow().position, tail, "the tail stands still");
            // Readers go on below it.
            let last = Position(tail.0 - 1);
            assert_eq!(log.read(last, usize::MAX).await.unwrap().len(), 1);
        }
        // The process ends, or the power goes too: with nothing of what was not synced, or all.
        disk.set_hook(|_| Fate::Done);
        match fails_at % 3 {
            0 => disk.kill(),
            1 => disk.power_cut(|| false),
            _ => disk.power_cut(|| true),
        }
        let log = open(&machine, &options)
            .unwrap_or_else(|error| panic!("after a failure at {fails_at}: {error}"));
        assert!(tail <= log.tail().borrow().position, "failure at {fails_at}");
        for stored in read_all(&log).await {
            let expected = &appended[stored.position.0 as usize - 1];
            assert_eq!(stored, as_stored(stored.position, expected));
        }
    }
}

/// Found by the simulation, seed 1134: a sync fails, the process ends, the page cache survives and
/// counts as clean; recovery takes the commit for durable, and the next power cut takes it away.
#[tokio::test]
async fn what_a_failed_sync_left_in_the_cache_is_written_again() {
    let (disk, machine) = simulated();
    let log = open(&machine, &small()).unwrap();
    let mut worker = Worker::new();
    let stored = put(&log, Position(1), &[worker.commit(&[1], 100)]).await;
    let syncs = failing_at(&disk, 1);
    let lost = worker.commit(&[1], 100);
    log.append(Position(2), vec![lost.clone()]).await.unwrap();
    let mut tail = log.tail();
    tail.wait_for(|tail| tail.stopped.is_some()).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 2, "the write went well, the sync did not");
    disk.set_hook(|_| Fate::Done);
    disk.kill();
    let again = read_all(&open(&machine, &small()).unwrap()).await;
    assert_eq!(again.len(), stored.len() + 1, "it is in the cache");
    disk.power_cut(|| false);
    assert_eq!(read_all(&open(&machine, &small()).unwrap()).await, again);
}

#[tokio::test]
async fn a_mark_or_index_that_cannot_be_written_stops_nothing() {
    let (disk, machine) = simulated();
    disk.set_hook(|operation| match is_saving(operation.path) {
        true => Fate::Fails(io::ErrorKind::Other, 0),
        false => Fate::Done,
    });
    let stored = fill(&machine, Path::new(LOG), &small(), 5, 40).await;
    assert_eq!(read_all(&open(&machine, &small()).unwrap()).await, stored);
}

/// At any byte, and when the next segment is to be made: nothing of the group is left, the file is
/// not written again, and the log goes on when there is room.
#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_write_takes_the_group_later() {
    let options = Options { reserve_bytes: 0, segment_bytes: 3_000, ..small() };
    for room in (0..1_400).step_by(7) {
        let ((disk, machine), mut worker) = (simulated(), Worker::new());
        let log = open(&machine, &options).unwrap();
        let mut stored = put(&log, Position(1), &[worker.commit(&[1], 700)]).await;
        // What the log was granted beforehand, others have used up.
        let used: u64 =
            disk.paths().iter().map(|path| disk.bytes_of(path).unwrap().len() as u64).sum();
        disk.set_capacity(used + room);
        let at = worker.position;
        let group = [worker.commit(&[1], 700), worker.full_commit()];
        let full = log.append(at, group.to_vec()).await;
        assert_eq!(full, Err(AppendError::Full), "room for {room}");
        let first = paths_ending(&disk, ".log")[0].clone();
        let length = disk.bytes_of(&first).unwrap().len();
        disk.set_capacity(u64::MAX);
        stored.extend(put(&log, at, &group).await);
        assert_eq!(disk.bytes_of(&first).unwrap().len(), length, "it gets no further write");
        assert_eq!(read_all(&log).await, stored);
        drop(log);
        disk.power_cut(|| false);
        assert_eq!(read_all(&open(&machine, &options).unwrap()).await, stored);
    }
}

#[tokio::test]
async fn a_full_disk_takes_appends_again_when_there_is_room() {
    let ((disk, machine), mut worker) = (simulated(), Worker::new());
    let reserve = 10_000;
    let options = Options { reserve_bytes: reserve, ..small() };
    let log = open(&machine, &options).unwrap();
    disk.set_capacity(reserve * 20);
    put(&log, Position(1), &[worker.commit(&[1], 100)]).await;
    let large = worker.commit(&[1], 195_000);
    let operations = failing_at(&disk, u64::MAX);
    for _ in 0..3 {
        assert_eq!(log.append(Position(2), vec![large.clone()]).await, Err(AppendError::Full));
    }
    assert_eq!(operations.load(Ordering::SeqCst), 0, "nothing was written");
    assert_eq!(log.read(Position(1), usize::MAX).await.unwrap().len(), 1);
    disk.set_capacity(u64::MAX);
    put(&log, Position(2), &[large]).await;
}

/// Syncs that wait until they are let go.
#[derive(Debug, Default)]
struct Gate {
    /// Syncs that have begun, and those that may end.
    syncs: Mutex<(u64, u64)>,
    moved: Condvar,
}

impl Gate {
    fn begun(&self) -> u64 {
        self.syncs.lock().unwrap().0
    }
    fn let_go(&self, syncs: u64) {
        self.syncs.lock().unwrap().1 += syncs;
        self.moved.notify_all();
    }
    fn wait_until_begun(&self, syncs: u64) {
        let begun = self.syncs.lock().unwrap();
        drop(self.moved.wait_while(begun, |(begun, _)| *begun < syncs).unwrap());
    }
    fn pass(&self) {
        let mut syncs = self.syncs.lock().unwrap();
        syncs.0 += 1;
        let mine = syncs.0;
        self.moved.notify_all();
        drop(self.moved.wait_while(syncs, |(_, may_end)| *may_end < mine).unwrap());
    }
}

/// A disk whose syncs pass the gate.
fn gated() -> (Arc<Gate>, SimulatedDisk, Machine) {
    let (gate, (disk, machine)) = (Arc::new(Gate::default()), simulated());
    let hook = Arc::clone(&gate);
    disk.set_hook(move |operation| {
        if operation.call == Call::Sync {
            hook.pass();
        }
        Fate::Done
    });
    (gate, disk, machine)
}

/// A test that fails must not leave a thread waiting.
struct LetGoAtEnd(Arc<Gate>);

impl Drop for LetGoAtEnd {
    fn drop(&mut self) {
        self.0.let_go(1_000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_makes_all_durable_that_waited_for_it() {
    let ((gate, _, machine), mut worker) = (gated(), Worker::new());
    let _end = LetGoAtEnd(Arc::clone(&gate));
    // Making a log takes two: the file's and the OPEN record's.
    gate.let_go(2);
    let log = open(&machine, &Options::default()).unwrap();
    for _ in 0..10 {
        log.append(worker.position, vec![worker.clone().commit(&[1], 10)]).await.unwrap();
        worker.commit(&[1], 10);
        gate.wait_until_begun(3);
    }
    assert_eq!(log.tail().borrow().position, Position(1), "written is not durable");
    assert_eq!(log.fetch(Offset(0), usize::MAX).await.unwrap().batches.len(), 0);
    gate.let_go(1);
    wait_for(&log, Position(2)).await;
    assert_eq!(log.tail().borrow().position, Position(2), "what was written before it began");
    gate.let_go(1);
    wait_for(&log, Position(11)).await;
    assert_eq!(gate.begun(), 4, "one sync for the nine that waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_durable_before_the_next_one_is_made() {
    let ((gate, disk, machine), mut worker) = (gated(), Worker::new());
    let _end = LetGoAtEnd(Arc::clone(&gate));
    gate.let_go(2);
    let options = Options { durability: Durability::Os, segment_bytes: 600, ..small() };
    let log = Arc::new(open(&machine, &options).unwrap());
    put(&*log, Position(1), &[worker.commit(&[1], 100)]).await;
    let (at, group) = (worker.position, vec![worker.commit(&[1], 500)]);
    let rolling = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.append(at, group).await }
    });
    gate.wait_until_begun(3);
    assert_eq!(paths_ending(&disk, ".log").len(), 1, "the first is not yet durable");
    // The old segment's sync, and the new file's.
    gate.let_go(2);
    rolling.await.unwrap().unwrap();
    assert_eq!(paths_ending(&disk, ".log").len(), 2);
}
