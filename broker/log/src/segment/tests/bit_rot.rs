//! One wrong bit, anywhere: found, and never served (row R9 of the reliability goals).

use super::*;
use crate::conformance::read_all;

/// A segment of 64 KiB: the size that the goal names.
fn options() -> Options {
    Options { segment_bytes: 64 << 10, index_interval_bytes: 16 << 10, ..Options::default() }
}

/// Three segments, of which the second is full.
async fn rotten_ground() -> (SimulatedDisk, Machine, Vec<Stored>) {
    let (disk, machine) = simulated();
    let stored = fill(&machine, Path::new(LOG), &options(), 42, 3_200).await;
    assert!(paths_ending(&disk, ".log").len() >= 3);
    (disk, machine, stored)
}

/// Calls `each` with the file after each of its bits was flipped, and puts it back.
fn with_every_bit_flipped(disk: &SimulatedDisk, path: &Path, mut each: impl FnMut(usize)) {
    let good = disk.bytes_of(path).unwrap();
    let mut bad = good.clone();
    for bit in 0..good.len() * 8 {
        bad[bit / 8] ^= 1 << (bit % 8);
        disk.overwrite(path, &bad);
        each(bit);
        bad[bit / 8] = good[bit / 8];
    }
    disk.overwrite(path, &good);
}

#[tokio::test]
async fn every_flipped_bit_of_a_sealed_segment_is_found_by_the_full_check() {
    let (disk, machine, stored) = rotten_ground().await;
    let all = Options { verify_all: true, ..options() };
    let sealed = paths_ending(&disk, ".log")[1].clone();
    with_every_bit_flipped(&disk, &sealed, |bit| {
        assert!(open(&machine, &all).is_err(), "bit {bit} passed the full check");
    });
    assert_eq!(read_all(&open(&machine, &all).unwrap()).await, stored);
}

#[tokio::test]
async fn every_flipped_bit_of_a_sealed_segment_is_found_by_whoever_reads() {
    let (disk, machine, _) = rotten_ground().await;
    let sealed = paths_ending(&disk, ".log")[1].clone();
    let base = Position(sealed.file_stem().unwrap().to_str().unwrap().parse().unwrap());
    with_every_bit_flipped(&disk, &sealed, |bit| {
        // Whom an index lets pass, a read stops.
        let Ok(log) = open(&machine, &options()) else { return };
        let answer = log.shared.read(base, 80 << 10);
        assert!(matches!(answer, Err(ReadError::Corrupt { .. })), "bit {bit}: {answer:?}");
    });
}

#[tokio::test]
async fn every_flipped_bit_of_the_last_segment_is_found_where_the_mark_is_there() {
    let (disk, machine, stored) = rotten_ground().await;
    let last = paths_ending(&disk, ".log").pop().unwrap();
    with_every_bit_flipped(&disk, &last, |bit| {
        let opened = open(&machine, &options());
        let Err(OpenError::Corrupt { to, .. }) = opened else { panic!("bit {bit}: {opened:?}") };
        assert!(to.0 <= stored.len() as u64 + 1, "bit {bit}");
    });
    assert_eq!(read_all(&open(&machine, &options()).unwrap()).await, stored);
}

#[tokio::test]
async fn without_the_mark_a_flipped_bit_never_changes_what_is_read() {
    let (disk, machine) = simulated();
    let options = Options { segment_bytes: 3_000, ..small() };
    let stored = fill(&machine, Path::new(LOG), &options, 5, 40).await;
    forget_mark(&disk);
    let last = paths_ending(&disk, ".log").pop().unwrap();
    let good = disk.bytes_of(&last).unwrap();
    // The last group names as durable everything before it: two commits may be cut, no more.
    let proven = stored.len() - 2;
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        disk.overwrite(&last, &bad);
        let Ok(log) = open(&machine, &options) else { continue };
        let read = read_all(&log).await;
        assert!(proven <= read.len() && read == stored[..read.len()], "bit {bit}");
    }
}

#[tokio::test]
async fn a_damaged_or_missing_index_or_mark_changes_nothing() {
    let (disk, machine, stored) = rotten_ground().await;
    let index = paths_ending(&disk, ".index")[0].clone();
    let good = disk.bytes_of(&index).unwrap();
    with_every_bit_flipped(&disk, &index, |bit| {
        open(&machine, &options()).unwrap();
        assert_eq!(disk.bytes_of(&index).unwrap(), good, "bit {bit}: the index is made again");
    });
    let mark = paths_ending(&disk, mark::MARK_FILE)[0].clone();
    with_every_bit_flipped(&disk, &mark, |_| drop(open(&machine, &options()).unwrap()));
    for path in paths_ending(&disk, ".index").iter().chain([&mark]) {
        disk.unlink(path).unwrap();
    }
    assert_eq!(read_all(&open(&machine, &options()).unwrap()).await, stored);
    assert_eq!(disk.bytes_of(&index).unwrap(), good);
}

#[tokio::test]
async fn a_sector_written_to_the_wrong_place_is_found() {
    let (disk, machine, _) = rotten_ground().await;
    let paths = paths_ending(&disk, ".log");
    let (from, to) = (disk.bytes_of(&paths[0]).unwrap(), disk.bytes_of(&paths[1]).unwrap());
    let all = Options { verify_all: true, ..options() };
    let sectors = from.len().min(to.len()) / 512;
    for (source, target) in (0..sectors).flat_map(|a| [(a, a), (a, (a * 7 + 3) % sectors)]) {
        let mut bad = to.clone();
        bad[target * 512..][..512].copy_from_slice(&from[source * 512..][..512]);
        disk.overwrite(&paths[1], &bad);
        assert!(open(&machine, &all).is_err() || bad == to, "{source} to {target}");
    }
}
