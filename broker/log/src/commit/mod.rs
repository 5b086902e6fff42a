//! The commit: the one durable record of one judged batch.
//!
//! Promises: what was appended is read back equal, but for base offset and leader epoch in its
//! data; any bytes are answered with a commit or a reason. The bytes are drawn in `format.rs` and
//! `sections.rs`. Not here: files, and what a partition makes of a commit.

#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
pub(crate) mod fixture;
mod row;
mod chain;
mod encoder;
mod crc;
mod envelope;
mod sections;
mod state_changes;
mod cursor;
mod format;

use bytes::Bytes;
use weir_wire::ids::{
    ChainRevision, GroupName, Offset, PartitionId, PluginName, Position, ProducerEpoch, ProducerId,
    ResetEpoch, Sequence, Timestamp, TopicId, TopicName,
};
use weir_wire::keyspace::Keyspace;
use weir_wire::record_batch::Event;
use weir_wire::verdict::Verdicts;

pub(crate) use chain::Chain;
pub(crate) use encoder::{Encoder, behind_head};
pub(crate) use envelope::Envelope;
pub use format::COMMIT_BYTES_MAX;
pub(crate) use format::Unreadable;
pub use row::{Row, RowError};
pub use state_changes::{ChangeAt, NewValue, StateChanges, StateChangesReader, StateChangesWriter};

/// Whose log it is: stands in every commit, so that a file in the wrong folder is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The topic's number.
    pub topic: TopicId,
    /// The partition of it.
    pub partition: PartitionId,
}

/// Everything one judged batch did. Durable as a whole or not there at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// What the record is for.
    pub kind: Kind,
    /// The partition time; never falls from one commit to the next.
    pub time: Timestamp,
    /// The chain that judged.
    pub chain: ChainRevision,
    /// The offset of the first admitted event; where the next one would go if there is none.
    pub first_offset: Offset,
    /// How many events are in `data`.
    pub events: u32,
    /// The largest timestamp in `data`; 0 if there is none.
    pub max_timestamp: Timestamp,
    /// Who numbered the events, if anyone.
    pub producer: Option<Produced>,
    /// What the events were made of, if their publisher stores its progress with them.
    pub consumed: Option<Consumed>,
    /// Side events with a lower ordinal than this have reached their topics.
    pub relayed: u64,
    /// One per event that was sent.
    pub verdicts: Verdicts,
    /// What becomes of whole keyspaces, before the changes in `state`.
    pub keyspaces: Vec<KeyspaceChange>,
    /// What became of the plugins' state: absolute values, so that applying twice is applying once.
    pub state: StateChanges,
    /// Side events, in order of emission.
    pub outbox: Vec<SideEvent>,
    /// For [`Kind::Chain`] and [`Kind::Open`]: a JSON text; the log does not read it.
    pub note: Bytes,
    /// The admitted events: one record batch whose base offset is `first_offset`, or nothing.
    /// The log writes base offset and leader epoch into it.
    pub data: Bytes,
}

/// What a commit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An owner's reign begins; always position 0 of a segment log.
    Open = 1,
    /// A judged batch.
    Batch = 2,
    /// The chain changes between two batches.
    Chain = 3,
    /// Nothing but a mark: time passed, or side events were relayed.
    Mark = 4,
    /// The whole state up to here, so that what is before can be trimmed.
    Snapshot = 5,
    /// A piece of a plugin's state as the next version keeps it, before that one is at work.
    Migration = 6,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Open, Self::Batch, Self::Chain, Self::Mark, Self::Snapshot, Self::Migration]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

impl Commit {
    /// A commit that does nothing yet, to be filled in.
    pub fn empty(kind: Kind, time: Timestamp, chain: ChainRevision, first_offset: Offset) -> Self {
        Self {
            kind,
            time,
            chain,
            first_offset,
            events: 0,
            max_timestamp: Timestamp(0),
            producer: None,
            consumed: None,
            relayed: 0,
            verdicts: Verdicts::default(),
            keyspaces: Vec::new(),
            state: StateChanges::default(),
            outbox: Vec::new(),
            note: Bytes::new(),
            data: Bytes::new(),
        }
    }

    /// The first commit of a log: an owner's reign begins. `note` is a JSON text for people.
    pub(crate) fn open(note: Bytes) -> Self {
        Self { note, ..Self::empty(Kind::Open, Timestamp(0), ChainRevision(0), Offset(0)) }
    }
}

/// The producer's numbers for the events of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Produced {
    /// Who.
    pub id: ProducerId,
    /// In which life.
    pub epoch: ProducerEpoch,
    /// The number of the first event judged here.
    pub first: Sequence,
    /// The number of the last event judged here. Ordinary producers count densely, so it is
    /// `first + verdicts - 1`; a relay's numbers rise with gaps.
    pub last: Sequence,
}

/// How far a consumer group has come in a partition that one of its members reads: its committed
/// offset there from this commit on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumed {
    /// The group.
    pub group: GroupName,
    /// What was read.
    pub topic: TopicId,
    /// The partition of it.
    pub partition: PartitionId,
    /// Which of the group's counts this is: a reset begins another, beside which this is nothing.
    pub epoch: ResetEpoch,
    /// The committed offset before; where reading began if there was none.
    pub from: Offset,
    /// The offset of the next event to be read; never below `from`.
    pub to: Offset,
}

/// What becomes of one keyspace of a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyspaceChange {
    /// Whose.
    pub plugin: PluginName,
    /// Which.
    pub keyspace: Keyspace,
    /// What.
    pub fate: KeyspaceFate,
}

/// What becomes of a keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyspaceFate {
    /// It is empty. Never that which is at work.
    Cleared = 0,
    /// The plugin's state is here from now on; where it was stays as it is, for a rollback.
    AtWork = 1,
}

/// One key of one plugin's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// Whose state.
    pub plugin: PluginName,
    /// In which of its keyspaces.
    pub keyspace: Keyspace,
    /// At most 256 bytes.
    pub key: Bytes,
    /// The new value; `None` deletes.
    pub value: Option<StateValue>,
}

/// A value in a plugin's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateValue {
    /// At most 64 KiB.
    pub bytes: Bytes,
    /// Gone from this partition time on.
    pub expires_at: Option<Timestamp>,
}

/// An event on its way to another topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideEvent {
    /// Counts all side events of this partition, from 0, dense: the relay's sequence.
    pub ordinal: u64,
    /// Who emitted it.
    pub plugin: PluginName,
    /// Where to.
    pub topic: TopicName,
    /// How many side events lie between this one and a publisher's event: 1 at first.
    pub hops: u8,
    /// What.
    pub event: Event,
}

/// A commit where it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where.
    pub position: Position,
    /// What.
    pub commit: Commit,
}

#[cfg(test)]
mod tests;
