//! A write that a crash interrupted: cut at every byte, with anything behind the cut.

use std::fs;

use super::*;
use crate::conformance::{put, read_all};

/// What stands on the disk behind the last byte that was written.
fn fills(length: usize, earlier_segment: &[u8]) -> [(&'static str, Vec<u8>); 5] {
    let mut noise = 0x9E37_79B9_u32;
    let garbage = (0..length).map(|_| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise as u8
    });
    let old = earlier_segment.iter().copied().cycle().take(length).collect();
    [
        ("nothing", vec![]),
        ("zeros", vec![0; length]),
        ("ones", vec![0xFF; length]),
        ("garbage", garbage.collect()),
        ("an earlier segment", old),
    ]
}

#[tokio::test]
async fn the_longest_valid_prefix_is_kept_wherever_the_tail_was_torn() {
    let options = Options { index_interval_bytes: 300, ..small() };
    let (folder, stored) = filled(&options, 5).await;
    let segments = files_ending(folder.path(), ".log");
    let (last, earlier) = (segments.last().unwrap(), fs::read(&segments[0]).unwrap());
    let whole = fs::read(last).unwrap();
    let (mut ends, mut rest) = (vec![], Bytes::from(whole.clone()));
    let first = base_of(last);
    while !rest.is_empty() {
        rest = rest.slice(crate::commit::Envelope::parse(&rest).unwrap().bytes..);
        ends.push(whole.len() - rest.len());
    }
    assert!(ends.len() > 1 && segments.len() > 2, "more than one commit and segment to tear");
    for cut in 0..whole.len() {
        for (name, fill) in fills(whole.len() - cut, &earlier) {
            if cut == 0 && name == "an earlier segment" {
                // A whole segment under another's name is no torn tail: see `folder`.
                continue;
            }
            let torn = [&whole[..cut], &fill].concat();
            // The fill may happen to be what stood there.
            let same = torn.iter().zip(&whole).take_while(|(is, was)| is == was).count();
            let kept = ends.iter().filter(|&&end| end <= same).count();
            overwrite(last, &torn);
            let log =
                SegmentLog::open_on(TestDisk::fast(), folder.path(), IDENTITY, options.clone())
                    .unwrap_or_else(|error| panic!("cut at {cut}, then {name}: {error}"));
            let tail = log.tail().borrow().position;
            assert_eq!(tail, Position(first + kept as u64), "cut at {cut}, then {name}");
            let valid = if kept == 0 { 0 } else { ends[kept - 1] };
            assert_eq!(fs::metadata(last).unwrap().len(), valid as u64);
            if cut % 97 == 0 {
                assert_eq!(read_all(&log).await, stored[..tail.0 as usize - 1]);
            }
        }
    }
}

fn base_of(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_log_whose_first_write_was_torn_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("00000000000000000000.log");
    drop(SegmentLog::open(folder.path(), IDENTITY, small()).unwrap());
    let open = fs::read(&path).unwrap();
    for cut in 0..open.len() {
        overwrite(&path, &open[..cut]);
        let log = SegmentLog::open_on(TestDisk::fast(), folder.path(), IDENTITY, small()).unwrap();
        assert_eq!(log.tail().borrow().position, Position(1));
        assert_eq!(fs::read(&path).unwrap(), open);
    }
}

#[tokio::test]
async fn a_hole_that_a_later_commit_proves_durable_is_corruption() {
    let (folder, _) = filled(&Options::default(), 3).await;
    let path = &files_ending(folder.path(), ".log")[0];
    let whole = Bytes::from(fs::read(path).unwrap());
    let open = crate::commit::Envelope::parse(&whole).unwrap().bytes;
    let second = crate::commit::Envelope::parse(&whole.slice(open..)).unwrap().bytes;
    let mut zeroed = whole.to_vec();
    zeroed[open..open + second].fill(0);
    let removed = [&whole[..open], &whole[open + second..]].concat();
    for damaged in [zeroed, removed] {
        overwrite(path, &damaged);
        let opened = SegmentLog::open(folder.path(), IDENTITY, Options::default());
        let Err(OpenError::Corrupt { from, to, .. }) = opened else {
            panic!("opened, or refused otherwise: {opened:?}")
        };
        // Group 1 was positions 1 and 2; group 2, positions 3 and 4, was written when they were
        // durable.
        assert_eq!((from, to), (Position(1), Position(3)));
        assert_eq!(fs::read(path).unwrap(), damaged, "nothing was cut");
    }
}

#[tokio::test]
async fn a_commit_of_another_history_does_not_follow() {
    let options = Options::default();
    let mut files = vec![];
    for value_bytes in [20, 30] {
        let (folder, mut worker) = (tempfile::tempdir().unwrap(), Worker::new());
        let log = SegmentLog::open(folder.path(), IDENTITY, options.clone()).unwrap();
        for value_bytes in [value_bytes, 40] {
            let at = worker.position;
            put(&log, at, &[worker.commit(&[1], value_bytes)]).await;
        }
        files.push((fs::read(&files_ending(folder.path(), ".log")[0]).unwrap(), folder));
    }
    // The last commits have the same length, position, offset and time, and another past.
    let [(here, folder), (there, _)] = &files[..] else { unreachable!("two were made") };
    let mut rest = Bytes::from(here.clone());
    for _ in 0..2 {
        rest = rest.slice(crate::commit::Envelope::parse(&rest).unwrap().bytes..);
    }
    let last = rest.len();
    let spliced = [&here[..here.len() - last], &there[there.len() - last..]].concat();
    overwrite(&files_ending(folder.path(), ".log")[0], &spliced);
    let log = SegmentLog::open(folder.path(), IDENTITY, options).unwrap();
    assert_eq!(log.tail().borrow().position, Position(2));
}
