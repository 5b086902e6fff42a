//! A log in memory, for tests of what stands on a log: it can be told to fail and to wait.
//!
//! Promises: the suite of `conformance`, with the very bytes of the segment log: commits are
//! encoded when appended and verified when read. Not here: anything that survives the process; a
//! restart is played with [`MemoryLog::reopen`].

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use weir_wire::ids::{Offset, Position, Timestamp};

use crate::commit::{Chain, Commit, Encoder, Envelope, Identity, Stored};
use crate::{
    AppendError, CleanError, Cleaning, Fetched, PartitionLog, ReadError, Snapshot, Stop, Stretch,
    Tail,
};

/// See the module's text. All methods but the trait's are for tests.
#[derive(Debug)]
pub struct MemoryLog {
    identity: Identity,
    state: Mutex<State>,
    tail: watch::Sender<Tail>,
}

/// Invariant: `held` are the commits from `earliest` to the end of `chain`; `left` lie before.
#[derive(Debug)]
struct State {
    /// What cleanings left.
    left: Vec<Envelope>,
    snapshot: Option<Snapshot>,
    /// The end of what was cleaned away.
    cleaned_to: Chain,
    held: VecDeque<Envelope>,
    earliest: (Position, Offset),
    chain: Chain,
    encoder: Encoder,
    stopped: Option<Stop>,
    append_fails: bool,
    sync_fails: bool,
    durability_is_held: bool,
    is_full: bool,
    next_group_finds_no_room: bool,
}

impl MemoryLog {
    /// A new log with its OPEN record at position 0, so that the tail is at position 1.
    pub fn new(identity: Identity) -> Self {
        let beginning = Chain::beginning_at(identity, Position(0));
        let open = Commit::open(Bytes::from_static(b"{}"));
        let mut encoder = Encoder::default();
        let (chain, envelope) = encode(&beginning, &open, Position(0), &mut encoder)
            .expect("an OPEN record without data can be written at position 0");
        Self::holding(identity, VecDeque::from([envelope]), (Position(0), Offset(0)), chain)
    }

    fn holding(
        identity: Identity,
        held: VecDeque<Envelope>,
        earliest: (Position, Offset),
        chain: Chain,
    ) -> Self {
        let tail = Tail { position: chain.position, offset: chain.offset, stopped: None };
        let state = State {
            left: Vec::new(),
            snapshot: None,
            cleaned_to: Chain::beginning_at(identity, Position(0)),
            held,
            earliest,
            chain,
            encoder: Encoder::default(),
            stopped: None,
            append_fails: false,
            sync_fails: false,
            durability_is_held: false,
            is_full: false,
            next_group_finds_no_room: false,
        };
        Self { identity, state: Mutex::new(state), tail: watch::Sender::new(tail) }
    }

    /// The log as it is after a crash and a restart: what was durable is there, the rest is gone,
    /// and nothing is told to fail. `self` should not be used any more.
    pub fn reopen(&self) -> Self {
        let tail = self.tail.borrow().position;
        self.reopen_at(tail)
    }

    /// The same where the disk kept exactly what lies below `tail`: some of what was written and not
    /// yet durable, or less than the system said was durable.
    pub fn reopen_at(&self, tail: Position) -> Self {
        let state = self.lock();
        let (mut chain, earliest) = (state.cleaned_to, state.earliest);
        let durable = state.held.iter().take_while(|held| held.link.position < tail);
        let held: VecDeque<_> = durable.cloned().collect();
        for envelope in &held {
            chain = chain.follow(envelope).expect("what is held was chained when it was appended");
        }
        let log = Self::holding(self.identity, held, earliest, chain);
        {
            let mut opened = log.lock();
            (opened.left, opened.snapshot) = (state.left.clone(), state.snapshot.clone());
            opened.cleaned_to = state.cleaned_to;
        }
        log
    }

    /// The next append answers `Broken` and stops the log, as a failed write does.
    pub fn fail_next_append(&self) {
        self.lock().append_fails = true;
    }

    /// The next append is taken, does not become durable, and stops the log, as a failed sync does.
    pub fn fail_next_sync(&self) {
        self.lock().sync_fails = true;
    }

    /// Appends are taken and do not become durable until [`Self::release_durability`].
    pub fn hold_durability(&self) {
        self.lock().durability_is_held = true;
    }

    /// What was appended meanwhile becomes durable, and from now on at once.
    pub fn release_durability(&self) {
        let mut state = self.lock();
        state.durability_is_held = false;
        self.sync(&mut state);
    }

    /// Where the next commit goes, whatever is durable.
    pub fn written(&self) -> Position {
        self.lock().chain.position
    }

    /// Whether appends answer `Full`.
    pub fn set_full(&self, is_full: bool) {
        self.lock().is_full = is_full;
    }

    /// The next append of commits answers `Full` once, although the question before was answered
    /// with room: another partition took it.
    pub fn refuse_next_group(&self) {
        self.lock().next_group_finds_no_room = true;
    }

    /// Whether that append is still to come.
    pub fn refuses_next_group(&self) -> bool {
        self.lock().next_group_finds_no_room
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between two changes of the state panics, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop(&self, state: &mut State, stop: Stop) {
        state.stopped = Some(stop.clone());
        self.tail.send_modify(|tail| tail.stopped = Some(stop));
    }

    fn sync(&self, state: &mut State) {
        if state.durability_is_held || state.stopped.is_some() {
            return;
        }
        if std::mem::take(&mut state.sync_fails) {
            return self.stop(state, Stop::Broken("the sync was told to fail".to_owned()));
        }
        self.tail.send_modify(|tail| {
            tail.position = state.chain.position;
            tail.offset = state.chain.offset;
        });
    }

    fn append_now(&self, expected: Position, commits: &[Commit]) -> Result<(), AppendError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(stop) = &state.stopped {
            return Err(stop.clone().into());
        }
        if expected != state.chain.position {
            return Err(AppendError::Conflict { expected, actual: state.chain.position });
        }
        if std::mem::take(&mut state.append_fails) {
            let why = "the append was told to fail".to_owned();
            self.stop(state, Stop::Broken(why.clone()));
            return Err(AppendError::Broken(why));
        }
        let no_room = !commits.is_empty() && std::mem::take(&mut state.next_group_finds_no_room);
        if state.is_full || no_room {
            return Err(AppendError::Full);
        }
        if commits.is_empty() {
            return Ok(());
        }
        let durable = self.tail.borrow().position;
        let mut chain = state.chain;
        let mut added = Vec::with_capacity(commits.len());
        for commit in commits {
            match encode(&chain, commit, durable, &mut state.encoder) {
                Ok((next, envelope)) => {
                    chain = next;
                    added.push(envelope);
                }
                Err(why) => {
                    self.stop(state, Stop::Broken(why.clone()));
                    return Err(AppendError::Broken(why));
                }
            }
        }
        state.chain = chain;
        state.held.extend(added);
        self.sync(state);
        Ok(())
    }

    /// What is durable, from the `n`-th held on.
    fn durable<'a>(&self, state: &'a State, n: usize) -> impl Iterator<Item = &'a Envelope> {
        let tail = self.tail.borrow().position;
        state
            .held
            .range(n.min(state.held.len())..)
            .take_while(move |held| held.link.position < tail)
    }

    fn readable(&self) -> Result<MutexGuard<'_, State>, ReadError> {
        let state = self.lock();
        if state.stopped == Some(Stop::Closed) { Err(ReadError::Closed) } else { Ok(state) }
    }

    fn read_now(&self, from: Position, bytes_max: usize) -> Result<Vec<Stored>, ReadError> {
        let state = self.readable()?;
        let (earliest, tail) = (state.earliest.0, self.tail.borrow().position);
        let left = state.left.iter().find(|held| held.link.position == from);
        if from < earliest
            && let Some(left) = left
        {
            return Ok(vec![left.clone().open().map_err(|why| ReadError::corrupt(from, why))?]);
        }
        if from < earliest || from > tail {
            return Err(ReadError::out_of_range(from.0, earliest.0, tail.0));
        }
        let mut left = bytes_max;
        let mut commits = Vec::new();
        for envelope in self.durable(&state, (from.0 - earliest.0) as usize) {
            if !commits.is_empty() && envelope.bytes > left {
                break;
            }
            left = left.saturating_sub(envelope.bytes);
            let at = envelope.link.position;
            commits.push(envelope.clone().open().map_err(|why| ReadError::corrupt(at, why))?);
        }
        Ok(commits)
    }

    fn fetch_now(&self, from: Offset, bytes_max: usize) -> Result<Fetched, ReadError> {
        let state = self.readable()?;
        let (earliest, high_watermark) = (state.earliest.1, self.tail.borrow().offset);
        if from < earliest || from > high_watermark {
            return Err(ReadError::out_of_range(from.0, earliest.0, high_watermark.0));
        }
        let first = state.held.partition_point(|held| held.next_offset() <= from);
        let behind = |held: &&Envelope| from < held.next_offset();
        let cleaned = state.left.iter().filter(behind);
        let mut left = bytes_max;
        let mut fetched = Fetched { batches: Vec::new(), next: from, high_watermark };
        let all = cleaned.chain(self.durable(&state, first));
        for envelope in all.filter(|held| !held.data.is_empty()) {
            if !fetched.batches.is_empty() && envelope.data.len() > left {
                return Ok(fetched);
            }
            left = left.saturating_sub(envelope.data.len());
            fetched.batches.push(envelope.data.clone());
            fetched.next = envelope.next_offset();
        }
        fetched.next = high_watermark;
        Ok(fetched)
    }

    fn offset_at_now(&self, at: Timestamp) -> Result<Offset, ReadError> {
        let state = self.readable()?;
        let start = state.earliest.1;
        let all = state.left.iter().chain(self.durable(&state, 0));
        for envelope in all.filter(|held| start < held.next_offset()) {
            let found = envelope.offset_at(at);
            let position = envelope.link.position;
            if let Some(offset) = found.map_err(|why| ReadError::corrupt(position, why))? {
                return Ok(offset);
            }
        }
        Ok(self.tail.borrow().offset)
    }

    /// Every durable commit is a stretch of its own here; the last stays, as a segment would.
    fn stretches_now(&self) -> Vec<Stretch> {
        let state = self.lock();
        let last = self.tail.borrow().position.0.saturating_sub(1);
        let stretch = |held: &Envelope, is_clean| Stretch {
            first: held.link.position,
            end: held.link.position.next(),
            first_offset: held.first_offset,
            next_offset: held.next_offset(),
            bytes: held.bytes as u64,
            first_time: held.time,
            last_time: held.time,
            is_clean,
            is_sealed: held.link.position.0 < last,
        };
        let left = state.left.iter().map(|held| stretch(held, true));
        left.chain(self.durable(&state, 0).map(|held| stretch(held, false))).collect()
    }

    fn clean_now(&self, cleaning: Cleaning) -> Result<(), CleanError> {
        let Cleaning { below, start, view, note, mut sieve } = cleaning;
        let stretches = self.stretches_now();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(stop) = &state.stopped {
            return Err(CleanError::Stopped(stop.clone()));
        }
        if start < state.earliest.1 {
            return Err(CleanError::Failed(format!("offset {start} was cleaned away before")));
        }
        let ends_there = |stretch: &Stretch| stretch.is_sealed && stretch.end == below;
        if below != state.earliest.0 && !stretches.iter().any(ends_there) {
            return Err(CleanError::Failed(format!("no sealed stretch ends at {below}")));
        }
        let count = (below.0 - state.earliest.0.0) as usize;
        let mut chain = Chain::sparse_at(self.identity, Position(0));
        let mut left = Vec::new();
        let old = state.left.iter().map(|held| (held, true));
        let old: Vec<_> =
            old.chain(state.held.iter().take(count).map(|held| (held, false))).collect();
        for (envelope, is_clean) in old {
            let position = envelope.link.position;
            let of = |stretch: &&Stretch| stretch.first == position && stretch.is_clean == is_clean;
            if !stretches.iter().find(of).is_some_and(|stretch| sieve.wants(stretch)) {
                continue;
            }
            let stored = envelope.clone().open();
            let stored = stored.map_err(|why| ReadError::corrupt(position, why))?;
            let Some(kept) = sieve.keep(stored).map_err(CleanError::Failed)? else { continue };
            let mut bytes = Vec::new();
            chain = chain
                .extend_sparse(position, &kept, &mut state.encoder, &mut bytes)
                .map_err(|why| CleanError::Failed(why.to_string()))?;
            let envelope = Envelope::parse(&bytes.into());
            left.push(envelope.map_err(|why| CleanError::Failed(why.to_string()))?);
        }
        state.left = left;
        for gone in state.held.drain(..count) {
            let end = state.cleaned_to.follow(&gone);
            state.cleaned_to = end.map_err(|why| CleanError::Failed(why.to_owned()))?;
        }
        state.earliest = (below, start);
        state.snapshot = Some(Snapshot { position: below, view, note });
        Ok(())
    }

    fn close_now(&self) -> Result<(), AppendError> {
        let mut state = self.lock();
        state.durability_is_held = false;
        self.sync(&mut state);
        if let Some(stop) = &state.stopped {
            return Err(stop.clone().into());
        }
        self.stop(&mut state, Stop::Closed);
        Ok(())
    }
}

fn encode(
    chain: &Chain,
    commit: &Commit,
    durable: Position,
    encoder: &mut Encoder,
) -> Result<(Chain, Envelope), String> {
    let mut bytes = Vec::new();
    let next = chain.extend(commit, durable, encoder, &mut bytes).map_err(|why| why.to_string())?;
    let envelope = Envelope::parse(&bytes.into()).map_err(|why| why.to_string())?;
    Ok((next, envelope))
}

impl PartitionLog for MemoryLog {
    fn append(
        &self,
        expected: Position,
        commits: Vec<Commit>,
    ) -> BoxFuture<'_, Result<(), AppendError>> {
        async move { self.append_now(expected, &commits) }.boxed()
    }

    fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    fn earliest(&self) -> (Position, Offset) {
        self.lock().earliest
    }

    fn read(
        &self,
        from: Position,
        bytes_max: usize,
    ) -> BoxFuture<'_, Result<Vec<Stored>, ReadError>> {
        async move { self.read_now(from, bytes_max) }.boxed()
    }

    fn fetch(&self, from: Offset, bytes_max: usize) -> BoxFuture<'_, Result<Fetched, ReadError>> {
        async move { self.fetch_now(from, bytes_max) }.boxed()
    }

    fn offset_at(&self, at: Timestamp) -> BoxFuture<'_, Result<Offset, ReadError>> {
        async move { self.offset_at_now(at) }.boxed()
    }

    fn stretches(&self) -> Vec<Stretch> {
        self.stretches_now()
    }

    fn seal(&self) -> BoxFuture<'_, Result<(), AppendError>> {
        let stopped = self.lock().stopped.clone();
        async move { stopped.map_or(Ok(()), |stop| Err(stop.into())) }.boxed()
    }

    fn clean(&self, cleaning: Cleaning) -> BoxFuture<'_, Result<(), CleanError>> {
        async move { self.clean_now(cleaning) }.boxed()
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<Option<Snapshot>, ReadError>> {
        async move { Ok(self.readable()?.snapshot.clone()) }.boxed()
    }

    fn stored_bytes(&self) -> u64 {
        let state = self.lock();
        state.left.iter().chain(&state.held).map(|held| held.bytes as u64).sum()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), AppendError>> {
        async move { self.close_now() }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::fixture::{IDENTITY, Worker};
    use crate::conformance::{Subject, put, suite};

    struct Memory;

    impl Subject for Memory {
        type Log = MemoryLog;
        fn open(&mut self) -> MemoryLog {
            MemoryLog::new(IDENTITY)
        }
        fn reopen(&mut self, log: MemoryLog) -> MemoryLog {
            log.reopen()
        }
    }

    suite!(Memory);

    #[tokio::test]
    async fn held_commits_are_neither_durable_nor_read_and_lost_in_a_crash() {
        let (log, mut worker) = (MemoryLog::new(IDENTITY), Worker::new());
        put(&log, Position(1), &[worker.commit(&[1], 1)]).await;
        log.hold_durability();
        log.append(Position(2), vec![worker.commit(&[2], 1)]).await.unwrap();
        assert_eq!(log.tail().borrow().position, Position(2));
        assert_eq!(log.fetch(Offset(0), usize::MAX).await.unwrap().next, Offset(1));
        assert_eq!(log.reopen().append(Position(2), vec![]).await, Ok(()));
        log.release_durability();
        assert_eq!(log.fetch(Offset(0), usize::MAX).await.unwrap().next, Offset(2));
    }

    #[tokio::test]
    async fn a_log_told_to_fail_stops_for_good() {
        let tell: [fn(&MemoryLog); 2] = [MemoryLog::fail_next_append, MemoryLog::fail_next_sync];
        for tell in tell {
            let (log, mut worker) = (MemoryLog::new(IDENTITY), Worker::new());
            tell(&log);
            // What a sync takes with it was taken by the append before.
            let _ = log.append(Position(1), vec![worker.commit(&[1], 1)]).await;
            assert!(matches!(log.tail().borrow().stopped, Some(Stop::Broken(_))));
            assert_eq!(log.tail().borrow().position, Position(1));
            let again = log.append(Position(1), vec![]).await;
            assert!(matches!(again, Err(AppendError::Broken(_))), "{again:?}");
        }
    }

    #[tokio::test]
    async fn a_full_log_takes_appends_again_when_there_is_room() {
        let (log, mut worker) = (MemoryLog::new(IDENTITY), Worker::new());
        let commit = worker.commit(&[1], 1);
        log.set_full(true);
        let answer = log.append(Position(1), vec![commit.clone()]).await;
        assert_eq!(answer, Err(AppendError::Full));
        assert_eq!(log.append(Position(1), vec![]).await, Err(AppendError::Full));
        log.set_full(false);
        put(&log, Position(1), &[commit]).await;
    }
}
