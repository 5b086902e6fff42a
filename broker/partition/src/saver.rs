//! Saves what changed in the view to its checkpoint, off the hot path.
//!
//! Promises: changes are saved in the order they were taken, each set once, and only when the log
//! is durable up to them: a checkpoint ahead of the log would remember what a crash forgets.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::time::Instant;
use weir_log::PartitionLog;
use weir_log::blocking::Blocking;
use weir_log::planted::{Bug, is_planted};
use weir_views::checkpoint::Changes;
use weir_views::partition::PartitionView;
use weir_views::store::PartitionFold;
use weir_wire::admin::Durability;
use weir_wire::ids::Position;

use crate::replay::{ReplayError, replay};

/// Commits after which the view's changes go to the checkpoint, if that is before the worker's tick: it
/// bounds what a restart replays, to a fifth of a second of the smallest ones. With fewer, publishers of
/// single events would be busy with checkpoints: each holds what is remembered of their batches.
const CHECKPOINT_COMMITS: u64 = 65_536;
/// A checkpoint that holds everything is worth it after so many times its bytes of log: then it is a
/// small part of what the log costs, and replaying that much takes about as long as reading it.
const LOG_PER_WHOLE: u64 = 8;
/// Or after so long: no restart replays more.
const WHOLE_WAITS_MAX: Duration = Duration::from_secs(60);

/// A view's way to its checkpoint.
pub(crate) struct Saver {
    fold: PartitionFold,
    durability: Durability,
    blocking: Blocking,
    saving: Saving,
    /// Commits in the view whose changes were not taken yet.
    unsaved: u64,
    /// Bytes of log of those.
    unsaved_bytes: u64,
    /// When changes were taken last.
    taken: Instant,
}

/// Where the changes are.
enum Saving {
    Idle,
    /// Taken from the view; they may be saved once they are durable.
    Waiting(Box<Changes>),
    /// On their way; true if they arrived.
    Busy(oneshot::Receiver<bool>),
}

impl Saver {
    /// Of a view that is `unsaved` commits ahead of what `fold` has.
    pub(crate) fn new(
        fold: PartitionFold,
        durability: Durability,
        blocking: Blocking,
        unsaved: u64,
    ) -> Self {
        let (saving, taken) = (Saving::Idle, Instant::now());
        let unsaved_bytes = unknown_bytes(unsaved);
        Self { fold, durability, blocking, saving, unsaved, unsaved_bytes, taken }
    }

    /// Where work goes that may block.
    pub(crate) fn blocking(&self) -> &Blocking {
        &self.blocking
    }

    /// Makes `view` anew, that of all of `log`, which is durable up to `end`: the view at hand has
    /// more in it than was stored. On an error it stays as it is.
    pub(crate) async fn rebuild(
        &mut self,
        view: &mut PartitionView,
        log: &dyn PartitionLog,
        end: Position,
    ) -> Result<(), ReplayError> {
        // What was taken was taken from what is stored: changes are taken behind an append.
        self.finish(view).await;
        self.save_if_durable(end);
        self.finish(view).await;
        let replayed = replay(log, &self.fold, self.durability, &self.blocking, end).await?;
        (*view, self.unsaved) = replayed;
        self.unsaved_bytes = unknown_bytes(self.unsaved);
        Ok(())
    }

    /// One more commit is in the view, of so many bytes.
    pub(crate) fn applied(&mut self, bytes: u64) {
        self.unsaved += 1;
        self.unsaved_bytes = self.unsaved_bytes.saturating_add(bytes);
    }

    /// Whether there is anything to take.
    pub(crate) fn has_news(&self) -> bool {
        self.unsaved > 0
    }

    /// Whether there is so much that it should not wait for the tick.
    pub(crate) fn is_due(&self, view: &PartitionView) -> bool {
        self.unsaved >= CHECKPOINT_COMMITS && self.is_worth_it(view)
    }

    /// Whether there is anything to take, and it is not a large view of which much changed just now.
    pub(crate) fn is_worth_it(&self, view: &PartitionView) -> bool {
        self.has_news()
            && (view.has_few_changes()
                || LOG_PER_WHOLE * view.whole_bytes() <= self.unsaved_bytes
                || WHOLE_WAITS_MAX <= self.taken.elapsed())
    }

    /// Takes the view's changes for the checkpoint, unless earlier ones are still on their way.
    pub(crate) fn take(&mut self, view: &mut PartitionView) {
        if let Saving::Busy(saved) = &mut self.saving {
            match saved.try_recv() {
                Err(TryRecvError::Empty) => {}
                arrived => self.ended(arrived.unwrap_or(false), view),
            }
        }
        if matches!(self.saving, Saving::Idle) {
            self.saving = Saving::Waiting(Box::new(view.take_changes()));
            (self.unsaved, self.unsaved_bytes, self.taken) = (0, 0, Instant::now());
        }
    }

    /// Begins to save what was taken if the log is durable up to there.
    pub(crate) fn save_if_durable(&mut self, durable: Position) {
        self.saving = match std::mem::replace(&mut self.saving, Saving::Idle) {
            Saving::Waiting(changes)
                if changes.position() <= durable || is_planted(Bug::CheckpointEarly) =>
            {
                let fold = self.fold.clone();
                let (say, saved) = oneshot::channel();
                self.blocking.begin(move || {
                    fold.save_and_tell(*changes, |saved| {
                        if let Err(error) = &saved {
                            tracing::warn!(%error, "checkpoint not saved; a restart replays more of the log");
                        }
                        // A worker that is gone does not ask.
                        let _ = say.send(saved.is_ok());
                    });
                });
                Saving::Busy(saved)
            }
            other => other,
        };
    }

    /// Waits for a save under way.
    pub(crate) async fn finish(&mut self, view: &mut PartitionView) {
        if let Saving::Busy(saved) = &mut self.saving {
            let arrived = saved.await.unwrap_or(false);
            self.ended(arrived, view);
        }
    }

    fn ended(&mut self, arrived: bool, view: &mut PartitionView) {
        if !arrived {
            // Those changes are gone: the next checkpoint has to hold everything.
            view.start_over();
        }
        self.saving = Saving::Idle;
    }
}

/// Bytes of log of commits that were replayed. As many as can be: what one restart had to replay is
/// saved with the first tick behind it, and not replayed by the next.
fn unknown_bytes(commits: u64) -> u64 {
    if commits == 0 { 0 } else { u64::MAX }
}
