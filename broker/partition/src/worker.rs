//! The task that owns a partition: takes requests in order, makes plans true, answers.
//!
//! Invariants: one worker per log. The view is always the fold of what was appended; what was
//! appended and is not durable yet has its answers waiting. After a failed append or sync the
//! worker answers no batch any more: what the disk holds is for recovery to find out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use weir_log::commit::{Kind, SideEvent};
use weir_log::{AppendError, Commit, GROUP_BYTES_MAX, PartitionLog, ReadError, Stop, Tail};
use weir_views::checkpoint::Changes;
use weir_views::partition::PartitionView;
use weir_views::producers::Piece;
use weir_views::store::PartitionFold;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, Position, Timestamp, TopicName};
use weir_wire::verdict::Verdicts;

use crate::admission::{Passed, Place, Plan, admit};
use crate::answer::Answer;
use crate::batch::Batch;
use crate::chain::Chain;
use crate::counters::Counts;

/// Requests waiting for a worker. Enough to fill a group while the previous one is judged; more
/// only hides a slow partition from its publishers.
const INBOX_REQUESTS_MAX: usize = 64;
/// Requests taken into one append.
const GROUP_REQUESTS_MAX: usize = 64;
/// How long a publisher waits for room in the inbox before it hears `overloaded`.
const INBOX_WAIT: Duration = Duration::from_secs(5);
/// Batches appended and not yet durable. Beyond it the worker waits for the disk, and the inbox
/// and then the publishers wait for the worker: a slow disk costs bounded memory.
const UNANSWERED_MAX: usize = 1024;
/// How long a publisher is told to wait when the inbox stayed full.
const OVERLOADED_RETRY_MS: u64 = 250;
/// How long a publisher is told to wait for room on the disk.
const FULL_RETRY_MS: u64 = 1_000;
/// Commits after which the view's changes go to the checkpoint: it bounds what a restart replays.
const CHECKPOINT_COMMITS: u64 = 4_096;
/// After this long without reaching [`CHECKPOINT_COMMITS`] they go all the same.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);
/// Commits whose side events are given to the relay at once.
const OUTBOX_COMMITS_MAX: usize = 64;
/// Bytes of commits read at once in recovery.
const REPLAY_BYTES: usize = 4 << 20;

/// What a partition needs to be opened.
pub struct PartitionOptions {
    /// Its topic.
    pub topic: TopicName,
    /// Its number.
    pub partition: PartitionId,
    /// Its log, opened.
    pub log: Arc<dyn PartitionLog>,
    /// Its checkpoint.
    pub fold: PartitionFold,
    /// The chain as the catalog has it.
    pub chain: Chain,
    /// The same as JSON: recorded where it takes effect.
    pub chain_note: Bytes,
    /// The time, in ms since the epoch; may jump, the partition time does not fall.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Why a partition did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log cannot be read.
    #[error("the log cannot be replayed: {0}")]
    Replay(#[from] ReadError),
    /// The chain could not be recorded.
    #[error("the chain cannot be recorded: {0}")]
    Append(#[from] AppendError),
}

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
    /// Events judged since the partition was opened.
    pub counts: Counts,
    /// Why it stands still.
    pub stopped: Option<Fault>,
}

enum Request {
    Publish(Box<Batch>, oneshot::Sender<Result<Answer, Fault>>),
    ChangeChain(Chain, Bytes, oneshot::Sender<Result<Offset, Fault>>),
    Relayed(u64),
    OutboxFrom(u64, oneshot::Sender<Vec<Position>>),
    Close(oneshot::Sender<()>),
}

/// The door to a partition. Cheap to clone; the worker ends after [`close`](Self::close) or with
/// the last door.
#[derive(Clone)]
pub struct Partition {
    inbox: mpsc::Sender<Request>,
    log: Arc<dyn PartitionLog>,
    snapshot: watch::Receiver<Snapshot>,
}

impl Partition {
    /// Brings the view up to the log's tail, records the chain if it is new, and starts the worker
    /// on `runtime`. Recovery replays recorded effects; no plugin runs.
    pub async fn open(
        options: PartitionOptions,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let PartitionOptions { topic, partition, log, fold, chain, chain_note, clock } = options;
        let tail = log.tail();
        let end = tail.borrow().position;
        let view = replay(&*log, &fold, end).await?;
        let snapshot = Snapshot {
            time: view.time(),
            chain: view.chain(),
            outbox_pending: view.outbox().pending(),
            next_ordinal: view.next_ordinal(),
            relayed: view.relayed(),
            counts: Counts::default(),
            stopped: None,
        };
        let (snapshots, snapshot) = watch::channel(snapshot);
        let (inbox, requests) = mpsc::channel(INBOX_REQUESTS_MAX);
        let mut worker = Worker {
            place: Place { topic, partition },
            relayed: view.relayed(),
            view,
            chain: Chain::default(),
            log: Arc::clone(&log),
            tail,
            fold,
            clock,
            group: Vec::new(),
            group_bytes: 0,
            waiting: VecDeque::new(),
            counts: Counts::default(),
            snapshots,
            stopped: None,
            saving: Saving::Idle,
            commits_since_save: 0,
        };
        if worker.view.chain() == chain.revision {
            worker.chain = chain;
        } else {
            // The broker went down between the catalog's record and this partition's.
            worker.change_chain(chain, chain_note);
            worker.append().await?;
        }
        worker.publish_snapshot();
        let task = runtime.spawn(worker.run(requests));
        Ok((Self { inbox, log, snapshot }, task))
    }

    /// Hands a batch over to be judged and stored. Batches are judged in the order in which this
    /// returns; what becomes of them is in the [`Pending`].
    pub async fn submit(&self, batch: Batch) -> Result<Pending, Fault> {
        let (reply, answer) = oneshot::channel();
        let room = match tokio::time::timeout(INBOX_WAIT, self.inbox.reserve()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return Err(self.gone()),
            Err(_) => {
                return Err(Fault::new(
                    Code::Overloaded,
                    "this partition has more to judge than it can; nothing of the batch was done. \
                     Publish less at once, or try again later",
                )
                .after_ms(OVERLOADED_RETRY_MS));
            }
        };
        room.send(Request::Publish(Box::new(batch), reply));
        Ok(Pending { answer, snapshot: self.snapshot.clone() })
    }

    /// Puts another chain to work between two batches. Events from the answered offset on are
    /// judged by it, those below by the old one. `note` is recorded there.
    pub async fn change_chain(&self, chain: Chain, note: Bytes) -> Result<Offset, Fault> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Request::ChangeChain(chain, note, reply)).await.map_err(|_| self.gone())?;
        answer.await.unwrap_or_else(|_| Err(self.gone()))
    }

    /// Durable side events from `ordinal` on, those of a few commits; empty if there is none yet.
    pub async fn outbox(&self, ordinal: u64) -> Result<Vec<SideEvent>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Request::OutboxFrom(ordinal, reply)).await.map_err(|_| self.gone())?;
        let positions = answer.await.map_err(|_| self.gone())?;
        let mut events = Vec::new();
        for position in positions {
            let commit = read_one(&*self.log, position).await?;
            events.extend(commit.outbox.into_iter().filter(|event| event.ordinal >= ordinal));
        }
        Ok(events)
    }

    /// All side events below `ordinal` are in their topics. Recorded with the next commit.
    pub async fn relayed(&self, ordinal: u64) {
        // A worker that is gone has no use for the mark: it is only ever a saving.
        let _ = self.inbox.send(Request::Relayed(ordinal)).await;
    }

    /// The log, for readers.
    pub fn log(&self) -> &Arc<dyn PartitionLog> {
        &self.log
    }

    /// The partition as it is, now and from now on.
    pub fn snapshot(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// Answers what was taken, saves the checkpoint, closes the log.
    pub async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.inbox.send(Request::Close(reply)).await.is_ok() {
            let _ = closed.await;
        }
    }

    fn gone(&self) -> Fault {
        gone(&self.snapshot)
    }
}

fn gone(snapshot: &watch::Receiver<Snapshot>) -> Fault {
    snapshot.borrow().stopped.clone().unwrap_or_else(shutting_down)
}

/// A batch in the worker's hands.
pub struct Pending {
    answer: oneshot::Receiver<Result<Answer, Fault>>,
    snapshot: watch::Receiver<Snapshot>,
}

impl Pending {
    /// What became of it, once that is durable.
    pub async fn answer(self) -> Result<Answer, Fault> {
        self.answer.await.unwrap_or_else(|_| Err(gone(&self.snapshot)))
    }
}

/// The view at the log's tail: from the checkpoint if it fits the log, else from the beginning.
async fn replay(
    log: &dyn PartitionLog,
    fold: &PartitionFold,
    tail: Position,
) -> Result<PartitionView, ReadError> {
    let (earliest, _) = log.earliest();
    let usable = fold.load().filter(|saved| {
        let usable = saved.position() >= earliest && saved.position() <= tail;
        if !usable {
            tracing::warn!("checkpoint does not fit the log; replaying the log instead");
        }
        usable
    });
    let mut view = PartitionView::restore(usable);
    while view.next() < tail {
        for stored in log.read(view.next(), REPLAY_BYTES).await? {
            view.apply(stored.position, &stored.commit);
        }
    }
    Ok(view)
}

async fn read_one(log: &dyn PartitionLog, position: Position) -> Result<Commit, Fault> {
    let mut commits = log.read(position, 1).await.map_err(unreadable)?;
    assert!(!commits.is_empty(), "a durable position has a commit");
    assert!(commits[0].position == position, "a log reads from where it was asked");
    Ok(commits.swap_remove(0).commit)
}

fn unreadable(error: ReadError) -> Fault {
    let code = match error {
        ReadError::Corrupt { .. } => Code::Corrupt,
        ReadError::OutOfRange { .. } => Code::Expired,
        ReadError::Io(_) => Code::StorageBroken,
        ReadError::Closed => Code::ShuttingDown,
    };
    Fault::new(code, error.to_string())
}

fn shutting_down() -> Fault {
    Fault::new(Code::ShuttingDown, "the broker is going down; try again when it is back")
        .after_ms(FULL_RETRY_MS)
}

/// Who waits for a position to become durable.
enum Waiting {
    Publisher(oneshot::Sender<Result<Answer, Fault>>, Answer),
    Operator(oneshot::Sender<Result<Offset, Fault>>, Offset),
}

impl Waiting {
    fn durable(self) {
        match self {
            // Whoever no longer listens will ask again and be told the same.
            Self::Publisher(reply, answer) => drop(reply.send(Ok(answer))),
            Self::Operator(reply, offset) => drop(reply.send(Ok(offset))),
        }
    }
    fn failed(self, fault: Fault) {
        match self {
            Self::Publisher(reply, _) => drop(reply.send(Err(fault))),
            Self::Operator(reply, _) => drop(reply.send(Err(fault))),
        }
    }
}

struct Worker {
    place: Place,
    view: PartitionView,
    chain: Chain,
    log: Arc<dyn PartitionLog>,
    tail: watch::Receiver<Tail>,
    fold: PartitionFold,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Applied to the view, not yet given to the log; the last of them stands at `view.next() - 1`.
    group: Vec<Commit>,
    /// Bytes of their events.
    group_bytes: u64,
    /// In order of position: what to say once the tail has passed it.
    waiting: VecDeque<(Position, Waiting)>,
    /// What the relay has reached; the view learns it from the next commit.
    relayed: u64,
    counts: Counts,
    snapshots: watch::Sender<Snapshot>,
    stopped: Option<Fault>,
    saving: Saving,
    commits_since_save: u64,
}

/// Where the checkpoint stands. Changes are saved in the order they were taken, each set once.
enum Saving {
    Idle,
    /// Taken from the view; they may be saved once they are durable.
    Waiting(Changes),
    /// On their way; true if they arrived.
    Busy(JoinHandle<bool>),
}

impl Worker {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut taken = Vec::with_capacity(GROUP_REQUESTS_MAX);
        let mut checkpoint = tokio::time::interval(CHECKPOINT_INTERVAL);
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
        let mut full = self.is_full().await;
        let mut closer = None;
        for request in taken.drain(..) {
            // Half, so that one more batch and what surrounds it still fit.
            if self.group_bytes > GROUP_BYTES_MAX / 2 {
                self.append_or_stop().await;
                full = self.is_full().await;
            }
            match request {
                Request::Publish(_, reply) if self.stopped.is_some() => {
                    let _ = reply.send(Err(self.stopped.clone().unwrap_or_else(shutting_down)));
                }
                Request::Publish(_, reply) if full => {
                    let _ = reply.send(Err(storage_full()));
                }
                Request::Publish(batch, reply) => self.publish(*batch, reply),
                Request::ChangeChain(_, _, reply) if self.stopped.is_some() || full => {
                    let fault = self.stopped.clone().unwrap_or_else(storage_full);
                    let _ = reply.send(Err(fault));
                }
                Request::ChangeChain(chain, note, reply) => {
                    let offset = self.view.next_offset();
                    let at = self.change_chain(chain, note);
                    self.waiting.push_back((at, Waiting::Operator(reply, offset)));
                }
                Request::Relayed(ordinal) => self.relayed = self.relayed.max(ordinal),
                Request::OutboxFrom(ordinal, reply) => {
                    let _ = reply.send(self.outbox_from(ordinal));
                }
                Request::Close(reply) => closer = Some(reply),
            }
        }
        self.append_or_stop().await;
        if self.commits_since_save >= CHECKPOINT_COMMITS {
            self.take_checkpoint().await;
        }
        self.save_if_durable();
        closer
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

    /// Whether the disk is at its reserve: asked before anything is judged, since what was judged
    /// has changed the view.
    async fn is_full(&mut self) -> bool {
        self.log.append(self.view.next(), Vec::new()).await == Err(AppendError::Full)
    }

    fn publish(&mut self, batch: Batch, reply: oneshot::Sender<Result<Answer, Fault>>) {
        let now = self.now();
        match admit(&self.view, &mut self.chain, &self.place, &batch, now) {
            Plan::Commit(commit, passed) => {
                let answer = self.answer(commit.verdicts.clone(), now, passed);
                let at = self.apply(*commit);
                self.waiting.push_back((at, Waiting::Publisher(reply, answer)));
            }
            Plan::Answer(verdicts, passed) => {
                let _ = reply.send(Ok(self.answer(verdicts, now, passed)));
            }
            Plan::Recall(pieces) => {
                self.counts.duplicates += u64::from(batch.records.len());
                let (log, tail) = (Arc::clone(&self.log), self.tail.clone());
                tokio::spawn(async move {
                    let _ = reply.send(recall(&*log, tail, pieces).await);
                });
            }
            Plan::Refuse(fault) => {
                let _ = reply.send(Err(fault));
            }
        }
    }

    fn answer(&mut self, verdicts: Verdicts, now: Timestamp, passed: Passed) -> Answer {
        self.counts.judged(&verdicts);
        self.counts.passed_open += passed.open;
        Answer {
            first_offset: self.view.next_offset(),
            verdicts,
            time: now,
            chain: self.chain.revision,
            duplicate: false,
        }
    }

    /// The partition time: the clock's, but never earlier than what was recorded.
    fn now(&self) -> Timestamp {
        (self.clock)().max(self.view.time())
    }

    fn change_chain(&mut self, chain: Chain, note: Bytes) -> Position {
        let commit = Commit { chain: chain.revision, note, ..self.empty_commit(Kind::Chain) };
        self.chain = chain;
        self.apply(commit)
    }

    fn empty_commit(&self, kind: Kind) -> Commit {
        Commit {
            kind,
            time: self.now(),
            chain: self.chain.revision,
            first_offset: self.view.next_offset(),
            events: 0,
            max_timestamp: Timestamp(0),
            producer: None,
            relayed: self.view.relayed(),
            verdicts: Verdicts::default(),
            state: Vec::new(),
            outbox: Vec::new(),
            note: Bytes::new(),
            data: Bytes::new(),
        }
    }

    /// Folds the commit into the view and puts it into the group. Gives its position.
    fn apply(&mut self, mut commit: Commit) -> Position {
        commit.relayed = self.relayed;
        let at = self.view.next();
        self.view.apply(at, &commit);
        self.group_bytes += commit.data.len() as u64;
        self.group.push(commit);
        self.commits_since_save += 1;
        at
    }

    /// Gives the group to the log.
    async fn append(&mut self) -> Result<(), AppendError> {
        if self.group.is_empty() {
            return Ok(());
        }
        let first = Position(self.view.next().0 - self.group.len() as u64);
        self.group_bytes = 0;
        self.log.append(first, std::mem::take(&mut self.group)).await
    }

    async fn append_or_stop(&mut self) {
        if let Err(error) = self.append().await {
            self.stop(&error.to_string());
        }
    }

    /// Answers everyone whose commit the tail has passed; if the log stopped, everyone else too.
    fn answer_durable(&mut self) {
        let tail = self.tail.borrow_and_update().clone();
        while self.waiting.front().is_some_and(|(at, _)| *at < tail.position) {
            if let Some((_, waiting)) = self.waiting.pop_front() {
                waiting.durable();
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

    /// On the tick: records what the relay reached if no commit took it along, and saves.
    async fn mark_and_save(&mut self) {
        if self.relayed > self.view.relayed() && self.stopped.is_none() && !self.is_full().await {
            let mark = self.empty_commit(Kind::Mark);
            self.apply(mark);
            self.append_or_stop().await;
        }
        if self.commits_since_save > 0 {
            self.take_checkpoint().await;
        }
        self.save_if_durable();
    }

    /// Takes the view's changes for the checkpoint, unless earlier ones are still on their way.
    async fn take_checkpoint(&mut self) {
        if let Saving::Busy(task) = &self.saving
            && task.is_finished()
        {
            self.finish_saving().await;
        }
        if matches!(self.saving, Saving::Idle) && self.stopped.is_none() {
            self.saving = Saving::Waiting(self.view.take_changes());
            self.commits_since_save = 0;
        }
    }

    /// A checkpoint ahead of the durable log would remember what a crash forgets.
    fn save_if_durable(&mut self) {
        let durable = self.tail.borrow().position;
        self.saving = match std::mem::replace(&mut self.saving, Saving::Idle) {
            Saving::Waiting(changes) if changes.position() <= durable => {
                let fold = self.fold.clone();
                Saving::Busy(tokio::task::spawn_blocking(move || match fold.save(changes) {
                    Ok(()) => true,
                    Err(error) => {
                        tracing::warn!(%error, "checkpoint not saved; a restart replays more of the log");
                        false
                    }
                }))
            }
            other => other,
        };
    }

    /// Waits for a save under way.
    async fn finish_saving(&mut self) {
        self.saving = match std::mem::replace(&mut self.saving, Saving::Idle) {
            Saving::Busy(task) => {
                if !task.await.unwrap_or(false) {
                    // Those changes are gone: the next checkpoint has to hold everything.
                    self.view.start_over();
                }
                Saving::Idle
            }
            other => other,
        };
    }

    async fn shut_down(&mut self) {
        if self.relayed > self.view.relayed() && self.stopped.is_none() {
            let mark = self.empty_commit(Kind::Mark);
            self.apply(mark);
            self.append_or_stop().await;
        }
        if let Err(error) = self.log.close().await {
            self.stop(&error.to_string());
        }
        self.answer_durable();
        for (_, waiting) in self.waiting.drain(..) {
            waiting.failed(shutting_down());
        }
        // What was taken earlier goes first, then the rest.
        for _ in 0..2 {
            self.save_if_durable();
            self.finish_saving().await;
            self.take_checkpoint().await;
        }
    }

    fn publish_snapshot(&mut self) {
        let snapshot = Snapshot {
            time: self.view.time(),
            chain: self.chain.revision,
            outbox_pending: self.view.next_ordinal() - self.relayed,
            next_ordinal: self.view.next_ordinal(),
            relayed: self.relayed,
            counts: self.counts,
            stopped: self.stopped.clone(),
        };
        self.snapshots.send_if_modified(|current| {
            let modified = *current != snapshot;
            *current = snapshot;
            modified
        });
    }
}

fn storage_full() -> Fault {
    Fault::new(
        Code::StorageFull,
        "the disk is at its reserve; nothing of the batch was done. Readers go on; free some room, \
         then try again",
    )
    .after_ms(FULL_RETRY_MS)
}

/// The recorded verdicts of a batch that was judged before, once they are durable.
async fn recall(
    log: &dyn PartitionLog,
    mut tail: watch::Receiver<Tail>,
    pieces: Vec<Piece>,
) -> Result<Answer, Fault> {
    let mut answer: Option<Answer> = None;
    for piece in pieces {
        let passed = tail
            .wait_for(|tail| tail.position > piece.position || tail.stopped.is_some())
            .await
            .map_err(|_| shutting_down())?
            .position
            > piece.position;
        if !passed {
            return Err(Fault::new(
                Code::StorageBroken,
                "the log stopped before this batch was known to be durable; send it again with the \
                 same sequence when the broker is back",
            ));
        }
        let commit = read_one(log, piece.position).await?;
        let before = commit.verdicts.slice(0, piece.from).accepted();
        let part = Answer {
            first_offset: commit.first_offset.plus(before.into()),
            verdicts: commit.verdicts.slice(piece.from, piece.count),
            time: commit.time,
            chain: commit.chain,
            duplicate: true,
        };
        answer = Some(match answer {
            None => part,
            Some(earlier) => joined(earlier, part)?,
        });
    }
    answer.ok_or_else(|| Fault::new(Code::Internal, "a remembered batch without verdicts"))
}

/// Two recorded answers as one: possible where the accepted events stand one behind the other.
fn joined(mut earlier: Answer, later: Answer) -> Result<Answer, Fault> {
    let end = earlier.first_offset.plus(earlier.verdicts.accepted().into());
    if earlier.verdicts.accepted() == 0 {
        earlier.first_offset = later.first_offset;
    } else if later.verdicts.accepted() > 0 && end != later.first_offset {
        return Err(Fault::new(
            Code::OutOfOrderSequence,
            "these events were judged in several batches with others between them; ask for their \
             verdicts in batches as they were first sent",
        ));
    }
    earlier.verdicts.append(later.verdicts);
    Ok(earlier)
}
