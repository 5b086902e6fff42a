//! The whole broker in one thread, on a simulated disk, clock and network, with everything that goes
//! wrong decided by one seed (rows R1, R2, R12 and R13 of the reliability goals).
//!
//! ```text
//! clients' runtime                          broker's runtime (dropped when it crashes)
//!  producers, consumer group ── Net ──▶ listen ▶ session ▶ … ▶ log ── SimulatedDisk
//! ```
//! Both runtimes have one thread and paused time; the world lets them live through one tick after
//! the other. Code, codec and crypto are the real ones. What comes from outside is seeded: chance,
//! time, the order of wake-ups, the disk's and the network's moods. So one seed is one run, to the
//! last packet, and [`Trace`](trace::Trace) is there to prove it.
//!
//! Not here: threads at the same time (see the log's own tests), and the admin API's HTTP.

mod world;
mod script;
mod clients;
mod plugins;
mod net;
pub mod trace;

pub use script::{Action, Lie, Script};
pub use world::{Finding, Report, run};
