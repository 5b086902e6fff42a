//! Measuring: when events are meant to be sent, what is counted, and what processes use up meanwhile.

mod calm;
mod machine;
mod measured;
mod slowness;
mod process;
mod tally;
mod latency;
mod schedule;
mod window;

pub use calm::until_calm;
pub use machine::{Machine, Versions};
pub use measured::Measured;
pub use process::{Usage, memory_now, reset_memory_peak, watch};
pub use schedule::Schedule;
pub use slowness::SlownessWatch;
pub use tally::Tally;
pub use window::Window;
