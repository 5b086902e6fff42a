//! A write that a crash interrupted: cut at every byte, with anything behind the cut (row R8 of the
//! reliability goals).

use super::*;
use crate::conformance::{put, read_all};
use crate::planted::{Bug, plant};

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

/// Every byte of a last segment of 64 KiB, five fills: some 330,000 recoveries in all, in parts that
/// run side by side.
async fn tear(fill_number: usize) {
    let options = Options { segment_bytes: 64 << 10, ..Options::default() };
    let (disk, machine) = simulated();
    let stored = fill(&machine, Path::new(LOG), &options, 56, 3_200).await;
    forget_mark(&disk);
    let segments = paths_ending(&disk, ".log");
    let (last, earlier) = (&segments[2], disk.bytes_of(&segments[0]).unwrap());
    segments[3..].iter().for_each(|later| disk.unlink(later).unwrap());
    let whole = disk.bytes_of(last).unwrap();
    assert!(whole.len() > 60 << 10, "{}", whole.len());
    let (mut ends, mut rest) = (vec![], Bytes::from(whole.clone()));
    let first: u64 = last.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    while !rest.is_empty() {
        rest = rest.slice(crate::commit::Envelope::parse(&rest).unwrap().bytes..);
        ends.push(whole.len() - rest.len());
    }
    for cut in 0..whole.len() {
        let (name, fill) = &fills(whole.len() - cut, &earlier)[fill_number];
        if cut == 0 && *name == "an earlier segment" {
            // A whole segment under another's name is no torn tail: see `folder`.
            continue;
        }
        let torn = [&whole[..cut], fill].concat();
        // The fill may happen to be what stood there.
        let same = torn.iter().zip(&whole).take_while(|(is, was)| is == was).count();
        let kept = ends.iter().filter(|&&end| end <= same).count();
        disk.overwrite(last, &torn);
        let log = open(&machine, &options)
            .unwrap_or_else(|error| panic!("cut at {cut}, then {name}: {error}"));
        let tail = log.tail().borrow().position;
        assert_eq!(tail, Position(first + kept as u64), "cut at {cut}, then {name}");
        let valid = if kept == 0 { 0 } else { ends[kept - 1] };
        assert_eq!(disk.bytes_of(last).unwrap().len(), valid);
        if cut % 9_973 == 0 {
            assert_eq!(read_all(&log).await, stored[..tail.0 as usize - 1]);
        }
    }
}

macro_rules! tears {
    ($($name:ident: $fill:expr,)*) => {
        $(#[tokio::test] async fn $name() { tear($fill).await })*
    };
}

tears! {
    the_longest_valid_prefix_is_kept_before_nothing: 0,
    the_longest_valid_prefix_is_kept_before_zeros: 1,
    the_longest_valid_prefix_is_kept_before_ones: 2,
    the_longest_valid_prefix_is_kept_before_garbage: 3,
    the_longest_valid_prefix_is_kept_before_an_earlier_segment: 4,
}

#[tokio::test]
async fn a_log_whose_first_write_was_torn_begins_anew() {
    let (disk, machine) = simulated();
    drop(open(&machine, &small()).unwrap());
    let path = paths_ending(&disk, ".log")[0].clone();
    let record = disk.bytes_of(&path).unwrap();
    let must_be_there = Options { may_create: false, ..small() };
    for cut in 0..record.len() {
        disk.overwrite(&path, &record[..cut]);
        let refused = open(&machine, &must_be_there);
        assert!(matches!(refused, Err(OpenError::Corrupt { .. })), "{cut}: {refused:?}");
        assert_eq!(disk.bytes_of(&path).unwrap(), record[..cut], "nothing was changed");
        let log = open(&machine, &small()).unwrap();
        assert_eq!(log.tail().borrow().position, Position(1));
        assert_eq!(disk.bytes_of(&path).unwrap(), record);
    }
}

#[tokio::test]
async fn a_hole_that_a_later_commit_proves_durable_is_corruption() {
    let (disk, machine) = simulated();
    fill(&machine, Path::new(LOG), &Options::default(), 3, 40).await;
    forget_mark(&disk);
    let path = &paths_ending(&disk, ".log")[0];
    let whole = Bytes::from(disk.bytes_of(path).unwrap());
    let open = crate::commit::Envelope::parse(&whole).unwrap().bytes;
    let second = crate::commit::Envelope::parse(&whole.slice(open..)).unwrap().bytes;
    let mut zeroed = whole.to_vec();
    zeroed[open..open + second].fill(0);
    let removed = [&whole[..open], &whole[open + second..]].concat();
    for damaged in [zeroed, removed] {
        disk.overwrite(path, &damaged);
        let opened = super::open(&machine, &Options::default());
        let Err(OpenError::Corrupt { from, to, .. }) = opened else {
            panic!("opened, or refused otherwise: {opened:?}")
        };
        // Group 1 was positions 1 and 2; group 2, positions 3 and 4, was written when they were
        // durable.
        assert_eq!((from, to), (Position(1), Position(3)));
        assert_eq!(disk.bytes_of(path).unwrap(), damaged, "nothing was cut");
    }
    // Where nobody looks for a later commit, the log opens: so this test sees it.
    plant(Some(Bug::CutWithoutProof));
    let opened = super::open(&machine, &Options::default());
    plant(None);
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn a_commit_of_another_history_does_not_follow() {
    let options = Options::default();
    let mut files = vec![];
    for value_bytes in [20, 30] {
        let ((disk, machine), mut worker) = (simulated(), Worker::new());
        let log = open(&machine, &options).unwrap();
        for value_bytes in [value_bytes, 40] {
            let at = worker.position;
            put(&log, at, &[worker.commit(&[1], value_bytes)]).await;
        }
        forget_mark(&disk);
        files.push((disk.bytes_of(&paths_ending(&disk, ".log")[0]).unwrap(), disk, machine));
    }
    // The last commits have the same length, position, offset and time, and another past.
    let [(here, disk, machine), (there, ..)] = &files[..] else { unreachable!("two were made") };
    let mut rest = Bytes::from(here.clone());
    for _ in 0..2 {
        rest = rest.slice(crate::commit::Envelope::parse(&rest).unwrap().bytes..);
    }
    let last = rest.len();
    let spliced = [&here[..here.len() - last], &there[there.len() - last..]].concat();
    disk.overwrite(&paths_ending(disk, ".log")[0], &spliced);
    let log = open(machine, &options).unwrap();
    assert_eq!(log.tail().borrow().position, Position(2));
}

/// The last commits of a log that was killed, or closed, are durable and nothing behind them says
/// so but the mark.
#[tokio::test]
async fn a_log_that_lost_its_end_is_refused_and_not_changed() {
    let (disk, machine) = simulated();
    let stored = fill(&machine, Path::new(LOG), &small(), 5, 40).await;
    let segments = paths_ending(&disk, ".log");
    let last = segments.last().unwrap();
    let whole = disk.bytes_of(last).unwrap();
    let end = stored.last().unwrap().position.next();
    for length in 0..whole.len() {
        disk.overwrite(last, &whole[..length]);
        let opened = open(&machine, &small());
        let Err(OpenError::Corrupt { to, .. }) = &opened else { panic!("{length}: {opened:?}") };
        assert_eq!(*to, end);
        assert_eq!(disk.bytes_of(last).unwrap(), whole[..length], "nothing was cut");
    }
    disk.unlink(last).unwrap();
    assert!(matches!(open(&machine, &small()), Err(OpenError::Corrupt { .. })));
    paths_ending(&disk, ".log").iter().for_each(|path| disk.unlink(path).unwrap());
    assert!(matches!(open(&machine, &small()), Err(OpenError::Missing { .. })));
}

/// A copy that was made while the log grew has a mark from another moment than its segments.
#[tokio::test]
async fn in_a_copy_the_mark_proves_nothing() {
    let (disk, machine) = simulated();
    let stored = fill(&machine, Path::new(LOG), &Options::default(), 5, 40).await;
    let copy = Path::new("/copy");
    disk.make_folder(copy).unwrap();
    for path in disk.paths() {
        let mut bytes = disk.bytes_of(&path).unwrap();
        if path.extension().is_some_and(|end| end == "log") {
            bytes.truncate(bytes.len() - 1);
        }
        disk.overwrite(&copy.join(path.file_name().unwrap()), &bytes);
    }
    assert!(!open(&machine, &Options::default()).unwrap().is_copied());
    let log = SegmentLog::open(&machine, copy, IDENTITY, Options::default()).unwrap();
    assert!(log.is_copied());
    assert_eq!(read_all(&log).await, stored[..stored.len() - 1]);
}

#[tokio::test]
async fn a_log_that_was_there_once_is_not_begun_anew() {
    let (disk, machine) = simulated();
    let must_be_there = Options { may_create: false, ..small() };
    assert!(matches!(open(&machine, &must_be_there), Err(OpenError::Missing { .. })));
    assert_eq!(disk.paths(), Vec::<PathBuf>::new());
    disk.make_folder(Path::new(LOG)).unwrap();
    assert!(matches!(open(&machine, &must_be_there), Err(OpenError::Missing { .. })));
    assert_eq!(disk.paths(), Vec::<PathBuf>::new());
}
