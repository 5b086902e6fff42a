//! Commits for tests, as a partition's worker would make them.

use bytes::Bytes;
use weir_wire::ids::{
    ChainRevision, GroupName, Offset, PartitionId, PluginName, Position, ProducerEpoch, ProducerId,
    ResetEpoch, Sequence, Timestamp, TopicId, TopicName,
};
use weir_wire::keyspace::{Keyspace, Schema};
use weir_wire::record_batch::{BatchBuilder, Compression, Event, Header, stamp};
use weir_wire::verdict::{Rejection, Verdict, Verdicts};

use super::{
    Commit, Consumed, Identity, KeyspaceChange, KeyspaceFate, Kind, Produced, SideEvent,
    StateChange, StateChanges, StateValue, Stored,
};

/// The partition of all tests.
pub(crate) const IDENTITY: Identity = Identity { topic: TopicId(7), partition: PartitionId(3) };

/// Makes commits that follow each other, as a partition's worker does.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) position: Position,
    pub(crate) offset: Offset,
    pub(crate) time: u64,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self { position: Position(1), offset: Offset(0), time: 1_000 }
    }

    /// The next commit, of one event for each timestamp, with values of so many bytes.
    pub(crate) fn commit(&mut self, timestamps: &[u64], value_bytes: usize) -> Commit {
        let mut builder = BatchBuilder::default();
        for (n, &timestamp) in timestamps.iter().enumerate() {
            let fill = (self.position.0 as u8).wrapping_mul(31).wrapping_add(n as u8);
            let event = Event {
                timestamp: Timestamp(timestamp),
                key: Some(Bytes::from(format!("key-{n}"))),
                value: Some(vec![fill; value_bytes].into()),
                headers: vec![],
            };
            builder.push(&event.as_record());
        }
        let events = timestamps.len() as u32;
        let data = if events == 0 { Bytes::new() } else { builder.finish(Compression::None) };
        self.time += 5;
        let commit = Commit {
            kind: if events == 0 { Kind::Mark } else { Kind::Batch },
            time: Timestamp(self.time),
            chain: ChainRevision(4),
            first_offset: self.offset,
            events,
            max_timestamp: Timestamp(timestamps.iter().copied().max().unwrap_or(0)),
            producer: None,
            consumed: None,
            relayed: 0,
            verdicts: Verdicts::all_accepted(events),
            keyspaces: vec![],
            state: StateChanges::default(),
            outbox: vec![],
            note: Bytes::new(),
            data,
        };
        self.position = self.position.next();
        self.offset = self.offset.plus(events.into());
        commit
    }

    /// A commit of three events with everything a commit can have.
    pub(crate) fn full_commit(&mut self) -> Commit {
        let mut commit = self.commit(&[700, 900, 800], 20);
        let plugin = PluginName::parse("daily-limit").unwrap();
        let value =
            |expires_at| Some(StateValue { bytes: Bytes::from_static(b"\x0b"), expires_at });
        let change = |key: &'static [u8], value| StateChange {
            plugin: plugin.clone(),
            keyspace: Keyspace::default(),
            key: Bytes::from_static(key),
            value,
        };
        let side = |ordinal, key: Option<&'static [u8]>| SideEvent {
            ordinal,
            plugin: plugin.clone(),
            topic: TopicName::parse("notices").unwrap(),
            hops: 1,
            event: Event {
                timestamp: Timestamp(1_700_000_000_000),
                key: key.map(Bytes::from_static),
                value: None,
                headers: vec![
                    Header { name: "day".to_owned(), value: Some(Bytes::from_static(b"5")) },
                    Header { name: "none".to_owned(), value: None },
                ],
            },
        };
        commit.producer = Some(Produced {
            id: ProducerId(77),
            epoch: ProducerEpoch(2),
            first: Sequence::new(40),
            last: Sequence::new(43),
        });
        commit.relayed = 6;
        commit.verdicts.push(Verdict::Rejected(Rejection {
            plugin: "daily-limit".to_owned(),
            code: "daily-limit".to_owned(),
            message: "eleventh of ten".to_owned(),
            retry_after_ms: Some(3_600_000),
            fault: false,
        }));
        commit.state = StateChanges::from_iter([
            change(b"alice", value(None)),
            change(b"bob", value(Some(Timestamp(86_400_000)))),
            change(b"carol", None),
        ]);
        commit.outbox = vec![side(6, Some(b"alice")), side(7, None)];
        commit
    }

    /// A piece of a migration, as it begins.
    pub(crate) fn migration(&mut self) -> Commit {
        let plugin = PluginName::parse("daily-limit").unwrap();
        let weeks = Keyspace::new(Schema::parse("per-week").unwrap(), ChainRevision(5));
        let cleared = KeyspaceFate::Cleared;
        let value = StateValue { bytes: Bytes::from_static(b"\x0b"), expires_at: None };
        let change = |keyspace: &Keyspace, key: &'static [u8]| StateChange {
            plugin: plugin.clone(),
            keyspace: keyspace.clone(),
            key: Bytes::from_static(key),
            value: Some(value.clone()),
        };
        Commit {
            kind: Kind::Migration,
            keyspaces: vec![
                KeyspaceChange { plugin: plugin.clone(), keyspace: weeks.clone(), fate: cleared },
                KeyspaceChange {
                    plugin: plugin.clone(),
                    keyspace: Keyspace::default(),
                    fate: KeyspaceFate::AtWork,
                },
            ],
            state: StateChanges::from_iter([
                change(&weeks, b"alice"),
                change(&weeks, b"bob"),
                change(&Keyspace::default(), b"carol"),
            ]),
            ..self.commit(&[], 0)
        }
    }

    /// Two events that a member of a group made of what it read.
    pub(crate) fn transformed(&mut self) -> Commit {
        let consumed = Consumed {
            group: GroupName::parse("counters").unwrap(),
            topic: TopicId(16),
            partition: PartitionId(5),
            epoch: ResetEpoch(2),
            from: Offset(300),
            to: Offset(304),
        };
        let producer = Produced {
            id: ProducerId(77),
            epoch: ProducerEpoch(0),
            first: Sequence::new(8),
            last: Sequence::new(9),
        };
        Commit {
            producer: Some(producer),
            consumed: Some(consumed),
            ..self.commit(&[700, 900], 20)
        }
    }

    /// A change of the chain.
    pub(crate) fn chain_change(&mut self) -> Commit {
        let note = Bytes::from_static(b"{\"chain\":5}");
        Commit { kind: Kind::Chain, chain: ChainRevision(5), note, ..self.commit(&[], 0) }
    }
}

/// The commit as it is read back: the log writes base offset and leader epoch into the data.
pub(crate) fn as_stored(position: Position, commit: &Commit) -> Stored {
    let mut data = commit.data.to_vec();
    if !data.is_empty() {
        stamp(&mut data, commit.first_offset, 0);
    }
    Stored { position, commit: Commit { data: data.into(), ..commit.clone() } }
}
