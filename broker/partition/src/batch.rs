//! A batch on its way to judgement: parsed and validated at the desk, so that nobody checks again.

use weir_log::commit::Consumed;
use weir_wire::fault::Fault;
use weir_wire::ids::{Principal, ProducerEpoch, ProducerId, Sequence};
use weir_wire::record_batch::{RecordBatch, Records};

/// The header that names a plugin which failed on this event and whose policy let it pass.
pub const PASSED_OPEN_HEADER: &str = "weir-passed-open";

/// Events to be judged together.
#[derive(Debug)]
pub struct Batch {
    /// Who published: what plugins see, not a name the client chose.
    pub publisher: Principal,
    /// Whether one refusal refuses all.
    pub mode: Mode,
    /// Who numbered the events.
    pub origin: Origin,
    /// What they were made of.
    pub source: Source,
    /// The batch as it came.
    pub encoded: RecordBatch,
    /// Its events.
    pub records: Records,
}

/// Whether the events of a batch stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Each event has its own verdict.
    #[default]
    PerEvent,
    /// One event not accepted: none is stored, and nothing the plugins did stands.
    AllOrNothing,
}

/// What the events of a batch were made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Source {
    /// Nothing that is counted with them.
    #[default]
    Untold,
    /// This: stored in the batch's commit, unless the batch is refused as one.
    Consumed(Consumed),
    /// Something that is counted already, or that is not the publisher's to count. Where the batch was
    /// judged before, it is answered as it was then; a new one is answered with this, and not judged.
    Settled(Fault),
}

/// Where a batch comes from, and with it the rule for its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A client that does not number its events: a retry is judged again.
    Unnumbered,
    /// A client that numbers them densely.
    Producer {
        /// Who.
        id: ProducerId,
        /// In which life.
        epoch: ProducerEpoch,
        /// The number of the batch's first event.
        first: Sequence,
    },
    /// A relay of side events, whose numbers rise with gaps.
    Relay {
        /// Who: see [`ProducerId::relay`].
        id: ProducerId,
        /// In which life: the upper part of the ordinals.
        epoch: ProducerEpoch,
        /// One per event.
        numbers: Vec<SideNumber>,
    },
}

/// The number of a side event at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideNumber {
    /// The lower part of its ordinal.
    pub sequence: Sequence,
    /// How many side events lie between it and a publisher's event.
    pub hops: u8,
}

impl Batch {
    /// How many side events lie between the event at `index` and a publisher's.
    pub(crate) fn hops(&self, index: usize) -> u8 {
        match &self.origin {
            Origin::Relay { numbers, .. } => numbers.get(index).map_or(0, |number| number.hops),
            Origin::Unnumbered | Origin::Producer { .. } => 0,
        }
    }
}
