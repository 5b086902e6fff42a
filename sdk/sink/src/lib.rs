//! What every sink has: a service that carries the events of a topic out of weir, one by one, to
//! where they have an effect. The mailer and the webhook sink say what "deliver" means; everything
//! else stands here once.
//!
//! ```text
//! topic ══▶ worker: a member of the group, one event at a time ─▶ Deliver::attempt
//!             │  taken ─▶ commit      later, away ─▶ wait and try again
//!             └  never ─▶ dead letter ─▶ commit      stop ─▶ the program ends, nothing is lost
//! ```
//! Promises: an event counts as done when it was taken, or is in the dead-letter topic, and its
//! offset is stored before the next one of its partition is begun. So order per partition is kept,
//! and a crash delivers at most one event of each partition once more, under the same name.
//!
//! Not here on purpose: batches (an effect is acknowledged one at a time), and exactly once, which
//! no two systems have without a common commit.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod program;
mod config_file;
mod crew;
mod worker;
mod sink;
mod tries;
mod unconfirmed;
mod dead_letter;
mod deliver;
mod secret;
mod trust;

pub use dead_letter::SINK_DEAD_LETTER_PREFIX;
pub use deliver::{Deliver, Never, Outcome};
pub use program::{SinkArguments, main};
pub use secret::{InvalidSecret, Secret};
pub use sink::{Report, Sink, SinkError, SinkOptions, Undeliverable};
pub use trust::{InvalidTrust, trusted_certificates, why_tls_failed};
