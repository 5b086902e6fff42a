//! What one broker does at the same time, under thousands of schedules (row R11): group commit, the
//! hot swap of a chain, shutdown, committed cursors, and the waking of readers.
//!
//! The code is the real one, from a partition's door to the disk's calls; see `turns` for how a
//! schedule is played. Each ends with a power cut, somewhere in the middle or after an orderly
//! close, and the ledger is asked whether what was told is what the disk kept.

pub mod slow_disk;
mod scenes;
mod house;
mod parity;
mod turns;

pub use scenes::{Scene, run};
pub use turns::Threads;

/// What a schedule came to.
#[derive(Debug)]
pub struct Report {
    /// Everything that must not be.
    pub findings: Vec<String>,
    /// Differs where schedules do.
    pub choices: u64,
    /// Whether the power went in the middle of it.
    pub was_cut: bool,
}
