//! Views: what the log adds up to, kept ready to hand.
//!
//! Every view is a fold: the log's commits, or the events of an internal topic, applied one after
//! another. Hot state lives in memory; sled holds checkpoints of it, written off the hot path.
//!
//! Promises: a checkpoint is only ever "the fold as of position P", and the log is replayed from P
//! on, so that deleting the sled folder and starting again changes nothing anyone can see. A
//! checkpoint that cannot be read is discarded with a warning and never a reason not to start.
//! What memory a view takes is a function of the log alone.
//!
//! Not here on purpose: reading the log (the caller replays), clocks (time comes in the commits),
//! and any decision (the views answer questions, the partition decides).
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod packed;
pub mod partition;
pub mod catalog;
pub mod offsets;
pub mod store;
pub mod checkpoint;
pub mod keyspaces;
pub mod state;
mod slots;
pub mod producers;
pub mod outbox;
pub mod consumed;

use std::path::PathBuf;

use weir_wire::ids::Position;

/// Why a view could not be stored. Never means that anything is lost: the log has it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// Two brokers on one folder: stop the other one.
    #[error("the views in {0} are in use by another process: stop it first")]
    Busy(PathBuf),
    /// The disk failed or sled broke: go on without checkpoints, tell the operator. What was to be
    /// saved is gone, so the view has to `start_over` before the next `take_changes`.
    #[error("the views cannot be stored: {0}")]
    Broken(String),
    /// The changes do not follow on what is stored: let the view `start_over` and take them anew.
    #[error("changes since {base} do not follow on a checkpoint at {stored:?}")]
    Gap {
        /// Where the stored checkpoint stands; `None` if there is none.
        stored: Option<Position>,
        /// Where the changes begin.
        base: Position,
    },
}
