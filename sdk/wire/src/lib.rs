//! The contract with clients: what may cross the wire, and nothing of how it gets there.
//!
//! Promises: every value here was checked when it was made, so inside the broker nobody checks
//! again; no decoder panics or allocates more than its input allows, whatever the bytes.
//! Not here on purpose: sockets, tokio, clocks, files.

pub mod admin;
pub mod dead_letter;
pub mod filter;
pub mod record_batch;
pub mod frame;
pub mod buffers;
pub mod fault;
pub mod verdict;
pub mod partitioner;
pub mod retention;
pub mod keyspace;
pub mod ids;
/// The control frames, generated from `proto/weir.proto` by `cargo xtask codegen`.
#[allow(missing_docs, clippy::all, reason = "generated: the schema has the docs")]
pub mod proto;
mod varint;
