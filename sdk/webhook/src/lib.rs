//! The webhook sink: posts each event of a topic to one URL, signed as the Standard Webhooks
//! specification says, so that any receiver with a library for that can tell our requests from others'.
//!
//! ```text
//! event ─▶ request: body is the value, as it is ─▶ signature: id.timestamp.body ─▶ post ─▶ outcome
//! ```
//! Promises: an event counts as done when the receiver has answered 2xx; an event that is posted
//! again has the same `webhook-id`; the events of one partition are posted one after another, in
//! their order. Not here: what becomes of an outcome, and when; that is `weir-sink`. On purpose:
//! following redirects (a signed event goes where its operator said), batches.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod webhook;
mod request;
mod post;
mod answer;
mod signature;

pub use post::{Target, TargetError};
pub use signature::{InvalidSigningSecret, SigningSecrets};
pub use webhook::{Webhook, WebhookOptions};
pub use weir_sink::{Report, Secret, Sink, SinkError, SinkOptions, Undeliverable};
