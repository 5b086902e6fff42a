//! The whole broker under test, from outside: the real program, its command line, its files.
//!
//! Promises: nothing here asks the broker what is right. What is expected comes from the input and
//! from a model of the rule that shares no code with it; what was stored is read by someone
//! else's decoder. Not here: the stories themselves, see `tests/stories.rs`.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

pub mod simulation;
pub mod schedules;
pub mod bed;
pub mod deliveries;
pub mod mute;
pub mod load;
pub mod rule;
pub mod flights;
pub mod service;
pub mod broker;
pub mod strace;
pub mod machine;
pub mod torture;
pub mod segments;
pub mod ledger;
