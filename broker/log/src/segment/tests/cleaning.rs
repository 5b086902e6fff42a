//! Cleaning on disks that fail and machines that stop: before or after, and nothing in between.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::conformance::{clean_odd, offsets, read_all, try_to_clean_odd};
use crate::simulated_disk::{Call, Fate};
use crate::{CleanError, Stop};

/// What anybody can see of a log.
async fn seen(log: &SegmentLog) -> (Vec<u64>, Vec<Stored>, Option<Snapshot>) {
    let mut left = Vec::new();
    for position in 1..log.earliest().0.0 {
        left.extend(log.read(Position(position), 1).await.unwrap_or_default());
    }
    left.extend(read_all(log).await);
    (offsets(log).await, left, log.snapshot().await.unwrap())
}

/// A log that was cleaned once, and could be again.
async fn ready(options: &Options) -> (SimulatedDisk, Machine) {
    let (disk, machine) = simulated();
    fill(&machine, Path::new(LOG), options, 12, 300).await;
    let log = open(&machine, options).unwrap();
    clean_odd(&log, 9, &[2, 4]).await;
    log.close().await.unwrap();
    (disk, machine)
}

#[tokio::test]
async fn whatever_fails_and_whenever_it_stops_it_is_as_before_or_as_after() {
    let options = Options { segment_bytes: 1_500, ..small() };
    let (_, machine) = ready(&options).await;
    let before = seen(&open(&machine, &options).unwrap()).await;
    let log = open(&machine, &options).unwrap();
    clean_odd(&log, 18, &[4]).await;
    let after = seen(&log).await;
    assert_ne!(before, after);

    let (mut as_before, mut as_after, mut went_on) = (0, 0, 0);
    for fails_at in 0.. {
        let mut done = false;
        for ends in ["kill", "power cut that takes all", "power cut that takes nothing"] {
            let (disk, machine) = ready(&options).await;
            let log = open(&machine, &options).unwrap();
            let operations = std::sync::Arc::new(AtomicU64::new(0));
            let stands_still = std::sync::Arc::new(AtomicBool::new(false));
            let (counted, still) = (operations.clone(), stands_still.clone());
            disk.set_hook(move |operation| {
                let counts = operation.call != Call::Read;
                if still.load(Ordering::SeqCst)
                    || (counts && counted.fetch_add(1, Ordering::SeqCst) == fails_at)
                {
                    // Every other time the machine stands still from here on, as in a crash.
                    still.store(fails_at.is_multiple_of(2), Ordering::SeqCst);
                    return Fate::Fails(io::ErrorKind::Other, operation.bytes.len() / 2);
                }
                Fate::Done
            });
            let cleaned = try_to_clean_odd(&log, 18, &[4]).await;
            done = operations.load(Ordering::SeqCst) <= fails_at;
            disk.set_hook(|_| Fate::Done);
            match &cleaned {
                Ok(_) => assert_eq!(seen(&log).await, after, "{fails_at}, {ends}"),
                // Nobody knows what is on the disk: only the next start does.
                Err(CleanError::Stopped(stop)) => assert!(matches!(stop, Stop::Broken(_))),
                Err(CleanError::Failed(_)) => {
                    assert_eq!(seen(&log).await, before, "{fails_at}, {ends}");
                    // And it can be tried again at once, whatever the attempt left lying about.
                    if ends == "kill" {
                        try_to_clean_odd(&log, 18, &[4]).await.unwrap();
                        assert_eq!(seen(&log).await, after);
                        went_on += 1;
                        continue;
                    }
                }
                Err(other) => panic!("{fails_at}: {other}"),
            }
            match ends {
                "kill" => disk.kill(),
                "power cut that takes all" => disk.power_cut(|| false),
                _ => disk.power_cut(|| true),
            }
            let log = open(&machine, &options)
                .unwrap_or_else(|error| panic!("failure at {fails_at}, {ends}: {error}"));
            let found = seen(&log).await;
            match found == before {
                true if cleaned.is_ok() => panic!("{fails_at}, {ends}: the cleaning was undone"),
                true => as_before += 1,
                false => {
                    assert_eq!(found, after, "failure at {fails_at}, {ends}");
                    as_after += 1;
                }
            }
            // Nothing lies about that the log does not know.
            let known = disk.paths().len();
            drop(open(&machine, &options).unwrap());
            assert_eq!(disk.paths().len(), known);
            assert!(paths_ending(&disk, ".unfinished").is_empty());
            assert_eq!(paths_ending(&disk, ".snapshot").len(), 1);
        }
        if done {
            assert!(
                10 < fails_at && 10 < as_before && 10 < as_after && 5 < went_on,
                "{fails_at} operations, {as_before} as before, {as_after} as after, {went_on} again"
            );
            return;
        }
    }
}

#[tokio::test]
async fn every_flipped_bit_of_what_a_cleaning_wrote_is_found() {
    let options = Options { segment_bytes: 1_500, ..small() };
    let (disk, machine) = ready(&options).await;
    let whole = seen(&open(&machine, &options).unwrap()).await;
    let mut paths = paths_ending(&disk, ".clean");
    paths.extend(paths_ending(&disk, ".snapshot"));
    assert!(1 < paths.len());
    for path in paths {
        let good = disk.bytes_of(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            disk.overwrite(&path, &bad);
            // The check of an operator finds it, and so does a start or whoever reads.
            let verified = verify(machine.disk.as_ref(), Path::new(LOG), IDENTITY, |_| {});
            assert!(verified.is_err(), "{}, bit {bit}", path.display());
            let Ok(log) = open(&machine, &options) else { continue };
            let mut is_found = log.snapshot().await.is_err();
            let mut from = Offset(0);
            while !is_found && from < log.tail().borrow().offset {
                match log.fetch(from, 700).await {
                    Ok(fetched) => from = fetched.next,
                    Err(error) => {
                        assert!(matches!(error, ReadError::Corrupt { .. }), "{error}");
                        is_found = true;
                    }
                }
            }
            for position in [2, 4] {
                is_found |= log.read(Position(position), 1).await.is_err();
            }
            assert!(is_found, "{}, bit {bit}", path.display());
        }
        disk.overwrite(&path, &good);
    }
    assert_eq!(seen(&open(&machine, &options).unwrap()).await, whole);
}

#[tokio::test]
async fn a_file_that_the_snapshot_speaks_of_may_not_be_missing() {
    let options = Options { segment_bytes: 1_500, ..small() };
    let (disk, machine) = ready(&options).await;
    let mut paths = paths_ending(&disk, ".clean");
    paths.extend(paths_ending(&disk, ".snapshot"));
    paths.push(paths_ending(&disk, ".log")[0].clone());
    for path in paths {
        let bytes = disk.bytes_of(&path).unwrap();
        disk.unlink(&path).unwrap();
        let known = disk.paths();
        assert!(open(&machine, &options).is_err(), "{}", path.display());
        assert_eq!(disk.paths(), known, "a log that is refused is left as it is");
        disk.create(&path).unwrap().write_all_at(&bytes, 0).unwrap();
    }
    open(&machine, &options).unwrap();
}

#[tokio::test]
async fn readers_and_writers_go_on_while_it_is_cleaned() {
    let options = Options { segment_bytes: 3_000, ..small() };
    let folder = tempfile::tempdir().unwrap();
    let log = SegmentLog::open(&Machine::real(), folder.path(), IDENTITY, options).unwrap();
    let log = Arc::new(log);
    let written = Arc::new(AtomicBool::new(false));
    let appends = async {
        let mut worker = crate::commit::fixture::Worker::new();
        for _ in 0..400 {
            let at = worker.position;
            crate::conformance::put(&*log, at, &[worker.commit(&[1, 2], 200)]).await;
        }
        written.store(true, Ordering::SeqCst);
    };
    let cleanings = async {
        let mut cleanings = 0;
        while !written.load(Ordering::SeqCst) {
            let sealed = log.stretches().iter().filter(|of| of.is_sealed && !of.is_clean).count();
            if 0 < sealed {
                clean_odd(&*log, u64::MAX, &[]).await;
                cleanings += 1;
            }
            tokio::task::yield_now().await;
        }
        cleanings
    };
    let reads = async {
        let mut rounds = 0;
        while !written.load(Ordering::SeqCst) || rounds < 2 {
            // Every other event of an odd commit is there whatever happens.
            let end = log.tail().borrow().offset.0;
            let found = offsets(&*log).await;
            let stays = (0..end).filter(|offset| offset % 4 == 0);
            for offset in stays {
                assert!(found.binary_search(&offset).is_ok(), "{offset} is gone");
            }
            rounds += 1;
        }
    };
    let ((), cleanings, ()) = tokio::join!(appends, cleanings, reads);
    assert!(3 < cleanings, "{cleanings}");
}
