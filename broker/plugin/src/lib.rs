//! Runs admission rules: bytes -> component -> instance -> outcome. Decides, never acts.
//!
//! A [`Stage`] is one link of a topic's chain in one partition. It judges one event at a time and
//! holds that event's effects until the chain says whether they stand. wasmtime is named in this
//! crate only, and no type of its or of the generated bindings leaves it.
//! Not here: chains, policies, storage.

mod cache;
mod host;
mod check;
mod artefact;
mod schema;
mod missing;
mod stage;
mod plugin;
mod exports;
mod direct;
mod guest;
mod reach;
mod wasi;
mod effects;
mod lines;
mod memory;
mod deadline;
mod fault;
mod engine;
mod bindings;

use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use weir_wire::ids::{PartitionId, Principal, Timestamp, TopicName};
use weir_wire::keyspace::Schema;
use weir_wire::record_batch::{Event, Record};

pub use artefact::Artefact;
pub use cache::{ArtefactCache, CacheError, compile_file, limit_this_process};
pub use check::CompileError;
pub use effects::{STATE_KEY_BYTES_MAX, STATE_VALUE_BYTES_MAX};
pub use host::{Host, HostError, HostOptions, LoadError};
pub use lines::{LineLevel, Listener};
pub use missing::MissingStage;
pub use plugin::{BindError, BindingSettings, Plugin};
pub use stage::{REJECTION_CODE_BYTES_MAX, REJECTION_MESSAGE_BYTES_MAX, StageCounters, WasmStage};

/// One link of a chain in one partition. Called by one thread at a time, in this order per batch:
/// `begin`, then per event `judge` and one of `keep` or `discard`, then `finish`.
pub trait Stage: Send {
    /// A batch begins: its context, and the plugin's state as it is in the log.
    fn begin(&mut self, batch: &BatchContext, state: Arc<dyn StateBase>);

    /// Judges one event. Its effects are pending until `keep` or `discard`; after a fault there
    /// are none. A state read sees the kept effects of earlier events of this batch.
    fn judge(&mut self, event: &Record<'_>, at: EventContext) -> Result<StageVerdict, PluginFault>;

    /// Fuel that the last judged event used up, also if it failed.
    fn fuel_used(&self) -> u64 {
        0
    }

    /// What it has made so far, and holds.
    fn counters(&self) -> StageCounters {
        StageCounters::default()
    }

    /// The last judged event's effects stand; its side events go behind `side_events`.
    fn keep(&mut self, side_events: &mut Vec<Emitted>);

    /// The last judged event's effects never were.
    fn discard(&mut self);

    /// The batch is over: lets go of the state and gives the kept changes, each key once,
    /// in order of first change.
    fn finish(&mut self) -> Vec<Change>;

    /// Takes over one entry of an earlier version's state. Called in the place of `judge`, in a
    /// batch whose state is the new one. The error of a plugin that has nothing of the kind is
    /// [`MigrateError::Absent`], and so is the default.
    fn migrate(&mut self, entry: &OldEntry<'_>) -> Result<Migrated, MigrateError> {
        let _ = entry;
        Err(MigrateError::Absent)
    }
}

/// One entry of an earlier version's state.
#[derive(Debug, Clone, Copy)]
pub struct OldEntry<'a> {
    /// The form in which that version kept it.
    pub schema: &'a Schema,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// What is left of its time to live, if it has one.
    pub ttl_ms: Option<u64>,
}

/// What taking over one entry came to. Its effects are pending, like an event's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// Bytes of the keys and values that it changed.
    pub bytes: u64,
    /// The fuel it took.
    pub fuel: u64,
}

/// Why an entry of an earlier version's state was not taken over. It has no effects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrateError {
    /// The plugin takes over nothing.
    #[error("it exports no weir:plugin/migration")]
    Absent,
    /// The plugin's own words.
    #[error("it says: {0}")]
    Refused(String),
    /// It failed.
    #[error(transparent)]
    Fault(#[from] PluginFault),
}

/// What all events of a batch share.
#[derive(Debug, Clone)]
pub struct BatchContext {
    /// The partition time.
    pub now: Timestamp,
    /// The topic judged.
    pub topic: TopicName,
    /// The partition judged.
    pub partition: PartitionId,
    /// Who published.
    pub publisher: Principal,
}

/// What only this event has.
#[derive(Debug, Clone, Copy)]
pub struct EventContext {
    /// Its place in the batch.
    pub index: u32,
    /// Where it would go if all before it are accepted: seeds the guest's inert randomness.
    pub offset_hint: u64,
    /// Whether it may still cause side events (false at the end of the allowed hops).
    pub may_emit: bool,
}

/// The plugin's state as it stands in the log, read-only while a batch is judged.
pub trait StateBase: Send + Sync {
    /// The hash by which it finds `key`: seeded, since keys are chosen by hostile clients. Whoever keeps
    /// what a batch changes keeps it by the same one.
    fn hash(&self, key: &[u8]) -> u64;
    /// The value of `key`, whose `hash` that is, and when it expires; expired ones are the caller's to
    /// ignore.
    fn get_hashed(&self, hash: u64, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)>;
    /// The same by the key alone.
    fn get(&self, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.get_hashed(self.hash(key), key)
    }
    /// Keys stored.
    fn keys(&self) -> u64;
    /// Bytes of keys and values stored.
    fn bytes(&self) -> u64;
}

/// What a plugin says of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StageVerdict {
    /// Let it pass as it is.
    Accept,
    /// Let this pass instead. Headers that are the broker's own are those of the event judged.
    Replace(Event),
    /// Take it away.
    Drop,
    /// Refuse it.
    Reject(Refusal),
}

/// A plugin's "no".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for programs: at most 64 bytes.
    pub code: String,
    /// For people: at most 512 bytes.
    pub message: String,
    /// When trying again can help.
    pub retry_after_ms: Option<u64>,
}

/// One changed key; `None` deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: StateKey,
    /// The new value and from which partition time on it is gone.
    pub value: Option<(StateBytes, Option<Timestamp>)>,
}

/// A key of state: within itself up to 24 bytes, so that an ordinary change allocates nothing.
pub type StateKey = SmallVec<[u8; 24]>;
/// A value of state: within itself up to 16 bytes, a counter or two.
pub type StateBytes = SmallVec<[u8; 16]>;

/// A side event as a plugin emitted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// The target topic: one that the binding allows.
    pub topic: TopicName,
    /// The event.
    pub event: Event,
}

/// A plugin failed on an event. Neither yes nor no: the binding's failure policy decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}: {detail}")]
pub struct PluginFault {
    /// What happened.
    pub cause: FaultCause,
    /// For the operator and the publisher: one sentence.
    pub detail: String,
}

macro_rules! causes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// How a plugin can fail. The text is the stable code of the answer.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FaultCause { $($(#[$doc])* $name,)* }
        impl FaultCause {
            /// Every cause.
            pub const ALL: &[FaultCause] = &[$(FaultCause::$name,)*];
            /// The stable code.
            pub fn as_str(self) -> &'static str {
                match self { $(FaultCause::$name => $text,)* }
            }
        }
    };
}
causes! {
    /// Unreachable, division by zero, a broken promise of the component model.
    Trap = "plugin-trap";
    /// Out of fuel, or past its deadline.
    Timeout = "plugin-timeout";
    /// Wanted more memory than its limit.
    Memory = "plugin-memory";
    /// Recursed too deep.
    Stack = "plugin-stack";
    /// Answered or emitted more than fits.
    OutputTooLarge = "plugin-output-too-large";
    /// Over its state limits.
    StateQuota = "plugin-state-quota";
    /// Emitted to a topic that its binding does not name, or at the end of the allowed hops.
    Denied = "plugin-denied";
    /// Could not be instantiated or configured anew.
    Instantiate = "plugin-instantiate";
    /// Could not take over the state of the version before.
    Migrate = "plugin-migrate";
    /// The stored component is missing or does not load.
    Missing = "plugin-missing";
    /// Has failed so often that it is not called for a while.
    BreakerOpen = "plugin-breaker-open";
    /// A host function failed: a defect of the broker.
    Host = "plugin-host";
}
impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
