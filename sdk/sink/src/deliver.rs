//! What a sink does with one event, and what can come of it.

use std::time::Duration;

use weir_client::ConsumedEvent;

/// One way out of weir.
pub trait Deliver: Send + Sync + 'static {
    /// What goes out: made of an event once, sent as often as it takes.
    type Parcel: Send + Sync;

    /// Makes the parcel, without touching the world.
    ///
    /// # Errors
    /// [`Never`] for an event of which none can be made, however often it is tried.
    fn prepare(&self, event: &ConsumedEvent) -> Result<Self::Parcel, Never>;

    /// Tries once; ends within a time of its own.
    fn attempt(&self, parcel: &Self::Parcel) -> impl Future<Output = Outcome> + Send;
}

/// What came of one attempt, said to whoever acts next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The other side has it.
    Taken,
    /// The other side said "not now", or broke off in the middle: this event may be the reason, so
    /// it is tried again for as long as the sink is patient with one event.
    Later {
        /// What was said.
        reason: String,
        /// How long the other side asks to wait.
        after: Option<Duration>,
    },
    /// Nobody is there. That is no event's fault, so it is waited for without an end: the log is
    /// the letter box.
    Away {
        /// What the network said.
        reason: String,
    },
    /// It can never be delivered.
    Never(Never),
    /// Nothing of this kind can be delivered until an operator acts: a wrong password, a
    /// certificate that is not trusted.
    Stop {
        /// What to look at.
        reason: String,
    },
}

/// Why an event can never be delivered: what its dead letter says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Never {
    /// A stable word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub reason: String,
}

impl Never {
    /// A code and its sentence.
    pub fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}
