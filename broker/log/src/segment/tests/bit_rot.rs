//! One wrong bit, anywhere: found, and never served.

use std::fs;

use super::*;
use crate::conformance::read_all;

/// Calls `each` with every bit of the file flipped once, and puts the file back.
async fn with_every_bit_flipped(path: &Path, mut each: impl AsyncFnMut(usize)) {
    let good = fs::read(path).unwrap();
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        overwrite(path, &bad);
        each(bit).await;
    }
    overwrite(path, &good);
}

fn open(folder: &Path, options: &Options) -> Result<SegmentLog, OpenError> {
    SegmentLog::open_on(TestDisk::fast(), folder, IDENTITY, options.clone())
}

#[tokio::test]
async fn every_flipped_bit_of_a_sealed_segment_is_found() {
    let options = Options { segment_bytes: 900, ..small() };
    let (folder, stored) = filled(&options, 4).await;
    let sealed = files_ending(folder.path(), ".log")[1].clone();
    let all = Options { verify_all: true, ..options.clone() };
    with_every_bit_flipped(&sealed, async |bit| {
        assert!(open(folder.path(), &all).is_err(), "bit {bit} passed the full check");
        // Whom an index lets pass, a read stops.
        let Ok(log) = open(folder.path(), &options) else { return };
        let answer = log.read(Position(0), usize::MAX).await;
        assert!(matches!(answer, Err(ReadError::Corrupt { .. })), "bit {bit}: {answer:?}");
    })
    .await;
    assert_eq!(read_all(&open(folder.path(), &all).unwrap()).await, stored);
}

#[tokio::test]
async fn a_flipped_bit_of_the_last_segment_never_changes_what_is_read() {
    let options = Options { segment_bytes: 3_000, ..small() };
    let (folder, stored) = filled(&options, 5).await;
    let last = files_ending(folder.path(), ".log").pop().unwrap();
    let good = fs::read(&last).unwrap();
    // The last group names as durable everything before it: two commits may be cut, no more.
    let proven = stored.len() - 2;
    with_every_bit_flipped(&last, async |bit| {
        let Ok(log) = open(folder.path(), &options) else { return };
        let read = read_all(&log).await;
        assert!(proven <= read.len() && read == stored[..read.len()], "bit {bit}");
        overwrite(&last, &good);
    })
    .await;
}

#[tokio::test]
async fn a_damaged_or_missing_index_changes_nothing() {
    let (folder, stored) = filled(&Options { segment_bytes: 900, ..small() }, 4).await;
    let index = files_ending(folder.path(), ".index")[0].clone();
    let good = fs::read(&index).unwrap();
    with_every_bit_flipped(&index, async |bit| {
        let log = open(folder.path(), &small()).unwrap();
        assert_eq!(fs::read(&index).unwrap(), good, "bit {bit}: the index is made again");
        if bit % 101 == 0 {
            assert_eq!(read_all(&log).await, stored);
        }
    })
    .await;
    for index in files_ending(folder.path(), ".index") {
        fs::remove_file(index).unwrap();
    }
    assert_eq!(read_all(&open(folder.path(), &small()).unwrap()).await, stored);
    assert_eq!(fs::read(&index).unwrap(), good);
}
