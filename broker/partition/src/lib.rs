//! The one writer of a partition: admit, append, apply, answer.
//!
//! ```text
//! Request ─▶ worker ─▶ admission (pure: view, chain, batch, now ─▶ plan) ─▶ log.append ─▶ view.apply
//!                └──────────── Answer, once the commit is durable ◀── log.tail
//! ```
//! Promises: batches are judged one after another; an answer leaves after its commit is durable;
//! what was judged once is never judged again. Not here on purpose: topics' names as routes,
//! connections, wasm: a chain is a row of stages, whoever made them.

mod bench;
mod door;
mod cleaning;
mod worker;
mod migration;
mod pace;
mod admission;
mod chain_note;
mod chain;
mod meter;
mod histogram;
mod breaker;
mod batch;
mod waiting;
mod recall;
mod saver;
mod replay;
mod answer;
mod counters;

pub use answer::Answer;
pub use batch::{Batch, Mode, Origin, PASSED_OPEN_HEADER, SideNumber, Source};
pub use bench::{Bench, Judged, Planned};
pub use chain::{Chain, Judge, Link};
pub use cleaning::{Cleaned, CleaningError, TOMBSTONE_MS, When, segment_bytes};
pub use door::{OpenError, Partition, PartitionOptions, Pending};
pub use meter::Meter;
pub use migration::Trial;
pub use replay::ReplayError;
pub use worker::{PluginUse, RelayLosses, Snapshot};
