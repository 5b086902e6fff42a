//! A partition's fold as rows of bytes, and back.
//!
//! ```text
//! key (numbers big-endian)                   value
//! 1                                          | version u8 | rows u64 | position u64 | next offset u64 | time u64 |
//!                                            | chain revision u64 | relayed u64 | next ordinal u64 | chain note ... |
//! 2 | name length u8 | plugin name | key ... | fate u8: 0 stays, 1 expires, 2 gone | expires at u64 | value ... |
//!                                            | the name is PLUGIN/KEYSPACE in others than the first
//! 3 | producer id u64                        | epoch u16 | last sequence u32 | last used u64 |
//! 4 | producer id u64 | position u64         | first sequence u32 | count u32 | first offset u64 |
//!                                            | all accepted u8: 0 or 1 | time u64 |
//! 5 | relay's producer id u64                | epoch u16 | last sequence u32 |
//! 6 | position u64                           | first ordinal u64 | count u32 |
//! 7 | plugin name ...                        | length u8 | keyspace at work | before u8: 0 or 1 | keyspace ... |
//! 8 | topic id u32 | partition u32 | group ... | reset epoch u32 | offset u64 |
//! 9 | page u32                               | name length u8 | plugin name |
//!                                            | key bytes u32 | key | value bytes u32 | value as of a row 2 | ...
//! ```
//! Many rows of state stand together in pages, since a store takes a large value for little more than a
//! small one. A row 2 counts before what a page says of its key; in a checkpoint without pages, as a
//! log's snapshot has it, there are rows 2 only.
//!
//! Promises: rows in the order of their keys decode to exactly what was encoded, or to nothing:
//! another version, a row missing, too much, too short or against an invariant discards the whole.
//!
//! Not here: where rows are kept, and how many of them belong together (`store`).

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use weir_wire::ids::{
    ChainRevision, GroupName, Offset, PartitionId, PluginName, Position, ProducerEpoch, ProducerId,
    ResetEpoch, Sequence, Timestamp, TopicId,
};
use weir_wire::keyspace::Keyspace;

use crate::consumed::{self, ConsumedOffsets, Reached};
use crate::keyspaces::Keyspaces;
use crate::outbox::{self, Outbox, Waiting};
use crate::producers::{self, ClientHead, Producers, Remembered};
use crate::state::{self, Key, PluginState};

/// Raised with every change of what the rows mean; a checkpoint of another version is discarded.
const VERSION: u8 = 1;
const HEAD: u8 = 1;
/// The row without which there is no checkpoint.
pub(crate) const HEAD_KEY: [u8; 1] = [HEAD];
const STATE: u8 = 2;
const CLIENT: u8 = 3;
const BATCH: u8 = 4;
const RELAY: u8 = 5;
const OUTBOX: u8 = 6;
const KEYSPACES: u8 = 7;
const CONSUMED: u8 = 8;
const PAGE: u8 = 9;

/// Bytes of a page, about: few enough that the store keeps it among its rows, and not in a file of its
/// own.
const PAGE_BYTES: usize = 64 << 10;

const STAYS: u8 = 0;
const EXPIRES: u8 = 1;
const GONE: u8 = 2;

/// The fold of one partition as of a position, taken out of the store.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) head: Head,
    pub(crate) keyspaces: Vec<(PluginName, Keyspaces)>,
    pub(crate) state: BTreeMap<(PluginName, Keyspace), PluginState>,
    /// Rows of state that stand beside its pages.
    pub(crate) beside: u64,
    pub(crate) producers: Producers,
    pub(crate) outbox: Outbox,
    pub(crate) consumed: ConsumedOffsets,
}

impl Checkpoint {
    /// The position of the first commit that is not in it: the log is replayed from here on. If
    /// the log ends before this, the checkpoint is of another log: drop it and restore from none.
    pub fn position(&self) -> Position {
        self.head.next
    }
}

/// The single values of a fold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) next: Position,
    pub(crate) next_offset: Offset,
    pub(crate) time: Timestamp,
    pub(crate) chain: ChainRevision,
    pub(crate) chain_note: Bytes,
}

/// What changed since the last checkpoint: moved out of the view, to be saved off the hot path.
#[derive(Debug)]
pub struct Changes {
    /// How many rows there are in all, the head not counted.
    pub(crate) total: u64,
    /// The checkpoint that they follow on; `None` if they are everything there is.
    pub(crate) base: Option<Position>,
    pub(crate) head: Head,
    pub(crate) relayed: u64,
    pub(crate) next_ordinal: u64,
    pub(crate) rows: Rows,
}

/// Changed rows in the order of their change: of two with one key, the later counts.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) keyspaces: Vec<(PluginName, Keyspaces)>,
    pub(crate) state: Vec<((PluginName, Keyspace), state::Rows)>,
    pub(crate) producers: Vec<producers::Changed>,
    pub(crate) outbox: Vec<outbox::Changed>,
    pub(crate) consumed: Vec<(consumed::Of, Reached)>,
}

impl Rows {
    /// The rows of one keyspace of a plugin's state.
    pub(crate) fn of(&mut self, place: &(PluginName, Keyspace)) -> &mut state::Rows {
        let index = self.state.iter().position(|(of, _)| of == place);
        let index = index.unwrap_or_else(|| {
            self.state.push((place.clone(), state::Rows::default()));
            self.state.len() - 1
        });
        &mut self.state[index].1
    }

    /// Forgets all rows and keeps their room.
    pub(crate) fn clear(&mut self) {
        self.keyspaces.clear();
        self.state.iter_mut().for_each(|(_, rows)| rows.clear());
        self.producers.clear();
        self.outbox.clear();
        self.consumed.clear();
    }
}

impl Changes {
    /// The position that the checkpoint will have. Save it only when the log is durable up to
    /// here: what is not durable may never have been.
    pub fn position(&self) -> Position {
        self.head.next
    }

    /// Every changed row as it is now, the head last: key, and value or `None` where it goes; of two with
    /// one key the later counts. What is gone of the state has a value that says so, since a page may
    /// have it. Of producers, what came and went since the checkpoint before does not come at all: of a
    /// publisher of small batches that is most of it.
    pub(crate) fn for_each(&self, mut row: impl FnMut(Vec<u8>, Option<Vec<u8>>)) {
        for (place, changed) in &self.rows.state {
            let prefix = state_prefix(place);
            for (key, entry) in changed.iter() {
                let mut value = Vec::new();
                put_state_value(&mut value, entry);
                row([&*prefix, key].concat(), Some(value));
            }
        }
        self.for_each_other(row);
    }

    /// The same where nothing was before: the state is in pages.
    pub(crate) fn for_each_in_pages(&self, mut row: impl FnMut(Vec<u8>, Option<Vec<u8>>)) {
        let mut number = 0_u32;
        for (place, rows) in &self.rows.state {
            let name = &state_prefix(place)[1..];
            let mut page = Vec::new();
            let mut give = |page: Vec<u8>| {
                row([&[PAGE][..], &number.to_be_bytes()].concat(), Some(page));
                number += 1;
            };
            for (key, entry) in rows.iter() {
                if page.is_empty() {
                    page.extend_from_slice(name);
                }
                let value_bytes = 9 + entry.map_or(0, |(value, _)| value.len());
                page.extend_from_slice(&length(key.len()));
                page.extend_from_slice(key);
                page.extend_from_slice(&length(value_bytes));
                put_state_value(&mut page, entry);
                if PAGE_BYTES <= page.len() {
                    give(std::mem::take(&mut page));
                }
            }
            if !page.is_empty() {
                give(page);
            }
        }
        self.for_each_other(row);
    }

    fn for_each_other(&self, mut row: impl FnMut(Vec<u8>, Option<Vec<u8>>)) {
        for (plugin, keyspaces) in &self.rows.keyspaces {
            let key = [&[KEYSPACES], plugin.as_str().as_bytes()].concat();
            row(key, Some(keyspaces_value(keyspaces)));
        }
        for changed in producers::latest(&self.rows.producers, self.base) {
            let (key, value) = producer_row(changed);
            row(key, value);
        }
        for changed in &self.rows.outbox {
            match changed {
                outbox::Changed::Waits(Waiting { position, first, count }) => row(
                    key(OUTBOX, &[position.0]),
                    Some([&first.to_be_bytes()[..], &count.to_be_bytes()].concat()),
                ),
                outbox::Changed::Gone(position) => row(key(OUTBOX, &[position.0]), None),
            }
        }
        for (of, reached) in &self.rows.consumed {
            row(consumed_key(of), Some(consumed_value(*reached)));
        }
        row(vec![HEAD], Some(self.head_value()));
    }

    fn head_value(&self) -> Vec<u8> {
        let Head { next, next_offset, time, chain, chain_note } = &self.head;
        let numbers =
            [self.total, next.0, next_offset.0, time.0, chain.0, self.relayed, self.next_ordinal];
        let mut value = key(VERSION, &numbers);
        value.extend_from_slice(chain_note);
        value
    }
}

/// A byte and the numbers behind it.
fn key(tag: u8, numbers: &[u64]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len());
    key.push(tag);
    numbers.iter().for_each(|number| key.extend_from_slice(&number.to_be_bytes()));
    key
}

fn state_prefix((plugin, keyspace): &(PluginName, Keyspace)) -> Vec<u8> {
    let name = keyspace.of(plugin);
    let length = u8::try_from(name.len()).expect("names of 64 bytes each and a number");
    [&[STATE, length], name.as_bytes()].concat()
}

fn keyspaces_value(keyspaces: &Keyspaces) -> Vec<u8> {
    let at_work = keyspaces.at_work().to_string();
    let length = u8::try_from(at_work.len()).expect("a name of 64 bytes and a number");
    let before = keyspaces.before().map(Keyspace::to_string);
    let has_before = u8::from(before.is_some());
    let before = before.unwrap_or_default();
    [&[length], at_work.as_bytes(), &[has_before], before.as_bytes()].concat()
}

fn consumed_key((topic, partition, group): &consumed::Of) -> Vec<u8> {
    let numbers = [topic.0.to_be_bytes(), partition.0.to_be_bytes()].concat();
    [&[CONSUMED], &*numbers, group.as_str().as_bytes()].concat()
}

fn consumed_value(Reached { epoch, offset }: Reached) -> Vec<u8> {
    [&epoch.0.to_be_bytes()[..], &offset.0.to_be_bytes()].concat()
}

fn put_state_value(out: &mut Vec<u8>, entry: Option<(&[u8], Option<Timestamp>)>) {
    let (value, expires_at) = entry.unwrap_or_default();
    let fate = match (entry, expires_at) {
        (None, _) => GONE,
        (Some(_), None) => STAYS,
        (Some(_), Some(_)) => EXPIRES,
    };
    out.reserve(9 + value.len());
    out.push(fate);
    out.extend_from_slice(&expires_at.unwrap_or_default().0.to_be_bytes());
    out.extend_from_slice(value);
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).expect("a commit is smaller").to_be_bytes()
}

fn producer_row(changed: producers::Changed) -> (Vec<u8>, Option<Vec<u8>>) {
    let numbered = |epoch: ProducerEpoch, last: Sequence| {
        [&epoch.0.to_be_bytes()[..], &last.number().to_be_bytes()].concat()
    };
    match changed {
        producers::Changed::Client(id, ClientHead { epoch, last, used }) => {
            let mut value = numbered(epoch, last);
            value.extend_from_slice(&used.0.to_be_bytes());
            (key(CLIENT, &[id.0]), Some(value))
        }
        producers::Changed::ClientGone(id) => (key(CLIENT, &[id.0]), None),
        producers::Changed::Batch(id, batch) => {
            let value = [
                &batch.first.number().to_be_bytes()[..],
                &batch.count.to_be_bytes(),
                &batch.first_offset.0.to_be_bytes(),
                &[u8::from(batch.all_accepted)],
                &batch.time.0.to_be_bytes(),
            ];
            (key(BATCH, &[id.0, batch.position.0]), Some(value.concat()))
        }
        producers::Changed::BatchGone(id, position) => (key(BATCH, &[id.0, position.0]), None),
        producers::Changed::Relay(id, epoch, last) => {
            (key(RELAY, &[id.0]), Some(numbered(epoch, last)))
        }
    }
}

/// Rows that are no checkpoint, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: {0}")]
pub(crate) struct Undecodable(&'static str);

/// Gathers rows, which come in the order of their keys, into a checkpoint.
#[derive(Default)]
pub(crate) struct Decoder {
    head: Option<(Head, u64, u64, u64)>,
    rows: u64,
    keyspaces: Vec<(PluginName, Keyspaces)>,
    state: BTreeMap<(PluginName, Keyspace), PluginState>,
    /// What rows say to be gone; pages may have it.
    gone: HashSet<((PluginName, Keyspace), Key)>,
    /// Rows of state.
    beside: u64,
    producers: Vec<producers::Changed>,
    waiting: Vec<Waiting>,
    consumed: Vec<(consumed::Of, Reached)>,
}

impl Decoder {
    /// Takes the next row.
    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Undecodable> {
        let (mut key, mut value) = (Fields(key), Fields(value));
        let tag = key.u8()?;
        if (tag == HEAD) != self.head.is_none() {
            return Err(Undecodable("its head is not in front"));
        }
        self.rows += u64::from(!matches!(tag, HEAD | STATE | PAGE));
        match tag {
            HEAD => self.head = Some(head(&mut value)?),
            STATE => {
                self.beside += 1;
                let place = place(&mut key)?;
                let name = key.rest();
                match state_value(&mut value)? {
                    Some(entry) => self.state.entry(place).or_default().apply(name, Some(entry)),
                    None => {
                        self.gone.insert((place, Key::from_slice(name)));
                    }
                }
            }
            PAGE => {
                key.u32()?;
                let place = place(&mut value)?;
                let state = self.state.entry(place.clone()).or_default();
                while !value.0.is_empty() {
                    let name = value.counted()?;
                    let entry = state_value(&mut Fields(value.counted()?))?;
                    let is_gone = || {
                        let gone = (place.clone(), Key::from_slice(name));
                        self.gone.contains(&gone)
                    };
                    if !state.holds(name) && (self.gone.is_empty() || !is_gone()) {
                        state.apply(name, entry);
                    }
                }
            }
            CLIENT => {
                let (epoch, last, used) = (value.epoch()?, value.sequence()?, value.u64()?);
                let head = ClientHead { epoch, last, used: Timestamp(used) };
                self.producers.push(producers::Changed::Client(ProducerId(key.u64()?), head));
            }
            BATCH => {
                let (id, position) = (ProducerId(key.u64()?), Position(key.u64()?));
                let batch = Remembered {
                    first: value.sequence()?,
                    count: value.u32()?,
                    first_offset: Offset(value.u64()?),
                    all_accepted: value.flag()?,
                    time: Timestamp(value.u64()?),
                    position,
                };
                self.producers.push(producers::Changed::Batch(id, batch));
            }
            RELAY => {
                let (id, epoch) = (ProducerId(key.u64()?), value.epoch()?);
                self.producers.push(producers::Changed::Relay(id, epoch, value.sequence()?));
            }
            OUTBOX => self.waiting.push(Waiting {
                position: Position(key.u64()?),
                first: value.u64()?,
                count: value.u32()?,
            }),
            KEYSPACES => {
                let plugin = std::str::from_utf8(key.rest()).ok();
                let plugin = plugin.and_then(|name| PluginName::parse(name).ok());
                let plugin = plugin.ok_or(Undecodable("a plugin's name is none"))?;
                let length = usize::from(value.u8()?);
                let at_work = keyspace(value.take(length)?)?;
                let before = match value.flag()? {
                    true => Some(keyspace(value.rest())?),
                    false => None,
                };
                let keyspaces = Keyspaces::restore(at_work, before);
                let twice = Undecodable("a keyspace twice");
                self.keyspaces.push((plugin, keyspaces.ok_or(twice)?));
            }
            CONSUMED => {
                let (topic, partition) = (TopicId(key.u32()?), PartitionId(key.u32()?));
                let group = std::str::from_utf8(key.rest()).ok();
                let group = group.and_then(|name| GroupName::parse(name).ok());
                let group = group.ok_or(Undecodable("a group's name is none"))?;
                let (epoch, offset) = (ResetEpoch(value.u32()?), Offset(value.u64()?));
                self.consumed.push(((topic, partition, group), Reached { epoch, offset }));
            }
            _ => return Err(Undecodable("a row of an unknown kind")),
        }
        match (key.0, value.0) {
            ([], []) => Ok(()),
            _ => Err(Undecodable("a row is too long")),
        }
    }

    /// The checkpoint of the rows; `None` if there was none.
    pub(crate) fn finish(self) -> Result<Option<Checkpoint>, Undecodable> {
        let Some((head, rows, relayed, next_ordinal)) = self.head else { return Ok(None) };
        let keys: u64 = self.state.values().map(PluginState::keys).sum();
        if rows != self.rows + keys {
            return Err(Undecodable("a row is missing or too much"));
        }
        let producers = Producers::restore(self.producers);
        let outbox = Outbox::restore(self.waiting, relayed, next_ordinal);
        Ok(Some(Checkpoint {
            head,
            keyspaces: self.keyspaces,
            state: self.state,
            beside: self.beside,
            producers: producers.ok_or(Undecodable("the windows of producers have gaps"))?,
            outbox: outbox.ok_or(Undecodable("the outbox has a gap"))?,
            consumed: ConsumedOffsets::restore(self.consumed),
        }))
    }
}

/// Whose state it is.
fn place(fields: &mut Fields<'_>) -> Result<(PluginName, Keyspace), Undecodable> {
    let length = usize::from(fields.u8()?);
    let place = std::str::from_utf8(fields.take(length)?).ok();
    let place = place.and_then(|name| Keyspace::parse_with_plugin(name).ok());
    place.ok_or(Undecodable("a plugin's name is none"))
}

/// A value of state, and when it goes.
type StateValue<'a> = (&'a [u8], Option<Timestamp>);

/// A value and when it goes; `None` if it is gone.
fn state_value<'a>(value: &mut Fields<'a>) -> Result<Option<StateValue<'a>>, Undecodable> {
    let (fate, at) = (value.u8()?, value.u64()?);
    match fate {
        STAYS => Ok(Some((value.rest(), None))),
        EXPIRES => Ok(Some((value.rest(), Some(Timestamp(at))))),
        GONE if value.0.is_empty() => Ok(None),
        _ => Err(Undecodable("neither here nor gone")),
    }
}

fn keyspace(raw: &[u8]) -> Result<Keyspace, Undecodable> {
    let raw = std::str::from_utf8(raw).ok();
    let keyspace = raw.and_then(|raw| Keyspace::parse(raw).ok());
    keyspace.ok_or(Undecodable("a keyspace is none"))
}

fn head(value: &mut Fields<'_>) -> Result<(Head, u64, u64, u64), Undecodable> {
    if value.u8()? != VERSION {
        return Err(Undecodable("another version"));
    }
    let rows = value.u64()?;
    let (next, next_offset) = (Position(value.u64()?), Offset(value.u64()?));
    let (time, chain) = (Timestamp(value.u64()?), ChainRevision(value.u64()?));
    let (relayed, next_ordinal) = (value.u64()?, value.u64()?);
    let chain_note = Bytes::copy_from_slice(value.rest());
    Ok((Head { next, next_offset, time, chain, chain_note }, rows, relayed, next_ordinal))
}

/// Which position the value of a head speaks of.
pub(crate) fn position_in_head(value: &[u8]) -> Option<Position> {
    head(&mut Fields(value)).ok().map(|(head, ..)| head.next)
}

/// Bytes read from the front.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Undecodable> {
        let (front, rest) =
            self.0.split_at_checked(count).ok_or(Undecodable("a row is too short"))?;
        self.0 = rest;
        Ok(front)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Undecodable> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Undecodable("a row is too short"))?;
        self.0 = rest;
        Ok(*front)
    }
    /// What stands behind its length.
    fn counted(&mut self) -> Result<&'a [u8], Undecodable> {
        let length = self.u32()? as usize;
        self.take(length)
    }
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
    fn u8(&mut self) -> Result<u8, Undecodable> {
        self.array().map(u8::from_be_bytes)
    }
    fn u32(&mut self) -> Result<u32, Undecodable> {
        self.array().map(u32::from_be_bytes)
    }
    fn u64(&mut self) -> Result<u64, Undecodable> {
        self.array().map(u64::from_be_bytes)
    }
    fn epoch(&mut self) -> Result<ProducerEpoch, Undecodable> {
        self.array().map(u16::from_be_bytes).map(ProducerEpoch)
    }
    fn sequence(&mut self) -> Result<Sequence, Undecodable> {
        match self.u32()? {
            number if number == Sequence::new(number).number() => Ok(Sequence::new(number)),
            _ => Err(Undecodable("a sequence beyond the ring")),
        }
    }
    fn flag(&mut self) -> Result<bool, Undecodable> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Undecodable("neither yes nor no")),
        }
    }
}

/// The door for `fuzz/`, in its builds only.
#[cfg(fuzzing)]
pub mod fuzzing {
    use super::{Checkpoint, Decoder};

    /// The checkpoint of rows, if they are one.
    pub fn decode<'r>(
        rows: impl IntoIterator<Item = (&'r Vec<u8>, &'r Vec<u8>)>,
    ) -> Option<Checkpoint> {
        let mut decoder = Decoder::default();
        rows.into_iter().try_for_each(|(key, value)| decoder.row(key, value)).ok()?;
        decoder.finish().ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Row = (Vec<u8>, Vec<u8>);

    /// A checkpoint with a row of every kind, in the order of keys.
    fn rows() -> Vec<Row> {
        let plugin = PluginName::parse("limit").unwrap();
        let weeks = Keyspace::parse("per-week@7").unwrap();
        let keyspaces = Keyspaces::restore(weeks, Some(Keyspace::default())).unwrap();
        let mut state = state::Rows::default();
        state.push((b"alice", Some((b"ten", Some(Timestamp(9))))));
        let batch = Remembered {
            first: Sequence::new(3),
            count: 2,
            position: Position(5),
            first_offset: Offset(6),
            all_accepted: true,
            time: Timestamp(7),
        };
        let used = Timestamp(7);
        let client = ClientHead { epoch: ProducerEpoch(1), last: Sequence::new(4), used };
        let relay =
            producers::Changed::Relay(ProducerId(1 << 62), ProducerEpoch(0), Sequence::ZERO);
        let changes = Changes {
            total: 7,
            base: None,
            head: Head {
                next: Position(8),
                chain_note: Bytes::from_static(b"{}"),
                ..Head::default()
            },
            relayed: 2,
            next_ordinal: 3,
            rows: Rows {
                keyspaces: vec![(plugin.clone(), keyspaces)],
                state: vec![((plugin, Keyspace::default()), state)],
                producers: vec![
                    producers::Changed::Client(ProducerId(1), client),
                    producers::Changed::Batch(ProducerId(1), batch),
                    relay,
                ],
                outbox: vec![outbox::Changed::Waits(Waiting {
                    position: Position(5),
                    first: 2,
                    count: 1,
                })],
                consumed: vec![(
                    (TopicId(16), PartitionId(1), GroupName::parse("counters").unwrap()),
                    Reached { epoch: ResetEpoch(1), offset: Offset(9) },
                )],
            },
        };
        let mut rows = Vec::new();
        changes.for_each(|key, value| rows.push((key, value.unwrap())));
        rows.sort();
        rows
    }

    fn decode(rows: &[Row]) -> Result<Option<Checkpoint>, Undecodable> {
        let mut decoder = Decoder::default();
        rows.iter().try_for_each(|(key, value)| decoder.row(key, value))?;
        decoder.finish()
    }

    #[test]
    fn a_whole_checkpoint_is_read_and_none_is_none() {
        let checkpoint = decode(&rows()).unwrap().unwrap();
        assert_eq!(checkpoint.position(), Position(8));
        assert_eq!(checkpoint.head.chain_note, Bytes::from_static(b"{}"));
        assert_eq!(position_in_head(&rows()[0].1), Some(Position(8)));
        assert!(decode(&[]).unwrap().is_none());
    }

    #[test]
    fn a_row_missing_twice_cut_or_stretched_discards_the_whole() {
        for index in 0..rows().len() {
            let mut missing = rows();
            missing.remove(index);
            assert!(decode(&missing).is_err(), "without row {index}");

            let mut cut = rows();
            cut[index].0.pop();
            // A key in a plugin's state may end anywhere: only its row would tell.
            // So may a plugin's name, and a group's.
            assert!(decode(&cut).is_err() || [1, 6, 7].contains(&index), "with row {index} cut");

            let mut stretched = rows();
            stretched[index].0.push(0);
            assert!(decode(&stretched).is_err() || index == 1, "with row {index} stretched");
        }
    }

    #[test]
    fn a_row_counts_before_what_a_page_says_of_its_key() {
        let plugin = PluginName::parse("limit").unwrap();
        let changes = |total, base, entries: &[(&str, Option<&str>)]| {
            let mut state = state::Rows::default();
            for (key, value) in entries {
                state.push((key.as_bytes(), value.map(|value| (value.as_bytes(), None))));
            }
            let place = (plugin.clone(), Keyspace::default());
            let rows = Rows { state: vec![(place, state)], ..Rows::default() };
            let head = Head::default();
            Changes { total, base, head, relayed: 0, next_ordinal: 0, rows }
        };
        let mut stored = BTreeMap::new();
        let before = [("alice", Some("1")), ("bob", Some("2")), ("carol", Some("3"))];
        changes(3, None, &before).for_each_in_pages(|key, value| {
            stored.insert(key, value.unwrap());
        });
        assert_eq!(stored.len(), 2, "a head and a page");
        let later = [("bob", Some("7")), ("carol", None), ("dave", Some("4"))];
        changes(3, Some(Position(0)), &later).for_each(|key, value| {
            stored.insert(key, value.unwrap());
        });
        let rows: Vec<Row> = stored.into_iter().collect();
        let checkpoint = decode(&rows).unwrap().unwrap();
        let state: Vec<String> =
            checkpoint.state.values().flat_map(PluginState::live).map(said).collect();
        assert_eq!((state.join(" "), checkpoint.beside), ("alice=1 bob=7 dave=4".into(), 3));
        for index in 0..rows.len() {
            let mut missing = rows.clone();
            missing.remove(index);
            // What is in a page, and only a row says to be gone or other, a count cannot tell.
            let is_other = matches!(rows[index].0.last(), Some(b'b'));
            assert!(decode(&missing).is_err() || is_other, "without row {index}");
        }
    }

    fn said((key, entry): (Key, state::Entry)) -> String {
        format!("{}={}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&entry.value))
    }

    #[test]
    fn another_version_or_kind_discards_the_whole() {
        let mut version = rows();
        version[0].1[0] += 1;
        assert_eq!(decode(&version).unwrap_err(), Undecodable("another version"));
        let mut kind = rows();
        kind.last_mut().unwrap().0[0] = 10;
        assert_eq!(decode(&kind).unwrap_err(), Undecodable("a row of an unknown kind"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(
            index in 0usize..8,
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
            value in proptest::collection::vec(any::<u8>(), 0..70),
        ) {
            let mut rows = rows();
            rows[index].1 = value;
            if let Some(key) = key {
                rows[index].0[1..].iter_mut().zip(key).for_each(|(byte, other)| *byte = other);
            }
            let _ = decode(&rows);
        }
    }
}
