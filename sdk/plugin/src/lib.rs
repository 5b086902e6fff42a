//! Write an admission rule of weir in Rust: implement [`Filter`], name it in [`export!`], and the
//! build gives a component that a broker judges events with.
//!
//! A rule sees one event at a time and answers with a [`Verdict`]. What surrounds the event is in
//! [`context`], what the rule remembers in [`state`], what it sends elsewhere goes through
//! [`outbox`], what its operator should read through [`log`]. The contract is `wit/plugin.wit`.
//!
//! An upper bound for payments, one at a time and five hundred a day:
//!
//! ```
//! use weir_plugin::{Event, Filter, Rejection, Verdict, export, state};
//!
//! struct Bound {
//!     daily: i64,
//! }
//!
//! impl Filter for Bound {
//!     fn configure(config: &str) -> Result<Self, String> {
//!         let daily = config.trim().parse().map_err(|_| "write the daily bound, as 500".to_string())?;
//!         Ok(Bound { daily })
//!     }
//!
//!     fn process(&mut self, event: Event) -> Verdict {
//!         let Some(amount) = str::from_utf8(&event.value).ok().and_then(|text| text.parse().ok()) else {
//!             return Rejection::new("no-amount", "The value must be an amount, as 12.").into();
//!         };
//!         let payer = event.key.unwrap_or_default();
//!         let day = event.timestamp / 86_400_000;
//!         let cell = [&day.to_le_bytes(), payer.as_slice()].concat();
//!         // A refused event's own changes stand as well; this changes nothing if it refuses.
//!         match state::increment_up_to(&cell, amount, self.daily, Some(86_400_000)) {
//!             Ok(_) => Verdict::Accept,
//!             Err(_) => Rejection::new("bound", "That is more than you may pay in a day.").into(),
//!         }
//!     }
//! }
//!
//! export!(Bound);
//!
//! // Outside a broker, and so in unit tests, a `fake::Host` stands in for it.
//! let mut host = weir_plugin::fake::Host::default();
//! let mut rule = Bound::configure("500").unwrap();
//! assert_eq!(host.judge(&mut rule, Event::new("400").key("ann")), Verdict::Accept);
//! let refused = host.judge(&mut rule, Event::new("101").key("ann"));
//! assert_eq!(refused.rejection().unwrap().code, "bound");
//! ```
//!
//! # How to build
//!
//! The rule is a crate of its own with `crate-type = ["cdylib"]` and this crate as its dependency,
//! built for `wasm32-unknown-unknown`; `cargo xtask guests` does that for everything under
//! `plugins/` and wraps the result as a component.
//!
//! The component's allocator is made for events: what a rule allocates and releases for one costs next to
//! nothing. A rule that brings another allocator takes this crate with `default-features = false`.
//!
//! # What a rule may rely on
//!
//! The same event, state and context must give the same verdict. There is no other clock than
//! [`context::now`] and the event's own timestamp, no entropy, no network, no files. Fields of the
//! rule are a cache: an instance may be thrown away between any two events and configured anew, so
//! what must last belongs into [`state`]. A panic is a fault: nothing the rule did to this event
//! stands, the panic's text goes to the rule's log, and the binding's failure policy decides.
//!
//! Not here, on purpose: JSON and other codecs (take the one you like), async, threads.

mod export;

pub mod context;
pub mod state;
pub mod outbox;
pub mod log;

#[cfg(not(target_arch = "wasm32"))]
pub mod fake;

mod event;
#[cfg(any(test, all(target_arch = "wasm32", feature = "allocator")))]
mod region;
mod verdict;

#[cfg(all(target_arch = "wasm32", feature = "allocator"))]
#[global_allocator]
static ALLOCATOR: region::Region<std::alloc::System> = region::Region::closed(std::alloc::System);

/// From here on what is allocated is for an event, and goes with it.
pub(crate) fn configured() {
    #[cfg(all(target_arch = "wasm32", feature = "allocator"))]
    ALLOCATOR.open();
}

// The generated code of the contract, wit/plugin.wit: its types are ours, natively too; its
// imports and exports exist in a component only.
#[doc(hidden)]
#[allow(
    unsafe_code,
    missing_docs,
    clippy::too_many_arguments,
    clippy::allow_attributes_without_reason,
    reason = "generated; its pointers are the canonical ABI's"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "filter",
        additional_derives: [PartialEq, Eq],
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "weir_plugin::bindings",
    });
}

// The one export that a rule may have beside its world, so that it goes with any world.
#[doc(hidden)]
#[allow(
    unsafe_code,
    missing_docs,
    clippy::allow_attributes_without_reason,
    reason = "generated; its pointers are the canonical ABI's"
)]
pub mod migration_bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "package weir:sdk; world migrating { export weir:plugin/migration@0.1.2; }",
        world: "weir:sdk/migrating",
        pub_export_macro: true,
        export_macro_name: "export_migration",
        default_bindings_module: "weir_plugin::migration_bindings",
    });
}

#[doc(hidden)]
pub use export::Instance;

pub use bindings::weir::plugin::types::{Event, Header, Rejection, Verdict};

#[cfg(target_arch = "wasm32")]
use bindings::weir::plugin as host;
#[cfg(not(target_arch = "wasm32"))]
use fake::host;

/// An admission rule.
pub trait Filter: Sized + 'static {
    /// Takes the binding's configuration (JSON as the operator wrote it; `null` if there is none),
    /// once, before the first event.
    ///
    /// An `Err` refuses the binding; its text is for the operator: one sentence that says what to
    /// write instead. State, context and outbox belong to events and are not to be used here.
    fn configure(config: &str) -> Result<Self, String>;

    /// Judges one event. It is given away, so that [`Verdict::Replace`] costs no copy.
    fn process(&mut self, event: Event) -> Verdict;
}

/// A rule whose state has a form with a name, and which takes over the state of versions that kept
/// it in another one. Name it in `export!(Rule, migration)`.
///
/// A version of another schema begins with an empty state, and the broker hands it each entry of the
/// one before, in the order of keys. What the version before had stays as it was, for a rollback.
///
/// Days become weeks:
///
/// ```
/// use weir_plugin::{Event, Filter, Migrate, OldEntry, Verdict, export, state};
///
/// struct Weekly;
///
/// impl Filter for Weekly {
///     fn configure(_: &str) -> Result<Self, String> {
///         Ok(Weekly)
///     }
///     fn process(&mut self, event: Event) -> Verdict {
///         state::increment(&(event.timestamp / 604_800_000).to_le_bytes(), 1, None);
///         Verdict::Accept
///     }
/// }
///
/// impl Migrate for Weekly {
///     const SCHEMA: &str = "per-week";
///
///     fn migrate(&mut self, old: OldEntry) -> Result<(), String> {
///         // Version 1 declared no schema, and counted by day.
///         let ("", Some(day), Some(count)) = (old.schema.as_str(), old.key_as_u64(), old.counter())
///         else {
///             return Err(format!("a key of the schema {:?} that is none of mine", old.schema));
///         };
///         state::increment(&(day / 7).to_le_bytes(), count, old.ttl_ms);
///         Ok(())
///     }
/// }
///
/// export!(Weekly, migration);
///
/// let mut host = weir_plugin::fake::Host::default();
/// host.run(|| {
///     state::increment(&14_u64.to_le_bytes(), 2, None);
///     state::increment(&15_u64.to_le_bytes(), 3, None);
/// });
/// host.migrate(&mut Weekly, "").unwrap();
/// assert_eq!(host.run(|| state::counter(&2_u64.to_le_bytes())), 5);
/// ```
pub trait Migrate: Filter {
    /// The name of the form in which this version keeps its state: up to 64 of a-z A-Z 0-9 . _ -.
    const SCHEMA: &str;

    /// Takes over one entry. [`state`] is the new one, as the entries before have left it;
    /// [`context`] has no publisher, and there is no [`outbox`].
    ///
    /// An `Err` refuses the change to this version, and the one before stays at work: one sentence
    /// for the operator.
    fn migrate(&mut self, old: OldEntry) -> Result<(), String>;
}

/// One entry of an earlier version's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldEntry {
    /// The form in which that version kept it; empty if it declared none.
    pub schema: String,
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// What is left of its time to live, to be handed on to [`state`]; none: for ever.
    pub ttl_ms: Option<u64>,
}

impl OldEntry {
    /// The value as [`state::increment`] keeps one, if it is one.
    pub fn counter(&self) -> Option<i64> {
        self.value.as_slice().try_into().ok().map(i64::from_le_bytes)
    }

    /// The key as a number of 8 bytes, little endian, if it is one.
    pub fn key_as_u64(&self) -> Option<u64> {
        self.key.as_slice().try_into().ok().map(u64::from_le_bytes)
    }
}
