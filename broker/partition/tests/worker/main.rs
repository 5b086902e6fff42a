//! The worker of a partition, seen from its door: when answers leave, what a broken or full log
//! does to them, and what a restart brings back. The log is in memory and does what it is told.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod answers;
mod failures;
mod figures;
mod restart;
mod cleaning;
mod chain_change;
mod migrating;
mod outbox;
mod torture;
mod house;
mod counting;
mod daily;
mod model;
