//! What weir's own rules share, so that one word means one thing in all of them: how a config is
//! read and refused ([`config`]), what a key of an event is ([`key`]), where something lies in a
//! JSON value ([`json`]), when two numbers are one ([`number`]), what of a publisher's text a
//! message shows ([`text`]).
//!
//! Promises: nothing here panics on what a publisher or an operator wrote, and every refusal says
//! what to write instead. Not here: verdicts and state, which are each rule's own.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod config;
pub mod key;
pub mod json;
pub mod number;
pub mod text;
