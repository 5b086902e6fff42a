//! A partition without a log: batches are judged, and what they did is folded, by the very
//! admission and the very view of the worker. For whoever tries a plugin before it meets a broker.
//!
//! Not here on purpose: durability, retries, relays, and where time comes from.

use bytes::Bytes;
use weir_log::Commit;
use weir_log::commit::{Kind, SideEvent, StateChange, StateChanges, StateValue};
use weir_views::partition::PartitionView;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{PartitionId, PluginName, Timestamp, TopicName};
use weir_wire::keyspace::Keyspace;
use weir_wire::record_batch::{BatchLimits, Event, RecordBatch};
use weir_wire::verdict::Verdicts;

use crate::admission::{Place, Plan, admit};
use crate::batch::Batch;
use crate::chain::Chain;

/// A partition in memory.
pub struct Bench {
    view: PartitionView,
    chain: Chain,
    place: Place,
}

/// What became of one batch.
#[derive(Debug, Default)]
pub struct Judged {
    /// One per event.
    pub verdicts: Verdicts,
    /// The admitted events as they would be stored, in order.
    pub stored: Vec<Event>,
    /// What the chain changed in its plugins' state.
    pub state: StateChanges,
    /// The side events, in order of emission.
    pub side_events: Vec<SideEvent>,
}

/// What is to become of one batch.
#[derive(Debug)]
pub enum Planned {
    /// This is to be stored.
    Commit(Box<Commit>),
    /// Nothing is.
    Nothing(Verdicts),
}

impl Bench {
    /// An empty partition under this chain.
    pub fn new(topic: TopicName, partition: PartitionId, chain: Chain) -> Self {
        Self { view: PartitionView::default(), chain, place: Place { topic, partition } }
    }

    /// What a plugin remembers from before, as of partition time `now`.
    pub fn remember(
        &mut self,
        plugin: &PluginName,
        entries: Vec<(Bytes, StateValue)>,
        now: Timestamp,
    ) {
        let state = entries
            .into_iter()
            .map(|(key, value)| StateChange {
                plugin: plugin.clone(),
                keyspace: Keyspace::default(),
                key,
                value: Some(value),
            })
            .collect();
        let mut commit = Commit::empty(
            Kind::Batch,
            now.max(self.view.time()),
            self.chain.revision,
            self.view.next_offset(),
        );
        commit.state = state;
        self.view.apply(self.view.next(), &commit);
    }

    /// Judges a batch at partition time `now`, or at that of the last batch if it is later.
    pub fn judge(&mut self, batch: &Batch, now: Timestamp) -> Result<Judged, Fault> {
        match self.plan(batch, now)? {
            Planned::Commit(commit) => {
                self.apply(&commit);
                let Commit { verdicts, state, outbox: side_events, data, .. } = *commit;
                Ok(Judged { verdicts, stored: events_of(data)?, state, side_events })
            }
            Planned::Nothing(verdicts) => Ok(Judged { verdicts, ..Judged::default() }),
        }
    }

    /// The same, and nothing becomes true of it until what is to be stored is
    /// [applied](Self::apply).
    pub fn plan(&mut self, batch: &Batch, now: Timestamp) -> Result<Planned, Fault> {
        let now = now.max(self.view.time());
        match admit(&self.view, &mut self.chain, &self.place, batch, now) {
            Plan::Commit(commit, _) => Ok(Planned::Commit(commit)),
            Plan::Answer(verdicts, _) => Ok(Planned::Nothing(verdicts)),
            Plan::Refuse(fault) => Err(fault),
            Plan::Recall(_) => {
                Err(Fault::new(Code::InvalidRequest, "a retry; a bench judges new batches only"))
            }
        }
    }

    /// What was planned last becomes part of the view.
    pub fn apply(&mut self, commit: &Commit) {
        self.view.apply(self.view.next(), commit);
    }

    /// All that was judged so far adds up to this.
    pub fn view(&self) -> &PartitionView {
        &self.view
    }
}

fn events_of(data: Bytes) -> Result<Vec<Event>, Fault> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let ours = |error: weir_wire::record_batch::BatchError| {
        Fault::new(Code::Internal, format!("admission made a batch that is none: {error}"))
    };
    // Admission has its own limits, which are wider than a publisher's.
    let limits = BatchLimits {
        batch_bytes_max: usize::MAX,
        decompressed_bytes_max: usize::MAX,
        events_max: u32::MAX,
        event_bytes_max: usize::MAX,
    };
    let records = RecordBatch::parse(data).and_then(|batch| batch.open(&limits)).map_err(ours)?;
    Ok(records.events().collect())
}
