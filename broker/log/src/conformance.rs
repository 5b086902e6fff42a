//! What every log must do: one suite, run by each implementation through [`suite!`].
//!
//! A case gets a [`Subject`], which makes the log and can make it again after a restart.

use std::sync::Arc;

use bytes::Bytes;
use weir_wire::ids::{Offset, Position, Timestamp};
use weir_wire::record_batch::{BatchLimits, RecordBatch, sieve};

use crate::commit::fixture::{Worker, as_stored};
use crate::commit::{Commit, Kind, Stored};
use crate::{AppendError, CleanError, Cleaning, PartitionLog, ReadError, Sieve, Stop, Stretch};

/// One implementation under test.
pub(crate) trait Subject {
    type Log: PartitionLog;
    /// A new log.
    fn open(&mut self) -> Self::Log;
    /// The same log after the process ended, however it did.
    fn reopen(&mut self, log: Self::Log) -> Self::Log;
}

macro_rules! suite {
    ($subject:expr) => {
        $crate::conformance::suite!($subject;
            a_new_log_begins_with_an_open_record,
            what_was_appended_is_read_back,
            a_fetch_begins_with_the_batch_that_holds_the_offset,
            an_append_at_another_position_is_a_conflict,
            offsets_that_are_not_dense_stop_the_log,
            a_falling_partition_time_stops_the_log,
            bytes_max_is_kept_but_for_the_first,
            times_are_found_in_the_middle_of_a_batch,
            what_is_not_there_is_out_of_range,
            a_cleaned_log_has_what_the_sieve_left_and_all_behind,
            what_lies_before_the_start_is_out_of_range,
            a_closed_log_answers_closed,
            a_reopened_log_is_the_same,
            readers_follow_a_writer,
        );
    };
    ($subject:expr; $($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$case(&mut $subject).await;
            }
        )*
    };
}
pub(crate) use suite;

/// Appends and waits until all is durable; returns it as it must be read back.
pub(crate) async fn put(log: &impl PartitionLog, at: Position, commits: &[Commit]) -> Vec<Stored> {
    log.append(at, commits.to_vec()).await.expect("the append is taken");
    wait_for(log, Position(at.0 + commits.len() as u64)).await;
    let positions = (at.0..).map(Position);
    positions.zip(commits).map(|(position, commit)| as_stored(position, commit)).collect()
}

pub(crate) async fn wait_for(log: &impl PartitionLog, position: Position) {
    let mut tail = log.tail();
    let tail = tail.wait_for(|tail| tail.position >= position || tail.stopped.is_some()).await;
    assert_eq!(tail.expect("the log is there").stopped, None);
}

/// Everything but the OPEN record.
pub(crate) async fn read_all(log: &impl PartitionLog) -> Vec<Stored> {
    let mut all = Vec::new();
    let mut from = log.earliest().0.max(Position(1));
    let tail = log.tail().borrow().position;
    while from < tail {
        let some = log.read(from, 1_000).await.expect("the log reads");
        from = some.last().expect("a read below the tail is not empty").position.next();
        all.extend(some);
    }
    all
}

pub(crate) async fn a_new_log_begins_with_an_open_record(subject: &mut impl Subject) {
    let log = subject.open();
    let tail = log.tail().borrow().clone();
    assert_eq!((tail.position, tail.offset, tail.stopped), (Position(1), Offset(0), None));
    assert_eq!(log.earliest(), (Position(0), Offset(0)));
    let open = &log.read(Position(0), 1).await.unwrap()[0];
    assert_eq!((open.position, open.commit.kind), (Position(0), Kind::Open));
    assert_eq!(log.fetch(Offset(0), 1).await.unwrap().batches.len(), 0);
}

pub(crate) async fn what_was_appended_is_read_back(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let group = vec![worker.commit(&[5, 6], 10), worker.full_commit()];
    let mut expected = put(&log, Position(1), &group).await;
    let group = vec![worker.chain_change(), worker.commit(&[], 0), worker.commit(&[9], 0)];
    expected.extend(put(&log, Position(3), &group).await);
    assert_eq!(read_all(&log).await, expected);
    assert_eq!(log.read(Position(4), usize::MAX).await.unwrap(), expected[3..]);
    assert_eq!(log.read(Position(6), usize::MAX).await.unwrap(), []);
    assert!(log.stored_bytes() > 0);
}

pub(crate) async fn a_fetch_begins_with_the_batch_that_holds_the_offset(
    subject: &mut impl Subject,
) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let mut commits = Vec::new();
    for events in [3, 0, 1, 5, 0, 0, 2] {
        commits.push(worker.commit(&vec![1; events], 30));
    }
    let stored = put(&log, Position(1), &commits).await;
    for from in 0..=11 {
        let fetched = log.fetch(Offset(from), usize::MAX).await.unwrap();
        let behind = |one: &&Stored| {
            let events = u64::from(one.commit.events);
            events > 0 && one.commit.first_offset.0 + events > from
        };
        let expected: Vec<_> =
            stored.iter().filter(behind).map(|one| one.commit.data.clone()).collect();
        assert_eq!(fetched.batches, expected, "from {from}");
        assert_eq!((fetched.next, fetched.high_watermark), (Offset(11), Offset(11)));
        let first = log.fetch(Offset(from), 1).await.unwrap();
        assert_eq!(first.batches, expected[..expected.len().min(1)], "from {from}");
    }
}

pub(crate) async fn an_append_at_another_position_is_a_conflict(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let commit = worker.commit(&[1], 1);
    for wrong in [0, 2] {
        let expected = Position(wrong);
        let answer = log.append(expected, vec![commit.clone()]).await;
        assert_eq!(answer, Err(AppendError::Conflict { expected, actual: Position(1) }));
    }
    put(&log, Position(1), &[commit]).await;
}

pub(crate) async fn offsets_that_are_not_dense_stop_the_log(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let good = worker.commit(&[1], 1);
    worker.offset = Offset(3);
    let gap = worker.commit(&[1], 1);
    let answer = log.append(Position(1), vec![good, gap]).await;
    assert!(matches!(answer, Err(AppendError::Broken(_))), "{answer:?}");
    assert_eq!(log.tail().borrow().position, Position(1));
    assert!(matches!(log.tail().borrow().stopped, Some(Stop::Broken(_))));
    assert_eq!(subject.reopen(log).tail().borrow().position, Position(1));
}

pub(crate) async fn a_falling_partition_time_stops_the_log(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let good = worker.commit(&[1], 1);
    worker.time = 0;
    let answer = log.append(Position(1), vec![good, worker.commit(&[1], 1)]).await;
    assert!(matches!(answer, Err(AppendError::Broken(_))), "{answer:?}");
}

pub(crate) async fn bytes_max_is_kept_but_for_the_first(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let commits: Vec<_> =
        [200_000, 10, 10, 10].iter().map(|&bytes| worker.commit(&[1], bytes)).collect();
    let stored = put(&log, Position(1), &commits).await;
    assert_eq!(log.read(Position(1), 1_000).await.unwrap(), stored[..1]);
    assert_eq!(log.read(Position(2), 0).await.unwrap(), stored[1..2]);
    let fetched = log.fetch(Offset(0), 1_000).await.unwrap();
    assert_eq!((fetched.batches.len(), fetched.next), (1, Offset(1)));
    let two = 2 * stored[1].commit.data.len();
    assert_eq!(log.fetch(Offset(1), two).await.unwrap().next, Offset(3));
    assert_eq!(log.fetch(Offset(1), two - 1).await.unwrap().next, Offset(2));
}

pub(crate) async fn times_are_found_in_the_middle_of_a_batch(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let stamps: &[&[u64]] = &[&[10, 20, 15], &[], &[5, 30], &[25], &[40, 35, 50]];
    let commits: Vec<_> = stamps.iter().map(|stamps| worker.commit(stamps, 40)).collect();
    put(&log, Position(1), &commits).await;
    let all: Vec<u64> = stamps.concat();
    for at in 0..=51 {
        let expected = all.iter().position(|&stamp| at <= stamp).unwrap_or(all.len());
        let found = log.offset_at(Timestamp(at)).await.unwrap();
        assert_eq!(found, Offset(expected as u64), "at {at}");
    }
}

pub(crate) async fn what_is_not_there_is_out_of_range(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    put(&log, Position(1), &[worker.commit(&[1, 2], 1)]).await;
    let answer = log.read(Position(3), 1).await;
    assert_eq!(answer, Err(ReadError::OutOfRange { asked: 3, earliest: 0, tail: 2 }));
    let answer = log.fetch(Offset(3), 1).await;
    assert_eq!(answer, Err(ReadError::OutOfRange { asked: 3, earliest: 0, tail: 2 }));
}

/// Leaves the first event of every commit at an odd position, and the verdicts of those at even ones
/// that `keeps` names.
#[derive(Debug)]
pub(crate) struct Odd {
    pub(crate) keeps: Vec<Position>,
}

impl Sieve for Odd {
    fn wants(&self, _: &Stretch) -> bool {
        true
    }

    fn keep(&mut self, Stored { position, commit }: Stored) -> Result<Option<Commit>, String> {
        let none = Commit::empty(commit.kind, commit.time, commit.chain, commit.first_offset);
        if position.0.is_multiple_of(2) || commit.data.is_empty() {
            let verdicts = commit.verdicts;
            return Ok(self.keeps.contains(&position).then_some(Commit { verdicts, ..none }));
        }
        let limits = BatchLimits::default();
        let batch = RecordBatch::parse(commit.data).unwrap();
        let data = sieve(&batch, &limits, |record| record.offset_delta == 0).unwrap().unwrap();
        let max_timestamp = commit.max_timestamp;
        Ok(Some(Commit { events: 1, max_timestamp, data, ..none }))
    }
}

/// Cleans up to the last stretch that ends at `at_most` or before; gives its end.
pub(crate) async fn clean_odd(log: &impl PartitionLog, at_most: u64, keeps: &[u64]) -> Position {
    try_to_clean_odd(log, at_most, keeps).await.expect("it can be cleaned")
}

pub(crate) async fn try_to_clean_odd(
    log: &impl PartitionLog,
    at_most: u64,
    keeps: &[u64],
) -> Result<Position, CleanError> {
    let mut sealed = log.stretches().into_iter().filter(|stretch| stretch.is_sealed);
    let end = sealed.rfind(|stretch| stretch.end.0 <= at_most).expect("one is sealed");
    let cleaning = Cleaning {
        below: end.end,
        start: log.earliest().1,
        view: vec![Bytes::from_static(b"all before"), Bytes::from(end.end.to_string())],
        note: Bytes::from_static(b"{}"),
        sieve: Box::new(Odd { keeps: keeps.iter().copied().map(Position).collect() }),
    };
    log.clean(cleaning).await.map(|()| end.end)
}

/// Every offset that a consumer finds, from the start to the high watermark.
pub(crate) async fn offsets(log: &impl PartitionLog) -> Vec<u64> {
    let (mut from, mut all) = (log.earliest().1, Vec::new());
    let end = log.tail().borrow().offset;
    while from < end {
        let fetched = log.fetch(from, 700).await.expect("the log reads");
        assert!(from < fetched.next, "a fetch below the tail goes on");
        for batch in fetched.batches {
            let batch = RecordBatch::parse(batch).unwrap();
            let base = batch.header().base_offset as u64;
            let records = batch.open_stored(&BatchLimits::default()).unwrap();
            let found = records.iter().map(|record| base + u64::from(record.offset_delta));
            all.extend(found.filter(|offset| from.0 <= *offset));
        }
        from = fetched.next;
    }
    all
}

pub(crate) async fn a_cleaned_log_has_what_the_sieve_left_and_all_behind(
    subject: &mut impl Subject,
) {
    let (mut log, mut worker) = (subject.open(), Worker::new());
    let mut stored = Vec::new();
    for at in 1..=20 {
        // Two events each; timestamps 10, 11, 20, 21, ...
        let commit = worker.commit(&[at * 10, at * 10 + 1], 300);
        stored.extend(put(&log, Position(at), &[commit]).await);
    }
    assert_eq!(log.snapshot().await.unwrap(), None);
    let (bytes, tail) = (log.stored_bytes(), log.tail().borrow().clone());
    let mut below = clean_odd(&log, 11, &[4]).await;
    assert!(Position(5) < below && below <= Position(11), "{below}");
    for round in 0..2 {
        for _ in 0..2 {
            assert_eq!(log.earliest(), (below, Offset(0)));
            assert_eq!(*log.tail().borrow(), tail);
            assert!(log.stored_bytes() < bytes);
            let snapshot = log.snapshot().await.unwrap().unwrap();
            assert_eq!(snapshot.position, below);
            assert_eq!(snapshot.view.concat(), format!("all before{below}").into_bytes());

            // What was left stands at its old place; what was not is nowhere.
            let left = &log.read(Position(3), usize::MAX).await.unwrap()[..];
            assert_eq!((left.len(), left[0].position, left[0].commit.events), (1, Position(3), 1));
            let verdicts = &log.read(Position(4), 1).await.unwrap()[0].commit;
            assert_eq!((verdicts.events, verdicts.verdicts.len()), (0, 2));
            let gone = log.read(Position(2), 1).await;
            assert!(matches!(gone, Err(ReadError::OutOfRange { .. })), "{gone:?}");
            assert_eq!(read_all(&log).await, stored[below.0 as usize - 1..]);

            let expected = (0..40).filter(|offset| {
                let position = offset / 2 + 1;
                below.0 <= position || (position % 2 == 1 && offset % 2 == 0)
            });
            let expected: Vec<u64> = expected.collect();
            assert_eq!(offsets(&log).await, expected);
            // Timestamp 21 was of offset 3, which went; the next that is as late is offset 4.
            assert_eq!(log.offset_at(Timestamp(21)).await.unwrap(), Offset(4));
            assert_eq!(log.offset_at(Timestamp(205)).await.unwrap(), Offset(40));
            log = subject.reopen(log);
        }
        if round == 0 {
            // Cleaning goes on from where it was, and thins out again what it left.
            below = clean_odd(&log, 16, &[4]).await;
        }
    }
    let again = put(&log, Position(21), &[worker.commit(&[500], 10)]).await;
    assert_eq!(read_all(&log).await.last(), again.last());
}

pub(crate) async fn what_lies_before_the_start_is_out_of_range(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    for at in 1..=20 {
        put(&log, Position(at), &[worker.commit(&[at], 300)]).await;
    }
    let mut sealed = log.stretches().into_iter().filter(|stretch| stretch.is_sealed);
    let end = sealed.rfind(|stretch| stretch.end.0 <= 12).unwrap();
    let cleaning = |start| Cleaning {
        below: end.end,
        start,
        view: vec![],
        note: Bytes::new(),
        sieve: Box::new(Nothing),
    };
    log.clean(cleaning(end.next_offset)).await.unwrap();
    let mut log = log;
    for _ in 0..2 {
        assert_eq!(log.earliest(), (end.end, end.next_offset));
        let before = Offset(end.next_offset.0 - 1);
        let answer = log.fetch(before, 1).await;
        assert!(matches!(answer, Err(ReadError::OutOfRange { .. })), "{answer:?}");
        assert_eq!(log.offset_at(Timestamp(0)).await.unwrap(), end.next_offset);
        assert_eq!(offsets(&log).await.len() as u64, 20 - end.next_offset.0);
        log = subject.reopen(log);
    }
    // The start never falls, and nothing is cleaned that is not sealed.
    let answer = log.clean(cleaning(Offset(0))).await;
    assert!(matches!(answer, Err(CleanError::Failed(_))), "{answer:?}");
    let unsealed = Cleaning { below: log.tail().borrow().position, ..cleaning(end.next_offset) };
    let answer = log.clean(unsealed).await;
    assert!(matches!(answer, Err(CleanError::Failed(_))), "{answer:?}");
}

/// Leaves nothing.
#[derive(Debug)]
struct Nothing;

impl Sieve for Nothing {
    fn wants(&self, _: &Stretch) -> bool {
        false
    }

    fn keep(&mut self, _: Stored) -> Result<Option<Commit>, String> {
        unreachable!("nothing is wanted")
    }
}

pub(crate) async fn a_closed_log_answers_closed(subject: &mut impl Subject) {
    let (log, mut worker) = (subject.open(), Worker::new());
    let commit = worker.commit(&[1], 1);
    log.append(Position(1), vec![commit]).await.unwrap();
    log.close().await.unwrap();
    let tail = log.tail().borrow().clone();
    assert_eq!((tail.position, tail.stopped), (Position(2), Some(Stop::Closed)));
    assert_eq!(log.append(Position(2), vec![]).await, Err(AppendError::Closed));
    assert_eq!(log.seal().await, Err(AppendError::Closed));
    assert_eq!(log.snapshot().await, Err(ReadError::Closed));
    assert_eq!(log.close().await, Err(AppendError::Closed));
    assert_eq!(log.read(Position(1), 1).await, Err(ReadError::Closed));
    assert_eq!(log.fetch(Offset(0), 1).await, Err(ReadError::Closed));
    assert_eq!(log.offset_at(Timestamp(0)).await, Err(ReadError::Closed));
}

pub(crate) async fn a_reopened_log_is_the_same(subject: &mut impl Subject) {
    let (mut log, mut worker) = (subject.open(), Worker::new());
    let mut expected = Vec::new();
    for round in 0..6 {
        let at = worker.position;
        let group = [worker.commit(&[round, 9], 200), worker.full_commit(), worker.commit(&[], 0)];
        expected.extend(put(&log, at, &group).await);
        let before = (log.tail().borrow().clone(), log.earliest(), log.stored_bytes());
        log = subject.reopen(log);
        let after = (log.tail().borrow().clone(), log.earliest(), log.stored_bytes());
        assert_eq!(after, before);
        assert_eq!(read_all(&log).await, expected);
    }
}

pub(crate) async fn readers_follow_a_writer(subject: &mut impl Subject) {
    const COMMITS: u64 = 200;
    let (log, mut worker) = (Arc::new(subject.open()), Worker::new());
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let (mut tail, mut from) = (log.tail(), Offset(0));
                while from.0 < 2 * COMMITS {
                    let mark = tail.wait_for(|tail| tail.offset > from).await.unwrap().offset;
                    let fetched = log.fetch(from, 2_000).await.unwrap();
                    assert!(from < fetched.next && fetched.next <= fetched.high_watermark);
                    assert!(mark <= fetched.high_watermark, "the tail never falls");
                    from = fetched.next;
                }
            })
        })
        .collect();
    while worker.position.0 <= COMMITS {
        let at = worker.position;
        let group: Vec<_> = (0..4).map(|_| worker.commit(&[1, 2], 50)).collect();
        log.append(at, group).await.unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}
