//! A disk that fails, fills up or takes its time.

use std::sync::{Condvar, Mutex};

use super::*;
use crate::Stop;
use crate::commit::fixture::{Worker, as_stored};
use crate::conformance::{put, read_all, wait_for};

/// Appends, rolls, trims and closes until something fails; returns what was appended.
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
    let outcome = match log.trim(Position(4)).await {
        Ok(_) => log.close().await,
        Err(error) => Err(error),
    };
    (appended, outcome)
}

#[tokio::test]
async fn after_any_failure_nothing_is_written_and_nothing_acknowledged_is_lost() {
    let options = Options { segment_bytes: 1_500, ..small() };
    for fails_at in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let disk = TestDisk::failing_at(fails_at);
        let opened = SegmentLog::open_on(disk.clone(), folder.path(), IDENTITY, options.clone());
        let (mut appended, mut tail) = (vec![], Position(1));
        if let Ok(log) = opened {
            let mut worker = Worker::new();
            let outcome;
            (appended, outcome) = scripted(&log, &mut worker).await;
            if outcome.is_ok() {
                assert!(20 < fails_at, "the script has more operations than {fails_at}");
                return;
            }
            tail = log.tail().borrow().position;
            assert!(matches!(log.tail().borrow().stopped, Some(Stop::Broken(_))), "{outcome:?}");
            let operations = disk.operations.load(Ordering::SeqCst);
            let again = log.append(worker.position, vec![]).await;
            assert!(matches!(again, Err(AppendError::Broken(_))), "{again:?}");
            assert!(matches!(log.close().await, Err(AppendError::Broken(_))));
            assert_eq!(disk.operations.load(Ordering::SeqCst), operations, "no retry");
            assert_eq!(log.tail().borrow().position, tail, "the tail stands still");
            // Readers go on below it.
            let last = Position(tail.0 - 1);
            assert_eq!(log.read(last, usize::MAX).await.unwrap().len(), 1);
        }
        let log = SegmentLog::open_on(TestDisk::fast(), folder.path(), IDENTITY, options.clone())
            .unwrap_or_else(|error| panic!("after a failure at {fails_at}: {error}"));
        assert!(tail <= log.tail().borrow().position, "failure at {fails_at}");
        for stored in read_all(&log).await {
            let expected = &appended[stored.position.0 as usize - 1];
            assert_eq!(stored, as_stored(stored.position, expected));
        }
    }
}

#[tokio::test]
async fn a_full_disk_takes_appends_again_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut worker) = (TestDisk::fast(), Worker::new());
    disk.free_bytes.store(small().reserve_bytes + 900, Ordering::SeqCst);
    let log = SegmentLog::open_on(disk.clone(), folder.path(), IDENTITY, small()).unwrap();
    put(&log, Position(1), &[worker.commit(&[1], 100)]).await;
    let large = worker.commit(&[1], 1_000);
    let operations = disk.operations.load(Ordering::SeqCst);
    for _ in 0..3 {
        assert_eq!(log.append(Position(2), vec![large.clone()]).await, Err(AppendError::Full));
    }
    assert_eq!(disk.operations.load(Ordering::SeqCst), operations, "nothing was written");
    assert_eq!(log.read(Position(1), usize::MAX).await.unwrap().len(), 1);
    disk.free_bytes.store(u64::MAX, Ordering::SeqCst);
    put(&log, Position(2), &[large]).await;
}

/// A disk whose syncs wait until they are let go.
#[derive(Debug, Default)]
struct SlowDisk {
    /// Syncs that have begun, and those that may end.
    syncs: Mutex<(u64, u64)>,
    moved: Condvar,
}

impl SlowDisk {
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
}

/// A test that fails must not leave a thread waiting.
struct LetGoAtEnd(Arc<SlowDisk>);

impl Drop for LetGoAtEnd {
    fn drop(&mut self) {
        self.0.let_go(1_000);
    }
}

impl Disk for SlowDisk {
    fn write_all_at(&self, file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
        RealDisk.write_all_at(file, bytes, place)
    }
    fn sync_file(&self, _: &File) -> io::Result<()> {
        let mut syncs = self.syncs.lock().unwrap();
        syncs.0 += 1;
        let mine = syncs.0;
        self.moved.notify_all();
        drop(self.moved.wait_while(syncs, |(_, may_end)| *may_end < mine).unwrap());
        Ok(())
    }
    fn truncate(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }
    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        RealDisk.unlink(path)
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sync_makes_all_durable_that_waited_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut worker) = (Arc::new(SlowDisk::default()), Worker::new());
    let _end = LetGoAtEnd(Arc::clone(&disk));
    // Making a log takes two: the file's and the OPEN record's.
    disk.let_go(2);
    let log =
        SegmentLog::open_on(disk.clone(), folder.path(), IDENTITY, Options::default()).unwrap();
    for _ in 0..10 {
        log.append(worker.position, vec![worker.clone().commit(&[1], 10)]).await.unwrap();
        worker.commit(&[1], 10);
        disk.wait_until_begun(3);
    }
    assert_eq!(log.tail().borrow().position, Position(1), "written is not durable");
    assert_eq!(log.fetch(Offset(0), usize::MAX).await.unwrap().batches.len(), 0);
    disk.let_go(1);
    wait_for(&log, Position(2)).await;
    assert_eq!(log.tail().borrow().position, Position(2), "what was written before it began");
    disk.let_go(1);
    wait_for(&log, Position(11)).await;
    assert_eq!(disk.begun(), 4, "one sync for the nine that waited");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_durable_before_the_next_one_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (disk, mut worker) = (Arc::new(SlowDisk::default()), Worker::new());
    let _end = LetGoAtEnd(Arc::clone(&disk));
    disk.let_go(2);
    let options = Options { durability: Durability::Os, segment_bytes: 600, ..small() };
    let log =
        Arc::new(SegmentLog::open_on(disk.clone(), folder.path(), IDENTITY, options).unwrap());
    put(&*log, Position(1), &[worker.commit(&[1], 100)]).await;
    let (at, group) = (worker.position, vec![worker.commit(&[1], 500)]);
    let rolling = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.append(at, group).await }
    });
    disk.wait_until_begun(3);
    assert_eq!(files_ending(folder.path(), ".log").len(), 1, "the first is not yet durable");
    // The old segment's sync, and the new file's.
    disk.let_go(2);
    rolling.await.unwrap().unwrap();
    assert_eq!(files_ending(folder.path(), ".log").len(), 2);
}
