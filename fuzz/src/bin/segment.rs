//! Recovery of a folder whose segment is any bytes: a log that can be read and appended to, or a
//! refusal that changed nothing.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use weir_fuzz::{bounded, seal};
use weir_log::commit::{Identity, Kind};
use weir_log::segment::{Options, SegmentLog};
use weir_log::{Commit, PartitionLog, ReadError};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, Position, Timestamp, TopicId};

const IDENTITY: Identity = Identity { topic: TopicId(7), partition: PartitionId(3) };
const SEGMENT: &str = "00000000000000000000.log";
/// More commits than an input of 64 KiB has room for.
const READS_MAX: usize = 1_000;

// The first byte: whether checksums are made right, and where the input is cut into two segments.
fuzz_target!(|input: &[u8]| {
    let Some((choice, segment)) = input.split_first() else { return };
    let mut segment = segment.to_vec();
    if choice & 1 == 0 {
        seal::commits(&mut segment);
    }
    // Memory, where there is such a folder: a sync there is no wait.
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place).expect("a folder");
    let path = folder.path().join(SEGMENT);
    fs::write(&path, &segment).expect("a segment");
    bounded(|| recover(folder.path(), &path, &segment));
});

fn recover(folder: &Path, path: &Path, before: &[u8]) {
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let log = match SegmentLog::open(folder, IDENTITY, options.clone()) {
        Ok(log) => log,
        Err(_) => {
            let now = fs::read(path).expect("still there");
            assert!(now == before, "a refused segment was changed");
            return;
        }
    };
    let runtime = runtime();
    runtime.block_on(read_and_append(&log));
    drop(log);
    let again =
        SegmentLog::open(folder, IDENTITY, options).expect("what was recovered opens again");
    drop(again);
}

fn runtime() -> Runtime {
    Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime")
}

async fn read_and_append(log: &SegmentLog) {
    let tail = log.tail().borrow().clone();
    let (mut next, mut last) = (Position(0), None);
    for _ in 0..READS_MAX {
        if next == tail.position {
            break;
        }
        match log.read(next, usize::MAX).await {
            Ok(commits) => {
                for stored in commits {
                    assert_eq!(stored.position, next, "positions are dense");
                    next = stored.position.next();
                    last = Some(stored.commit);
                }
            }
            // Its envelope verifies and its sections say nothing: found when it is read.
            Err(ReadError::Corrupt { from, to, .. }) => {
                assert!(next <= from && from < to, "{from} to {to} of {next}");
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(next, tail.position, "everything below the tail is read");
    let fetched = log.fetch(Offset(0), usize::MAX).await;
    assert!(fetched.is_ok(), "{fetched:?}");
    let _ = log.offset_at(Timestamp(900)).await;
    let _ = log.offset_at(Timestamp(u64::MAX)).await;
    let Some(last) = last else { return };
    let (time, offset) = (last.time, last.first_offset.plus(last.events.into()));
    assert_eq!(offset, tail.offset);
    let mark = Commit::empty(Kind::Mark, time, ChainRevision(9), offset);
    if log.append(next, vec![mark]).await.is_ok() {
        log.close().await.expect("the disk is well");
    }
}
