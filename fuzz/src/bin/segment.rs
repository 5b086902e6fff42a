//! Recovery of a folder whose segment is any bytes: a log that can be read and appended to, or a
//! refusal that changed nothing.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use weir_fuzz::{bounded, seal};
use weir_log::blocking::Blocking;
use weir_log::commit::{Identity, Kind};
use weir_log::disk::Disk;
use weir_log::segment::{Machine, Options, SegmentLog};
use weir_log::simulated_disk::SimulatedDisk;
use weir_log::{Commit, PartitionLog, ReadError};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, Position, Timestamp, TopicId};

const IDENTITY: Identity = Identity { topic: TopicId(7), partition: PartitionId(3) };
const FOLDER: &str = "/log";
const SEGMENT: &str = "00000000000000000000.log";
/// The note of what was durable, and its size.
const MARK: &str = "durable.mark";
const MARK_BYTES: usize = 32;
/// More commits than an input of 64 KiB has room for.
const READS_MAX: usize = 1_000;

// The first byte: bit 0, the checksums stay as they are; bit 1, the last bytes are the mark.
fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else { return };
    let has_mark = choice & 2 != 0 && MARK_BYTES <= bytes.len();
    let (segment, mark) = bytes.split_at(bytes.len() - if has_mark { MARK_BYTES } else { 0 });
    let (mut segment, mut mark) = (segment.to_vec(), mark.to_vec());
    if choice & 1 == 0 {
        seal::commits(&mut segment);
        seal::index(&mut mark);
    }
    let (disk, folder) = (SimulatedDisk::default(), PathBuf::from(FOLDER));
    disk.make_folder(&folder).expect("memory has room");
    disk.overwrite(&folder.join(SEGMENT), &segment);
    if has_mark {
        disk.overwrite(&folder.join(MARK), &mark);
    }
    bounded(|| recover(&disk, &folder, &segment));
});

fn recover(disk: &SimulatedDisk, folder: &Path, before: &[u8]) {
    // A task of the runtime below: nothing waits for threads.
    let blocking = Blocking::by(|work| drop(tokio::spawn(async move { work() })));
    let machine = Machine { disk: Arc::new(disk.clone()), blocking };
    let open = || SegmentLog::open(&machine, folder, IDENTITY, Options::default());
    let runtime = runtime();
    let Ok(log) = open() else {
        let now = disk.bytes_of(&folder.join(SEGMENT));
        assert!(now.as_deref() == Some(before), "a refused segment was changed");
        return;
    };
    runtime.block_on(read_and_append(&log));
    drop(log);
    open().expect("what was recovered opens again");
}

fn runtime() -> Runtime {
    Builder::new_current_thread().build().expect("a runtime")
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
