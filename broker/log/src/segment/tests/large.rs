//! Large data: written from where it is, its checksum combined, and read in whole commits.

use std::sync::Mutex;

use super::*;
use crate::conformance::{put, read_all};
use crate::simulated_disk::{Call, Fate};

#[tokio::test]
async fn groups_of_large_and_small_data_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SegmentLog::open(&Machine::real(), folder.path(), IDENTITY, Options::default());
    let (log, mut worker) = (open().unwrap(), Worker::new());
    let sizes = [10, 8 << 10, 1, 300_000, 16 << 10, (16 << 10) - 200, 0];
    let large: Vec<_> = sizes.iter().map(|&bytes| worker.commit(&[1, 2], bytes)).collect();
    let mut stored = put(&log, Position(1), &large).await;
    // More pieces than the kernel takes at once.
    let at = worker.position;
    let many: Vec<_> = (0..600).map(|_| worker.commit(&[1], 9_000)).collect();
    stored.extend(put(&log, at, &many).await);
    assert_eq!(read_all(&log).await, stored);
    log.close().await.unwrap();
    drop(log);
    let log = SegmentLog::open(
        &Machine::real(),
        folder.path(),
        IDENTITY,
        Options { verify_all: true, ..Options::default() },
    );
    assert_eq!(read_all(&log.unwrap()).await, stored);
}

#[tokio::test]
async fn a_fetch_reads_whole_commits_and_none_of_them_twice() {
    for bytes in [100, 9_000, 70_000, 140_000, 280_000] {
        let (disk, machine) = simulated();
        let (log, mut worker) = (open(&machine, &Options::default()).unwrap(), Worker::new());
        for _ in 0..20 {
            let at = worker.position;
            let some: Vec<_> = (0..10).map(|_| worker.commit(&[1], bytes)).collect();
            put(&log, at, &some).await;
        }
        let reads = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&reads);
        disk.set_hook(move |operation| {
            *counted.lock().unwrap() += u32::from(operation.call == Call::Read);
            Fate::Done
        });
        let (mut next, mut fetches, mut given) = (Offset(0), 0, 0);
        while next < Offset(200) {
            let fetched = log.fetch(next, 256 << 10).await.unwrap();
            let data: usize = fetched.batches.iter().map(Bytes::len).sum();
            assert!(data <= 256 << 10 || fetched.batches.len() == 1, "{bytes}");
            (next, fetches, given) = (fetched.next, fetches + 1, given + fetched.batches.len());
        }
        assert_eq!(given, 200, "{bytes}");
        assert_eq!(*reads.lock().unwrap(), fetches, "{bytes}");
    }
}
