//! The door to a partition: opens it, takes what is to be judged, gives what became of it.
//!
//! Promises: batches are judged in the order in which they were taken; whoever waits hears in the
//! end, also of a worker that fell. Not here: judging and storing, which is the worker's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use weir_log::blocking::Blocking;
use weir_log::commit::SideEvent;
use weir_log::{AppendError, PartitionLog};
use weir_views::consumed::{Of, Reached};
use weir_views::store::PartitionFold;
use weir_wire::admin::Durability;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, PluginName, Timestamp, TopicName};
use weir_wire::keyspace::Keyspace;
use weir_wire::retention::Retention;

use crate::admission::Place;
use crate::answer::Answer;
use crate::batch::Batch;
use crate::chain::Chain;
use crate::cleaning::{Cleaned, CleaningError, When, clean};
use crate::migration::Trial;
use crate::recall::read_one;
use crate::replay::{ReplayError, replay};
use crate::saver::Saver;
use crate::worker::{PluginUse, RelayLosses, Request, Snapshot, Worker, shutting_down};

/// Requests waiting for a worker. Enough to fill a group while the previous one is judged; more
/// only hides a slow partition from its publishers.
const INBOX_REQUESTS_MAX: usize = 64;
/// How long a publisher waits for room in the inbox before it hears `overloaded`.
const INBOX_WAIT: Duration = Duration::from_secs(5);
/// How long a publisher is told to wait when the inbox stayed full.
const OVERLOADED_RETRY_MS: u64 = 250;

/// How long whoever asks for figures waits behind what is being judged.
const FIGURES_WAIT: Duration = Duration::from_secs(2);

/// What a partition needs to be opened.
pub struct PartitionOptions {
    /// Its topic.
    pub topic: TopicName,
    /// Its number.
    pub partition: PartitionId,
    /// Its log, opened.
    pub log: Arc<dyn PartitionLog>,
    /// What its log's tail promises: whether a checkpoint beyond it is proof of a loss.
    pub durability: Durability,
    /// Its checkpoint.
    pub fold: PartitionFold,
    /// The chain as the catalog has it.
    pub chain: Chain,
    /// The same as JSON: recorded where it takes effect.
    pub chain_note: Bytes,
    /// Where checkpoints are read and written.
    pub blocking: Blocking,
    /// The time, in ms since the epoch; may jump, the partition time does not fall.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

/// Why a partition did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its log and its checkpoint do not make a view.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The chain could not be recorded.
    #[error("the chain cannot be recorded: {0}")]
    Append(#[from] AppendError),
    /// The catalog's chain is older than the one that judged last: its catalog is not this log's.
    #[error("chain {at_work} was at work here, and the catalog knows only of {known}")]
    ChainFromBefore {
        /// The last in the log.
        at_work: ChainRevision,
        /// The catalog's.
        known: ChainRevision,
    },
}

/// The door to a partition. Cheap to clone; the worker ends after [`close`](Self::close) or with
/// the last door.
#[derive(Clone)]
pub struct Partition {
    inbox: mpsc::Sender<Request>,
    log: Arc<dyn PartitionLog>,
    snapshot: watch::Receiver<Snapshot>,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    blocking: Blocking,
    consumed: Arc<[(Of, Reached)]>,
}

impl Partition {
    /// Brings the view up to the log's tail, records the chain if it is new, and starts the worker
    /// on `runtime`. Recovery replays recorded effects; no plugin runs. At a full disk a new chain
    /// is recorded when there is room, and until then publishers hear `storage-full`.
    pub async fn open(
        options: PartitionOptions,
        runtime: &tokio::runtime::Handle,
    ) -> Result<(Self, JoinHandle<()>), OpenError> {
        let PartitionOptions {
            topic,
            partition,
            log,
            durability,
            fold,
            chain,
            chain_note,
            blocking,
            clock,
        } = options;
        let end = log.tail().borrow().position;
        let (view, unsaved) = replay(&*log, &fold, durability, &blocking, end).await?;
        let (at_work, known) = (view.chain(), chain.revision);
        if known < at_work {
            return Err(OpenError::ChainFromBefore { at_work, known });
        }
        let consumed = view.consumed().rows().map(|(of, reached)| (of.clone(), *reached)).collect();
        let (inbox, requests) = mpsc::channel(INBOX_REQUESTS_MAX);
        let place = Place { topic, partition };
        let saver = Saver::new(fold, durability, blocking.clone(), unsaved);
        let its_clock = Arc::clone(&clock);
        let (mut worker, snapshot) = Worker::new(place, Arc::clone(&log), view, saver, its_clock);
        worker.begin(chain, chain_note).await?;
        let task = runtime.spawn(worker.run(requests));
        Ok((Self { inbox, log, snapshot, clock, blocking, consumed }, task))
    }

    /// Hands a batch over to be judged and stored. Batches are judged in the order in which this
    /// returns; what becomes of them is in the [`Pending`].
    pub async fn submit(&self, batch: Batch) -> Result<Pending, Fault> {
        let (reply, answer) = oneshot::channel();
        let room = match tokio::time::timeout(INBOX_WAIT, self.inbox.reserve()).await {
            Ok(Ok(room)) => room,
            Ok(Err(_)) => return Err(self.gone().await),
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
        if self.inbox.send(Request::ChangeChain(chain, note, reply)).await.is_err() {
            return Err(self.gone().await);
        }
        match answer.await {
            Ok(answer) => answer,
            Err(_) => Err(self.gone().await),
        }
    }

    /// How a plugin does here, whether it is at work or not.
    pub async fn plugin_use(&self, plugin: &PluginName) -> Result<PluginUse, Fault> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            if self.inbox.send(Request::PluginUse(plugin.clone(), reply)).await.is_err() {
                return Err(self.gone().await);
            }
            match answer.await {
                Ok(figures) => Ok(*figures),
                Err(_) => Err(self.gone().await),
            }
        };
        match tokio::time::timeout(FIGURES_WAIT, ask).await {
            Ok(told) => told,
            Err(_) => Err(Fault::new(
                Code::Overloaded,
                format!(
                    "the partition was busy judging for {} s; ask again",
                    FIGURES_WAIT.as_secs()
                ),
            )),
        }
    }

    /// What a link of `plugin` would have to take over here before its state is in `keyspace`; `None`
    /// if nothing.
    pub async fn trial(
        &self,
        plugin: PluginName,
        keyspace: Keyspace,
    ) -> Result<Option<Trial>, Fault> {
        let (reply, answer) = oneshot::channel();
        if self.inbox.send(Request::Trial(plugin, keyspace, reply)).await.is_err() {
            return Err(self.gone().await);
        }
        match answer.await {
            Ok(answer) => Ok(answer),
            Err(_) => Err(self.gone().await),
        }
    }

    /// Durable side events from `ordinal` on, those of a few commits; empty if there is none yet.
    pub async fn outbox(&self, ordinal: u64) -> Result<Vec<SideEvent>, Fault> {
        let (reply, answer) = oneshot::channel();
        if self.inbox.send(Request::OutboxFrom(ordinal, reply)).await.is_err() {
            return Err(self.gone().await);
        }
        let Ok(positions) = answer.await else { return Err(self.gone().await) };
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

    /// These side events will not get into their topics. Counted, for operators.
    pub async fn lost(&self, losses: RelayLosses) {
        if losses != RelayLosses::default() {
            let _ = self.inbox.send(Request::Lost(losses)).await;
        }
    }

    /// Keeps the log as small as `retention` asks; `None` if there was nothing to do. Beside everything
    /// else that goes on here; whoever asks does so for one partition at a time, since what it folds takes
    /// as much memory as the partition's view.
    pub async fn clean(
        &self,
        retention: &Retention,
        when: When,
    ) -> Result<Option<Cleaned>, CleaningError> {
        clean(&*self.log, retention, (self.clock)(), when, &self.blocking).await
    }

    /// How far groups had come, as this partition's commits say, when it was opened.
    pub fn consumed_before(&self) -> &[(Of, Reached)] {
        &self.consumed
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

    async fn gone(&self) -> Fault {
        gone(self.snapshot.clone()).await
    }
}

/// Why a worker dropped a request. It is about to end and says why before it is gone.
async fn gone(mut snapshot: watch::Receiver<Snapshot>) -> Fault {
    let stopped = match snapshot.wait_for(|now| now.stopped.is_some()).await {
        Ok(now) => now.stopped.clone(),
        Err(_) => None,
    };
    stopped.unwrap_or_else(shutting_down)
}

/// A batch in the worker's hands.
pub struct Pending {
    answer: oneshot::Receiver<Result<Answer, Fault>>,
    snapshot: watch::Receiver<Snapshot>,
}

impl Pending {
    /// What became of it, once that is durable.
    pub async fn answer(self) -> Result<Answer, Fault> {
        match self.answer.await {
            Ok(answer) => answer,
            Err(_) => Err(gone(self.snapshot).await),
        }
    }
}
