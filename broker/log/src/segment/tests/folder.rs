//! What stands in the folder: rolling, and everything that is refused.

use std::fs;

use bytes::BytesMut;
use weir_wire::ids::{PartitionId, TopicId};

use super::*;
use crate::commit::fixture::Worker;
use crate::conformance::{put, read_all};

fn reopened(folder: &Path) -> Result<SegmentLog, OpenError> {
    SegmentLog::open(&Machine::real(), folder, IDENTITY, small())
}

/// Why a filled folder is not opened after `damage`; whatever it did must still be there.
async fn refusal(damage: impl FnOnce(&Path)) -> OpenError {
    let (folder, _) = filled(&small(), 5).await;
    damage(folder.path());
    let before = listing(folder.path());
    let error = reopened(folder.path()).expect_err("a damaged folder is refused");
    assert_eq!(listing(folder.path()), before, "nothing was cleaned up");
    error
}

fn listing(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let content = |path: PathBuf| (path.clone(), fs::read(path).ok());
    files_ending(folder, "").into_iter().map(content).collect()
}

fn segment(folder: &Path, n: usize) -> PathBuf {
    files_ending(folder, ".log")[n].clone()
}

#[tokio::test]
async fn a_file_that_is_not_understood_is_refused() {
    for name in ["notes.txt", "12.log", "0000000000000000000x.log", "00000000000000000000.tmp"] {
        let error = refusal(|folder| fs::write(folder.join(name), "x").unwrap()).await;
        assert!(matches!(error, OpenError::Foreign { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let error = refusal(|folder| fs::create_dir(folder.join("sub")).unwrap()).await;
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_missing_segment_is_refused() {
    let error = refusal(|folder| fs::remove_file(segment(folder, 1)).unwrap()).await;
    assert!(matches!(error, OpenError::Gap { .. }), "{error}");
}

#[tokio::test]
async fn a_segment_under_a_wrong_name_is_refused() {
    let error = refusal(|folder| {
        fs::copy(segment(folder, 0), segment(folder, 1)).unwrap();
    })
    .await;
    assert!(matches!(error, OpenError::Misplaced { .. }), "{error}");
    let error = refusal(|folder| {
        let last = files_ending(folder, ".log").pop().unwrap();
        fs::copy(segment(folder, 0), last).unwrap();
    })
    .await;
    assert!(matches!(error, OpenError::Misplaced { .. }), "{error}");
}

#[tokio::test]
async fn a_sealed_segment_cut_short_is_corrupt() {
    let error = refusal(|folder| {
        let file = File::options().write(true).open(segment(folder, 0)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    })
    .await;
    assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn another_partitions_folder_is_refused() {
    let (folder, _) = filled(&small(), 1).await;
    for (topic, partition) in [(7, 4), (8, 3)] {
        let other = Identity { topic: TopicId(topic), partition: PartitionId(partition) };
        let error = SegmentLog::open(&Machine::real(), folder.path(), other, small()).unwrap_err();
        assert!(matches!(error, OpenError::Misplaced { .. }), "{error}");
    }
}

#[tokio::test]
async fn what_a_younger_weir_wrote_is_refused_and_not_cut() {
    let error = refusal(|folder| {
        let last = files_ending(folder, ".log").pop().unwrap();
        let mut bytes = BytesMut::from(&fs::read(&last).unwrap()[..]);
        let control = crate::commit::Envelope::parse(&bytes.clone().freeze()).unwrap();
        let control_bytes = control.bytes - control.data.len();
        let length = bytes[61..].windows(4).position(|four| four == b"\0\0WE").unwrap();
        // Behind the key stands the body's length, of two bytes here; then its version.
        bytes[61 + length + 6] = 4;
        let crc = crc32c::crc32c(&bytes[21..control_bytes]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        fs::write(last, bytes).unwrap();
    })
    .await;
    assert!(matches!(error, OpenError::Version { version: 4, .. }), "{error}");
}

#[tokio::test]
async fn a_group_larger_than_a_segment_stands_alone_in_one() {
    let (folder, mut worker) = (tempfile::tempdir().unwrap(), Worker::new());
    let log = reopened(folder.path()).unwrap();
    let mut stored = vec![];
    for bytes in [100, 10_000, 100] {
        let at = worker.position;
        stored.extend(put(&log, at, &[worker.commit(&[1], bytes)]).await);
    }
    let names: Vec<_> = files_ending(folder.path(), ".log");
    let stem = |name: &PathBuf| name.file_stem().unwrap().to_str().unwrap().to_owned();
    let bases: Vec<_> = names.iter().map(stem).collect();
    let expected = [0, 2, 3].map(|base: u64| format!("{base:020}"));
    assert_eq!(bases, expected);
    drop(log);
    assert_eq!(read_all(&reopened(folder.path()).unwrap()).await, stored);
}

#[tokio::test]
async fn a_crash_right_after_a_new_segment_was_made_loses_nothing() {
    let (folder, stored) = filled(&small(), 5).await;
    let end = stored.last().unwrap().position.next();
    File::create(files::segment_path(folder.path(), end)).unwrap();
    let log = reopened(folder.path()).unwrap();
    assert_eq!(log.tail().borrow().position, end);
    assert_eq!(log.tail().borrow().offset, Offset(20));
    let mut worker = Worker { position: end, offset: Offset(20), time: 90_000 };
    put(&log, end, &[worker.commit(&[1], 1)]).await;
    assert_eq!(log.fetch(Offset(20), 1).await.unwrap().batches.len(), 1);
}
