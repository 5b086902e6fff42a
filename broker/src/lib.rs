//! The broker `weir`: doors and wiring.
//!
//! ```text
//! publisher ══▶ listen ─▶ session ─▶ desk ─▶ router ─▶ partition ─▶ chain ─▶ log ─▶ subscription ══▶ consumer
//!                                     ▲                                └▶ outbox ─▶ relay ─┐
//!                                     └────────────────────────────────────────────────────┘
//! operator ══▶ admin ─▶ control ─▶ registry (the catalog, an internal topic) and topics
//! ```
//! Modules stand in the order of the road and use only those below them. What judges, stores and
//! folds lives in the crates partition, plugin, log and views.

pub mod cli;
pub mod demo;
mod table;
pub mod serve;

mod admin;
pub mod broker;
mod check;
pub mod control;
mod cleaner;
mod topics;
pub mod listen;
mod session;
pub mod subscription;
mod relay;
mod transform;
mod desk;
mod router;
pub mod groups;
mod producer_ids;
mod registry;
mod internal_topic;
pub mod shelf;
mod plugin_logs;
mod components;
pub mod home;
pub mod wall_clock;
