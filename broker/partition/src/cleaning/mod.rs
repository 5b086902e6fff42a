//! Keeps a partition's log as small as its topic's retention asks: old events go, or of each key all
//! but the last.
//!
//! ```text
//! plan ─▶ fold what is to go into the view of the last snapshot ─▶ sieve ─▶ the log cleans itself
//! ```
//! All of it beside the worker, from what is durable: nothing on the road of a batch waits for it, and
//! it needs nothing but the log. So the snapshot that comes to stand for what is gone is the same fold
//! that a restart would make.

mod plan;
mod sieve;

use serde::{Deserialize, Serialize};
use weir_log::blocking::Blocking;
use weir_log::{AppendError, CleanError, Cleaning, PartitionLog, Snapshot, Stretch};
use weir_views::partition::PartitionView;
use weir_wire::ids::{Position, Timestamp};
use weir_wire::retention::Retention;

use crate::replay::{ReplayError, beginning};
use plan::{Plan, is_to_be_sealed, plan};
pub use plan::{When, segment_bytes};
use sieve::{Latest, Remains, TooMany};

/// Bytes of commits read at once: what one turn folds before others get the thread.
const FOLD_BYTES: usize = 1 << 20;
/// How long a tombstone stays behind the cleaning that removed what it buried: as long has a consumer
/// that read the buried event to read on to its end. Kafka's `delete.retention.ms`.
pub const TOMBSTONE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Cleanings that are remembered for that; where there are more, the tombstones of some stay longer.
const CLEANINGS_MAX: usize = 1_024;

/// What a cleaning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cleaned {
    /// Bytes stored before.
    pub before: u64,
    /// Bytes stored now.
    pub after: u64,
}

/// Why a partition was not cleaned. It serves on, and the next attempt begins anew.
#[derive(Debug, thiserror::Error)]
pub enum CleaningError {
    /// See there.
    #[error(transparent)]
    Log(#[from] CleanError),
    /// A new segment could not be begun.
    #[error(transparent)]
    Seal(#[from] AppendError),
    /// What is to be folded cannot be.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// One segment has more keys than a compaction tells apart.
    #[error(
        "one segment has more than {} different keys: give the topic a smaller --segment-bytes",
        sieve::KEYS_MAX
    )]
    TooManyKeys,
    /// A batch that was stored cannot be read.
    #[error("a stored batch cannot be read: {0}")]
    Batch(String),
}

/// What one cleaning tells the next.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Up to where was compacted, and when; oldest first.
    compacted: Vec<(Position, Timestamp)>,
}

/// Cleans `log` if there is reason to.
pub(crate) async fn clean(
    log: &dyn PartitionLog,
    retention: &Retention,
    now: Timestamp,
    when: When,
    blocking: &Blocking,
) -> Result<Option<Cleaned>, CleaningError> {
    if log.stretches().last().is_some_and(|active| is_to_be_sealed(retention, active, now, when)) {
        match log.seal().await {
            // What is sealed already may still go, and make room.
            Ok(()) | Err(AppendError::Full) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let stretches = log.stretches();
    let Some(mut plan) = plan(retention, &stretches, log.earliest(), now, when) else {
        return Ok(None);
    };
    let before = log.stored_bytes();
    let snapshot = log.snapshot().await.map_err(ReplayError::from)?;
    let snapshot = snapshot.as_ref();
    let note = snapshot.map(|snapshot| serde_json::from_slice(&snapshot.note).unwrap_or_default());
    let mut note: Note = note.unwrap_or_default();
    let (view, latest) = fold(log, snapshot, &mut plan, &stretches).await?;
    let mut remains = Remains::of(&view, plan.start);
    remains.latest = plan.compacts.then_some(latest);
    remains.tombstones_below = note.tombstones_below(now);
    if plan.compacts {
        note.compacted_to(plan.below, now);
    }
    let note = serde_json::to_vec(&note).unwrap_or_default().into();
    let view = blocking.run(move || view.pack()).await.map_err(CleanError::from)?;
    let sieve = Box::new(remains);
    log.clean(Cleaning { below: plan.below, start: plan.start, view, note, sieve }).await?;
    Ok(Some(Cleaned { before, after: log.stored_bytes() }))
}

/// The view as of the plan's end, and the keys of what is dirty up to there. Draws the end nearer if
/// there are too many.
async fn fold(
    log: &dyn PartitionLog,
    snapshot: Option<&Snapshot>,
    plan: &mut Plan,
    stretches: &[Stretch],
) -> Result<(PartitionView, Latest), CleaningError> {
    let mut view = beginning(snapshot).map_err(ReplayError::from)?;
    let mut latest = Latest::default();
    let begin = view.next();
    while view.next() < plan.below {
        for stored in log.read(view.next(), FOLD_BYTES).await.map_err(ReplayError::from)? {
            if plan.below <= stored.position {
                break;
            }
            // The keys of what goes anyway bury nothing that stays.
            if plan.compacts
                && plan.start <= stored.commit.first_offset
                && let Err(TooMany) = latest.note(&stored.commit).map_err(CleaningError::Batch)?
            {
                let ends = stretches.iter().map(|stretch| stretch.end);
                let end = ends.filter(|end| begin < *end && *end <= stored.position).max();
                plan.below = end.ok_or(CleaningError::TooManyKeys)?;
                break;
            }
            view.apply(stored.position, &stored.commit);
        }
        tokio::task::yield_now().await;
    }
    if plan.below < view.next() {
        // Rare: folded beyond the end before it was drawn nearer.
        return Box::pin(fold(log, snapshot, plan, stretches)).await;
    }
    Ok((view, latest))
}

impl Note {
    fn compacted_to(&mut self, below: Position, now: Timestamp) {
        self.compacted.push((below, now));
        // Of those that are old enough the last is all that is asked for.
        let old = self.compacted.iter().filter(|(_, at)| is_old_enough(*at, now)).count();
        self.compacted.drain(..old.saturating_sub(1));
        if CLEANINGS_MAX < self.compacted.len() {
            self.compacted.remove(1);
        }
    }

    /// What lies before was compacted long enough ago.
    fn tombstones_below(&self, now: Timestamp) -> Position {
        let old = self.compacted.iter().rev().find(|(_, at)| is_old_enough(*at, now));
        old.map_or(Position(0), |(below, _)| *below)
    }
}

fn is_old_enough(at: Timestamp, now: Timestamp) -> bool {
    at.0.saturating_add(TOMBSTONE_MS) <= now.0
}
