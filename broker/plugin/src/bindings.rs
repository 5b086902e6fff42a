//! What `wit/` says, as Rust: generated, and named nowhere outside this crate.
//!
//! Borrowing, so that an event goes into the guest from the batch's own bytes without a copy of
//! it on our side.

#![allow(missing_docs, reason = "generated: wit/plugin.wit has the docs")]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "filter",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
});

/// With what the name of the interface begins that a rule may export beside its world.
pub(crate) const MIGRATION: &str = "weir:plugin/migration@";

/// What a rule exports beside its world if it likes. Found by name, since no world asks for it.
pub mod migrating {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "package weir:host; world migrating { export weir:plugin/migration@0.1.2; }",
        world: "weir:host/migrating",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
