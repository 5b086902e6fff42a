//! The Rust client of weir: publish and hear each event's verdict, read a topic at one's own pace,
//! and tell the broker what to be.
//!
//! - [`Producer`] publishes: batches per partition, several in flight, a [`Verdict`] per event. It
//!   rides through lost connections: what has no answer is sent again with the same sequences, so
//!   nothing is judged twice.
//! - [`Consumer`] reads partitions from any offset or time and follows their tails; with a group it is
//!   one of those that share a topic's partitions.
//! - [`Transform`] makes events of events: how far it has come and what it made are one commit, so each
//!   is there once, whatever dies on the way.
//! - [`Admin`] creates topics and binds plugins.
//!
//! Promises: every wait has a deadline and every buffer a bound; a result that cannot be known is
//! [`ClientError::Unknown`] and never a guess; the token reaches no log, error or dump.
//!
//! Not here on purpose: a thread or runtime of its own (it lives in the caller's tokio), TLS for the
//! admin API (it is a door on loopback).
//!
//! What can go wrong, and what to do then, is in [`errors`].
//!
//! # A producer, `examples/producer.rs`
//! ```no_run
#![doc = include_str!("../examples/producer.rs")]
//! ```
//! # A consumer, `examples/consumer.rs`
//! ```no_run
#![doc = include_str!("../examples/consumer.rs")]
//! ```
//! # From topic to topic, `examples/transform.rs`
//! ```no_run
#![doc = include_str!("../examples/transform.rs")]
//! ```
//! # Typed values and automatic commits, `examples/typed.rs`
//! ```no_run
#![doc = include_str!("../examples/typed.rs")]
//! ```
//! # Replay in the order of time, `examples/replay.rs`
//! ```no_run
#![doc = include_str!("../examples/replay.rs")]
//! ```
//! # The admin API, `examples/admin.rs`
//! ```no_run
#![doc = include_str!("../examples/admin.rs")]
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod transform;
mod client;
mod producer;
mod consumer;
mod call;
mod link;
mod frames;
mod backoff;
mod admin;
mod config;
mod error;

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[doc(hidden)]
pub use backoff::Chance;
#[doc(hidden)]
pub use link::Surroundings;

pub use admin::{Admin, AdminError};
pub use call::TopicShape;
pub use client::Client;
pub use config::{ClientConfig, Secret, default_context};
pub use consumer::{
    Batches, Consumed, ConsumedBatch, ConsumedEvent, Consumer, ConsumerOptions, Decode, From, Json,
    MergedByTime, OnMissing, Receipt, Tracked, Typed, TypedError, TypedEvent, Undecodable, Until,
};
pub use error::ClientError;
pub use producer::{Delivery, Mode, Outcome, Producer, ProducerOptions, Route};
pub use transform::{Transform, TransformOptions, Transformed};

pub use weir_wire::filter::{Filter, HeaderFilter};
pub use weir_wire::record_batch::{Compression, Event, Header};
pub use weir_wire::verdict::{Rejection, Verdict};
