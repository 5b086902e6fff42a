//! The view at the log's tail: from the checkpoint if it fits the log, else from the log's snapshot, else
//! from the beginning.
//!
//! Promises: recorded effects only, no plugin runs; a checkpoint of another history is not believed,
//! now or later. Where the log's tail is proven durable, one that knows more than the log is proof of
//! a loss, and the log is refused: to go on would be to judge again what was answered.

use weir_log::blocking::{Blocking, Interrupted};
use weir_log::{PartitionLog, ReadError, Snapshot};
use weir_views::ViewError;
use weir_views::checkpoint::Checkpoint;
use weir_views::packed::Unpackable;
use weir_views::partition::PartitionView;
use weir_views::store::PartitionFold;
use weir_wire::admin::Durability;
use weir_wire::ids::Position;

/// Bytes of commits read at once.
const REPLAY_BYTES: usize = 4 << 20;

/// Why there is no view.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error("the log cannot be replayed: {0}")]
    Unreadable(#[from] ReadError),
    /// The log has lost its end: a checkpoint, saved when it was durable, knows it.
    #[error(
        "positions {from} to {to} were durable and are missing at the end of the log: restore the \
         log from a copy; if this directory is a copy taken while a broker ran, or the log was put \
         back to an older state on purpose, delete views/ and start again"
    )]
    Corrupt {
        /// Where the log ends.
        from: Position,
        /// Where the checkpoint ends.
        to: Position,
    },
    /// What stands for the commits that were cleaned away is no view: restore the log from a copy, or use
    /// the weir that wrote it.
    #[error(transparent)]
    Snapshot(#[from] Unpackable),
    /// The checkpoint is of another history of the log and cannot be replaced. Free some room, or
    /// delete the checkpoints while the broker is down.
    #[error("a checkpoint that does not fit the log cannot be replaced: {0}")]
    Checkpoint(#[from] ViewError),
}

/// The view at the log's earliest position: what its snapshot has, or nothing.
pub(crate) fn beginning(snapshot: Option<&Snapshot>) -> Result<PartitionView, Unpackable> {
    match snapshot {
        None => Ok(PartitionView::restore(None)),
        Some(snapshot) => PartitionView::unpack(&snapshot.view),
    }
}

/// The view at `tail`, and how many commits are not in the checkpoint.
///
/// A checkpoint that does not fit is of another history. It is replaced before anything is
/// appended: once the log had grown beyond it, nothing would tell it from one that fits.
pub(crate) async fn replay(
    log: &dyn PartitionLog,
    fold: &PartitionFold,
    durability: Durability,
    blocking: &Blocking,
    tail: Position,
) -> Result<(PartitionView, u64), ReplayError> {
    let (earliest, _) = log.earliest();
    let saved = fold.clone();
    let interrupted = |why: Interrupted| ViewError::Broken(why.to_string());
    let saved = blocking.run(move || saved.load()).await.map_err(interrupted)?;
    let fits = |saved: &Checkpoint| earliest <= saved.position() && saved.position() <= tail;
    let misleads = saved.as_ref().is_some_and(|saved| !fits(saved));
    // A checkpoint is saved behind the durable tail only. Where "durable" is the system's word, a
    // power cut may take back what it said.
    if let Some(saved) = &saved
        && tail < saved.position()
        && durability == Durability::Durable
    {
        return Err(ReplayError::Corrupt { from: tail, to: saved.position() });
    }
    let (mut view, mut saved_to) = match saved.filter(fits) {
        Some(saved) => {
            let saved_to = saved.position();
            (PartitionView::restore(Some(saved)), saved_to)
        }
        None => (beginning(log.snapshot().await?.as_ref())?, Position(0)),
    };
    while view.next() < tail {
        for stored in log.read(view.next(), REPLAY_BYTES).await? {
            view.apply(stored.position, &stored.commit);
        }
    }
    if misleads {
        tracing::warn!("checkpoint does not fit the log; the log was replayed and it is replaced");
        let (fold, changes) = (fold.clone(), view.take_changes());
        blocking.run(move || fold.save(changes)).await.map_err(interrupted)??;
        saved_to = view.next();
    }
    let unsaved = view.next().0 - saved_to.0;
    Ok((view, unsaved))
}
