//! The task that owns a partition: takes requests in order, makes plans true, answers.
//!
//! Invariants: one worker per log. The view is always the fold of what was appended; what was
//! appended and is not durable yet has its answers waiting. After a failed append or sync the
//! worker answers no batch any more: what the disk holds is for recovery to find out. Where the disk
//! has no room for what was judged, the worker goes back to what is stored and stays at work.

mod migrating;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use weir_log::commit::{KeyspaceChange, Kind};
use weir_log::planted::{Bug, is_planted};
use weir_log::{AppendError, Commit, GROUP_BYTES_MAX, PartitionLog, Stop, Tail};
use weir_views::partition::PartitionView;
use weir_wire::admin::{BreakerReport, JudgedCounts};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{ChainRevision, Offset, PluginName, Position, Timestamp};
use weir_wire::keyspace::Keyspace;
use weir_wire::verdict::Verdicts;

use crate::admission::{Passed, Place, Plan, STORED_BYTES_MAX, admit, stored_bytes};
use crate::answer::Answer;
use crate::batch::Batch;
use crate::chain::{Chain, Judge, Link, Shelved};
use crate::chain_note;
use crate::counters;
use crate::meter::Meter;
use crate::migration::Trial;
use crate::pace::Pace;
use crate::saver::Saver;
use crate::waiting::Waiting;

/// Requests taken into one append.
const GROUP_REQUESTS_MAX: usize = 64;
/// How long what was judged waits for the rest of its group to be judged: as long as a sync takes. A group of
/// large batches, or under a slow plugin, takes longer, and its first publisher would wait for the last one's.
const GROUP_TIME_MAX: Duration = Duration::from_millis(2);
/// How long the last commits may take to become durable when the partition closes.
const PROOF_WAIT: Duration = Duration::from_secs(2);
/// Batches appended and not yet durable. Beyond it the worker waits for the disk, and the inbox
/// and then the publishers wait for the worker: a slow disk costs bounded memory.
const UNANSWERED_MAX: usize = 1024;
/// How long a publisher is told to wait for room on the disk.
const FULL_RETRY_MS: u64 = 1_000;
/// How often the view's changes go to the checkpoint, however few they are.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// Commits whose side events are given to the relay at once.
const OUTBOX_COMMITS_MAX: usize = 64;

/// A partition as it is, for people and for the relay. Updated once per group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The time of the last commit.
    pub time: Timestamp,
    /// The chain at work.
    pub chain: ChainRevision,
    /// Side events not yet known to be in their topics.
    pub outbox_pending: u64,
    /// The ordinal of the next side event to be emitted.
    pub next_ordinal: u64,
    /// The relay starts here: side events below are in their topics.
    pub relayed: u64,
    /// Side events that did not get into their topics since the partition was opened.
    pub losses: RelayLosses,
    /// Events judged since the partition was opened.
    pub counts: JudgedCounts,
    /// Links that do not judge because their state could not be taken over, each with the reason.
    pub unmigrated: Vec<String>,
    /// Why it stands still.
    pub stopped: Option<Fault>,
}

/// Side events that did not get into their topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayLosses {
    /// Their topic was gone, or they were too large for it.
    pub lost: u64,
    /// The plugins of their topic refused or dropped them.
    pub refused: u64,
}

/// How one plugin does in a partition.
#[derive(Debug, Default)]
pub struct PluginUse {
    /// What judges; `None` if the plugin is not at work.
    pub judge: Option<Judge>,
    /// From which offset on, if that is recorded.
    pub since: Option<Offset>,
    /// What it said and took since the partition was opened.
    pub figures: Meter,
    /// Why every event is a fault of it, if it did not take over the state of the version before.
    pub unmigrated: Option<String>,
    /// Bytes of memory of the instance at work.
    pub memory_bytes: u64,
    /// Keys of its state.
    pub state_keys: u64,
    /// Bytes of its state.
    pub state_bytes: u64,
    /// Whether it is called.
    pub breaker: BreakerReport,
}

/// What the door asks.
pub(crate) enum Request {
    Publish(Box<Batch>, oneshot::Sender<Result<Answer, Fault>>),
    ChangeChain(Chain, Bytes, oneshot::Sender<Result<Offset, Fault>>),
    Trial(PluginName, Keyspace, oneshot::Sender<Option<Trial>>),
    Relayed(u64),
    Lost(RelayLosses),
    PluginUse(PluginName, oneshot::Sender<Box<PluginUse>>),
    OutboxFrom(u64, oneshot::Sender<Vec<Position>>),
    Close(oneshot::Sender<()>),
}

pub(crate) fn shutting_down() -> Fault {
    Fault::new(Code::ShuttingDown, "the broker is going down; try again when it is back")
        .after_ms(FULL_RETRY_MS)
}

/// One partition's writer.
pub(crate) struct Worker {
    place: Place,
    view: PartitionView,
    chain: Chain,
    /// Figures of plugins that the chain does not have.
    shelved: Shelved,
    /// The catalog's chain, if there was no room to record it, or if state has to be taken over first.
    /// Nobody is judged before it is at work.
    unrecorded: Option<(Chain, Bytes)>,
    log: Arc<dyn PartitionLog>,
    tail: watch::Receiver<Tail>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Applied to the view, not yet given to the log: `given.next..view.next()`.
    group: Vec<Commit>,
    given: Given,
    /// Bytes of their events and effects.
    group_bytes: u64,
    /// In order of position: what to say once the tail has passed it.
    waiting: VecDeque<(Position, Waiting)>,
    /// What the relay has reached; the view learns it from the next commit.
    relayed: u64,
    losses: RelayLosses,
    /// Behind the last commit that a reader or a publisher would miss.
    worth_proving: Position,
    /// What the last commit that was appended says to be durable.
    proven: Position,
    counts: JudgedCounts,
    snapshots: watch::Sender<Snapshot>,
    stopped: Option<Fault>,
    saver: Saver,
    pace: Pace,
}

/// How the worker stood behind its last append: there it goes back to if a group finds no room.
struct Given {
    /// Where the group begins.
    next: Position,
    counts: JudgedCounts,
    /// The chain that was at work, if the group has changed it.
    chain: Option<Chain>,
}

impl Worker {
    /// A worker whose view is the fold of all of `log`.
    pub(crate) fn new(
        place: Place,
        log: Arc<dyn PartitionLog>,
        view: PartitionView,
        saver: Saver,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> (Self, watch::Receiver<Snapshot>) {
        let (snapshots, snapshot) = watch::channel(Snapshot {
            time: view.time(),
            chain: view.chain(),
            outbox_pending: view.outbox().pending(),
            next_ordinal: view.next_ordinal(),
            relayed: view.relayed(),
            losses: RelayLosses::default(),
            counts: JudgedCounts::default(),
            unmigrated: Vec::new(),
            stopped: None,
        });
        let worker = Self {
            place,
            relayed: view.relayed(),
            losses: RelayLosses::default(),
            // What was replayed may be the end of a crash, and nothing behind it to prove it.
            worth_proving: match saver.has_news() && view.next_offset() > Offset(0) {
                true => view.next(),
                false => Position(0),
            },
            proven: Position(0),
            given: Given { next: view.next(), counts: JudgedCounts::default(), chain: None },
            chain: Chain { revision: view.chain(), links: Vec::new() },
            shelved: Shelved::default(),
            unrecorded: None,
            view,
            tail: log.tail(),
            log,
            clock,
            group: Vec::new(),
            group_bytes: 0,
            waiting: VecDeque::new(),
            counts: JudgedCounts::default(),
            snapshots,
            stopped: None,
            saver,
            pace: Pace::default(),
        };
        (worker, snapshot)
    }

    /// Puts the catalog's chain to work, and records it if the log does not know it: the broker
    /// went down between the catalog's record and this partition's. If there is no room for that,
    /// readers are served, and publishers when there is. State that is still to be taken over waits
    /// for [`run`](Self::run), which is where plugins run.
    pub(crate) async fn begin(&mut self, chain: Chain, note: Bytes) -> Result<(), AppendError> {
        if self.has_to_move(&chain) {
            self.unrecorded = Some((chain, note));
            self.publish_snapshot();
            return Ok(());
        }
        if self.view.chain() == chain.revision {
            self.chain = chain;
        } else {
            self.unrecorded = Some((chain, note));
            if !self.is_full().await {
                self.record_chain().await?;
            }
        }
        if let Some((chain, _)) = &self.unrecorded {
            tracing::warn!(
                topic = %self.place.topic, partition = %self.place.partition, chain = %chain.revision,
                "the disk is at its reserve: publishers wait until the chain can be recorded; free some room"
            );
        }
        self.publish_snapshot();
        Ok(())
    }

    /// Puts the chain to work for which there was no room when the partition was opened.
    async fn record_chain(&mut self) -> Result<(), AppendError> {
        let Some((chain, note)) = self.unrecorded.take() else { return Ok(()) };
        match self.put_to_work(chain, note.clone()).await {
            Ok(_) => {}
            Err((AppendError::Full, chain)) => {
                drop(self.take_back().await);
                self.unrecorded = Some((chain, note));
                return Ok(());
            }
            Err((error, _)) => return Err(error),
        }
        match self.append().await {
            Err(AppendError::Full) => {
                self.unrecorded = self.take_back().await.map(|chain| (chain, note));
                Ok(())
            }
            recorded => recorded,
        }
    }

    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if self.unrecorded.is_some() {
            self.has_no_room().await;
            self.publish_snapshot();
        }
        let mut taken = Vec::with_capacity(GROUP_REQUESTS_MAX);
        let first = Instant::now() + CHECKPOINT_INTERVAL;
        let mut checkpoint = tokio::time::interval_at(first, CHECKPOINT_INTERVAL);
        checkpoint.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let closer = loop {
            let may_take = self.waiting.len() < UNANSWERED_MAX;
            tokio::select! {
                biased;
                changed = self.tail.changed() => {
                    self.answer_durable();
                    if changed.is_err() {
                        break None;
                    }
                }
                count = requests.recv_many(&mut taken, GROUP_REQUESTS_MAX), if may_take => {
                    if count == 0 {
                        break None;
                    }
                    if let Some(closer) = self.take(&mut taken).await {
                        break Some(closer);
                    }
                }
                _ = checkpoint.tick() => self.mark_and_save().await,
            }
            self.publish_snapshot();
        };
        self.shut_down().await;
        if let Some(closer) = closer {
            let _ = closer.send(());
        }
    }

    /// Plans and appends one group of requests; gives back who asked to close, if anyone did.
    async fn take(&mut self, taken: &mut Vec<Request>) -> Option<oneshot::Sender<()>> {
        let mut full = self.has_no_room().await;
        let mut closer = None;
        let mut begun = Instant::now();
        for request in taken.drain(..) {
            // So that one more batch still fits into the room that was asked for.
            let is_large = self.group_bytes > GROUP_BYTES_MAX - STORED_BYTES_MAX;
            if is_large || GROUP_TIME_MAX <= begun.elapsed() {
                self.append_or_stop().await;
                full = self.has_no_room().await;
                begun = Instant::now();
            }
            match request {
                Request::Publish(_, reply) if self.stopped.is_some() => {
                    let _ = reply.send(Err(self.stopped.clone().unwrap_or_else(shutting_down)));
                }
                Request::Publish(_, reply) if full => {
                    let _ = reply.send(Err(storage_full()));
                }
                Request::Publish(batch, reply) => self.publish(*batch, reply).await,
                Request::ChangeChain(_, _, reply) if self.stopped.is_some() => {
                    let _ = reply.send(Err(self.stopped.clone().unwrap_or_else(shutting_down)));
                }
                Request::ChangeChain(chain, note, reply) if full => {
                    let waits = self.unrecorded.as_ref().map(|(waits, _)| waits.revision);
                    if waits.is_some_and(|waits| waits < chain.revision) {
                        self.unrecorded = Some((chain, note));
                    }
                    let _ = reply.send(Err(storage_full()));
                }
                Request::ChangeChain(chain, _, reply) if chain.revision <= self.chain.revision => {
                    let _ = reply.send(Err(overtaken(chain.revision, self.chain.revision)));
                }
                Request::ChangeChain(chain, note, reply) => {
                    let offset = self.view.next_offset();
                    match self.put_to_work(chain, note).await {
                        Ok(at) => self.say_when_durable(at, Waiting::Operator(reply, offset)),
                        // As wherever there is no room: the chain before it judges on.
                        Err((AppendError::Full, _)) => {
                            drop(self.take_back().await);
                            full = self.has_no_room().await;
                            let _ = reply.send(Err(storage_full()));
                        }
                        Err((error, _)) => {
                            self.stop(&error.to_string());
                            let _ =
                                reply.send(Err(self.stopped.clone().unwrap_or_else(shutting_down)));
                        }
                    }
                }
                Request::Trial(plugin, keyspace, reply) => {
                    let _ = reply.send(self.trial(&plugin, &keyspace));
                }
                Request::Relayed(ordinal) => self.relayed_to(ordinal),
                Request::Lost(losses) => {
                    self.losses.lost += losses.lost;
                    self.losses.refused += losses.refused;
                }
                Request::PluginUse(plugin, reply) => {
                    let _ = reply.send(Box::new(self.plugin_use(&plugin)));
                }
                Request::OutboxFrom(ordinal, reply) => {
                    let _ = reply.send(self.outbox_from(ordinal));
                }
                Request::Close(reply) => closer = Some(reply),
            }
        }
        self.append_or_stop().await;
        if self.saver.is_due(&self.view) && self.stopped.is_none() {
            self.saver.take(&mut self.view);
        }
        self.save_if_durable();
        closer
    }

    fn plugin_use(&self, plugin: &PluginName) -> PluginUse {
        let state = self.view.state(plugin);
        let at_rest = PluginUse {
            state_keys: state.keys(),
            state_bytes: state.bytes(),
            ..PluginUse::default()
        };
        match self.chain.links.iter().find(|link| link.plugin() == plugin) {
            Some(link) => PluginUse {
                judge: Some(link.who().clone()),
                since: chain_note::since_of(self.view.chain_note(), link.who()),
                figures: link.figures(),
                unmigrated: link.unmigrated(),
                memory_bytes: link.memory_bytes(),
                breaker: link.breaker(self.now()),
                ..at_rest
            },
            None => {
                let figures = self.shelved.figures(plugin).cloned().unwrap_or_default();
                PluginUse { figures, ..at_rest }
            }
        }
    }

    /// The next few durable commits that hold side events from `ordinal` on.
    fn outbox_from(&self, ordinal: u64) -> Vec<Position> {
        let durable = self.tail.borrow().position;
        let waiting = self.view.outbox().waiting();
        waiting
            .skip_while(|commit| commit.end() <= ordinal)
            .map(|commit| commit.position)
            .take_while(|position| *position < durable)
            .take(OUTBOX_COMMITS_MAX)
            .collect()
    }

    /// A relay that says more than it can know must not take the partition down, and what it has not
    /// seen must not be called delivered.
    fn relayed_to(&mut self, ordinal: u64) {
        let emitted = self.view.next_ordinal();
        if emitted < ordinal {
            tracing::error!(
                topic = %self.place.topic, partition = %self.place.partition, ordinal, emitted,
                "side events were reported as delivered that were never emitted; ignored. Please report it"
            );
        } else {
            self.relayed = self.relayed.max(ordinal);
        }
    }

    /// Whether publishers have to wait for room. A chain that waits too goes first.
    async fn has_no_room(&mut self) -> bool {
        let full = self.is_full().await;
        if !full
            && self.stopped.is_none()
            && let Err(error) = self.record_chain().await
        {
            self.stop(&error.to_string());
        }
        full || self.unrecorded.is_some()
    }

    /// Whether the disk is at its reserve: asked before anything is judged, since what was judged
    /// has changed the view.
    async fn is_full(&mut self) -> bool {
        self.log.append(self.view.next(), Vec::new()).await == Err(AppendError::Full)
    }

    async fn publish(&mut self, batch: Batch, reply: oneshot::Sender<Result<Answer, Fault>>) {
        let now = self.now();
        let plugins = u32::try_from(self.chain.links.len()).expect("a chain has few plugins");
        let events = batch.records.len();
        // Lent, and given back with the plan: meanwhile nobody else asks for them.
        let (view, mut chain) = (std::mem::take(&mut self.view), std::mem::take(&mut self.chain));
        let place = self.place.clone();
        let judge = move || {
            let plan = admit(&view, &mut chain, &place, &batch, now);
            (view, chain, batch, plan)
        };
        let (view, chain, batch, plan) = self.pace.run(plugins, events, judge).await;
        (self.view, self.chain) = (view, chain);
        match plan {
            Plan::Commit(commit, passed) => {
                let consumed = commit.consumed.is_some();
                let answer =
                    Answer { consumed, ..self.answer(commit.verdicts.clone(), now, passed) };
                let at = self.apply(*commit);
                self.say_when_durable(at, Waiting::Publisher(reply, answer));
            }
            Plan::Answer(verdicts, passed) => {
                let answer = self.answer(verdicts, now, passed);
                // A refusal rests upon all that was judged before it, and a relay that hears
                // "here already" lets go of the event: neither may be told before a crash
                // can no longer make it untrue.
                if is_planted(Bug::RefusalBeforeSync) {
                    return drop(reply.send(Ok(answer)));
                }
                self.say_when_durable(self.last(), Waiting::Publisher(reply, answer));
            }
            Plan::Recall(pieces) => {
                self.counts.duplicates += u64::from(batch.records.len());
                let at = pieces.last().map_or(self.last(), |piece| piece.position);
                self.say_when_durable(at, Waiting::Retry(reply, pieces));
            }
            Plan::Refuse(fault) => {
                let _ = reply.send(Err(fault));
            }
        }
    }

    /// The position of the last commit in the view.
    fn last(&self) -> Position {
        Position(self.view.next().0 - 1)
    }

    /// Says it once the tail has passed `at`; behind everything that already waits, if anything
    /// has to wait at all.
    fn say_when_durable(&mut self, at: Position, waiting: Waiting) {
        // What is still in the group is not in the log, wherever another owner's tail may be.
        if at < self.given.next && at < self.tail.borrow().position {
            waiting.durable(&self.log);
        } else {
            self.waiting.push_back((self.last(), waiting));
        }
    }

    fn answer(&mut self, verdicts: Verdicts, now: Timestamp, passed: Passed) -> Answer {
        counters::add(&mut self.counts, &verdicts);
        self.counts.passed_open += passed.open;
        self.counts.dead_letters += passed.dead_letters;
        self.counts.dead_letters_lost += passed.dead_letters_lost;
        Answer {
            first_offset: self.view.next_offset(),
            verdicts,
            time: now,
            chain: self.chain.revision,
            consumed: false,
            duplicate: false,
        }
    }

    /// The partition time: the clock's, but never earlier than what was recorded.
    fn now(&self) -> Timestamp {
        if is_planted(Bug::TimeFalls) {
            return (self.clock)();
        }
        (self.clock)().max(self.view.time())
    }

    fn change_chain(
        &mut self,
        mut chain: Chain,
        note: Bytes,
        keyspaces: Vec<KeyspaceChange>,
    ) -> Position {
        let judges = chain.links.iter().map(|link| link.who());
        let (before, offset) = (self.view.chain_note(), self.view.next_offset());
        let note = chain_note::noted(note, before, judges, offset);
        self.shelved.hand_over(&mut self.chain, &mut chain);
        let commit =
            Commit { chain: chain.revision, note, keyspaces, ..self.empty_commit(Kind::Chain) };
        let before = std::mem::replace(&mut self.chain, chain);
        if is_planted(Bug::SwapGap) {
            self.chain.links.clear();
        }
        self.given.chain.get_or_insert(before);
        self.apply(commit)
    }

    fn empty_commit(&self, kind: Kind) -> Commit {
        Commit::empty(kind, self.now(), self.chain.revision, self.view.next_offset())
    }

    /// Folds the commit into the view and puts it into the group. Gives its position.
    fn apply(&mut self, mut commit: Commit) -> Position {
        commit.relayed = self.relayed;
        let at = self.view.next();
        self.view.apply(at, &commit);
        let bytes = stored_bytes(&commit);
        self.group_bytes += bytes;
        self.group.push(commit);
        self.saver.applied(bytes);
        at
    }

    /// Gives the group to the log. Of a group for which there is no room nothing is stored, and the
    /// caller has to [`take_back`](Self::take_back) what it did.
    async fn append(&mut self) -> Result<(), AppendError> {
        if !self.group.is_empty() {
            let proven = self.tail.borrow().position;
            let is_worth_proving = self.group.iter().any(|commit| commit.kind != Kind::Mark);
            self.group_bytes = 0;
            self.log.append(self.given.next, std::mem::take(&mut self.group)).await?;
            self.proven = proven;
            if is_worth_proving {
                self.worth_proving = self.view.next();
            }
        }
        let given = Given { next: self.view.next(), counts: self.counts, chain: None };
        // Its instances' memory goes back to the system elsewhere: that can take as long as some
        // hundred events, and publishers wait here.
        if let Some(before) = std::mem::replace(&mut self.given, given).chain {
            self.saver.blocking().begin(move || drop(before));
        }
        Ok(())
    }

    async fn append_or_stop(&mut self) {
        match self.append().await {
            Ok(()) => {}
            Err(AppendError::Full) => drop(self.take_back().await),
            Err(error) => self.stop(&error.to_string()),
        }
    }

    /// There was no room for the group, although it was asked for: someone else took it. Goes back to
    /// what is stored, as far as it becomes durable, and tells whoever waited for the rest. Gives the
    /// chain that is not at work after all.
    async fn take_back(&mut self) -> Option<Chain> {
        let end = self.given.next;
        tracing::warn!(
            topic = %self.place.topic, partition = %self.place.partition,
            "the disk is at its reserve: what was just judged is not stored, its publishers hear storage-full"
        );
        let stays = self.waiting.partition_point(|(at, _)| *at < end);
        let lost = self.waiting.split_off(stays);
        let is_known = |tail: &Tail| end <= tail.position || tail.stopped.is_some();
        let _ = self.tail.wait_for(is_known).await;
        self.answer_durable();
        if self.stopped.is_none()
            && !is_planted(Bug::GroupNotTakenBack)
            && let Err(error) = self.saver.rebuild(&mut self.view, &*self.log, end).await
        {
            self.stop(&error.to_string());
        }
        // What was emitted in the group is no more, whoever said it was relayed.
        self.relayed = self.relayed.min(self.view.next_ordinal());
        self.counts = self.given.counts;
        let fault = self.stopped.clone().unwrap_or_else(storage_full);
        for (_, waiting) in lost {
            match waiting {
                Waiting::Retry(_, ref pieces)
                    if pieces.iter().all(|piece| piece.position < end) =>
                {
                    waiting.durable(&self.log);
                }
                _ => waiting.failed(fault.clone()),
            }
        }
        let mut before = self.given.chain.take()?;
        self.shelved.hand_over(&mut self.chain, &mut before);
        Some(std::mem::replace(&mut self.chain, before))
    }

    /// Answers everyone whose commit the tail has passed; if the log stopped, everyone else too.
    fn answer_durable(&mut self) {
        let tail = self.tail.borrow_and_update().clone();
        while self.waiting.front().is_some_and(|(at, _)| *at < tail.position) {
            if let Some((_, waiting)) = self.waiting.pop_front() {
                waiting.durable(&self.log);
            }
        }
        if let Some(Stop::Broken(why)) = tail.stopped {
            self.stop(&why);
        }
        self.save_if_durable();
    }

    /// Stands still for good. What waits may or may not be on the disk: whoever asks again with the
    /// same sequence after the restart hears which.
    fn stop(&mut self, why: &str) {
        if self.stopped.is_none() {
            tracing::error!(
                topic = %self.place.topic, partition = %self.place.partition, why,
                "partition stopped: its log takes no more; readers go on. Restart the broker to recover it"
            );
            let fault = Fault::new(
                Code::StorageBroken,
                format!(
                    "the log of {}/{} stopped ({why}); whether this batch is stored is unknown until \
                     the broker is restarted: send it again with the same sequence",
                    self.place.topic, self.place.partition
                ),
            );
            self.stopped = Some(fault);
        }
        let fault = self.stopped.clone().unwrap_or_else(shutting_down);
        for (_, waiting) in self.waiting.drain(..) {
            waiting.failed(fault.clone());
        }
    }

    /// Records what the relay reached, and that the last commits are durable, if no commit took
    /// that along. The proof is what tells damage from a torn tail when the log is opened again.
    async fn mark(&mut self) {
        let durable = self.tail.borrow().position;
        let proves = self.proven < self.worth_proving && durable == self.view.next();
        let has_news = proves || self.relayed > self.view.relayed();
        if has_news && self.stopped.is_none() && !self.is_full().await {
            let mark = self.empty_commit(Kind::Mark);
            self.apply(mark);
            self.append_or_stop().await;
        }
    }

    /// On the tick.
    async fn mark_and_save(&mut self) {
        if self.unrecorded.is_some() {
            self.has_no_room().await;
        }
        self.mark().await;
        if self.saver.is_worth_it(&self.view) && self.stopped.is_none() {
            self.saver.take(&mut self.view);
        }
        self.save_if_durable();
    }

    fn save_if_durable(&mut self) {
        let durable = self.tail.borrow().position;
        self.saver.save_if_durable(durable);
    }

    async fn shut_down(&mut self) {
        if is_planted(Bug::AnswerAtClose) {
            self.waiting.drain(..).for_each(|(_, waiting)| waiting.durable(&self.log));
        }
        if self.stopped.is_none() {
            let end = self.view.next();
            let durable = |tail: &Tail| tail.position == end || tail.stopped.is_some();
            // Without the proof the log is closed all the same; closing it waits for the disk too.
            let _ = tokio::time::timeout(PROOF_WAIT, self.tail.wait_for(durable)).await;
        }
        self.mark().await;
        if let Err(error) = self.log.close().await {
            self.stop(&error.to_string());
        }
        self.answer_durable();
        if !self.waiting.is_empty() {
            self.stop("it was closed before everything was durable");
        }
        // What was taken earlier goes first, then the rest.
        for _ in 0..2 {
            self.save_if_durable();
            self.saver.finish(&mut self.view).await;
            if self.stopped.is_none() {
                self.saver.take(&mut self.view);
            }
        }
    }

    fn publish_snapshot(&mut self) {
        let snapshot = Snapshot {
            time: self.view.time(),
            chain: self.chain.revision,
            outbox_pending: self.view.next_ordinal() - self.relayed,
            next_ordinal: self.view.next_ordinal(),
            relayed: self.relayed,
            losses: self.losses,
            counts: self.counts,
            unmigrated: self.chain.links.iter().filter_map(Link::unmigrated).collect(),
            stopped: self.stopped.clone(),
        };
        self.snapshots.send_if_modified(|current| {
            let modified = *current != snapshot;
            *current = snapshot;
            modified
        });
    }
}

/// A worker that falls over a defect says so: whoever waits hears it when the replies are dropped.
impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(
                topic = %self.place.topic, partition = %self.place.partition,
                "partition stopped by a defect of the broker; readers go on. Please report the \
                 panic above, and restart the broker to recover the partition"
            );
            // Not `Internal`, which is final: what waits may be durable already, and a publisher who
            // took it for refused would send it as a new event.
            let fault = Fault::new(
                Code::StorageBroken,
                format!(
                    "{}/{} was stopped by a defect of the broker; whether this batch is stored is \
                     unknown until the broker is restarted: send it again with the same sequence",
                    self.place.topic, self.place.partition
                ),
            );
            self.snapshots.send_modify(|now| now.stopped = Some(fault));
        }
    }
}

fn overtaken(revision: ChainRevision, at_work: ChainRevision) -> Fault {
    Fault::new(
        Code::InvalidRequest,
        format!("chain {revision} comes too late: {at_work} is at work here; change that one"),
    )
}

fn storage_full() -> Fault {
    Fault::new(
        Code::StorageFull,
        "the disk is at its reserve; nothing of the batch was done. Readers go on; free some room, \
         then try again",
    )
    .after_ms(FULL_RETRY_MS)
}
