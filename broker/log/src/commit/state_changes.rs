//! What became of plugins' state, kept in the very bytes in which it stands in the log.
//!
//! ```text
//! per change:  | plugin counted, empty: as before | key counted | what varint | ...
//!              what 0: deleted   1: value counted   2: expires varint, value counted
//! ```
//! A batch of a thousand events has a thousand changes: they are written once, where they are judged, and
//! from there on only copied as a whole and walked along. Nothing is allocated for a change, neither on
//! the road nor in recovery.
//!
//! Invariant: the bytes are `count` whole changes, and the first names its plugin: what comes from the
//! outside was walked along once before it is one of these.

use std::fmt;

use bytes::Bytes;
use weir_wire::ids::{PluginName, Timestamp};
use weir_wire::keyspace::Keyspace;

use super::cursor::{Cursor, counted, push_counted, push_varint, varint};
use super::format::Unreadable;
use super::{StateChange, StateValue};

/// What a key holds from now on: a value, and from which partition time on it is gone; `None` deletes.
pub type NewValue<'a> = Option<(&'a [u8], Option<Timestamp>)>;

const DELETED: u64 = 0;
const STAYS: u64 = 1;
const EXPIRES: u64 = 2;

/// The changes of one commit, in order; absolute values, so that applying twice is applying once.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct StateChanges {
    bytes: Bytes,
    count: u32,
    /// Whether one is elsewhere than in a plugin's first keyspace.
    has_keyspaces: bool,
}

/// Writes [`StateChanges`].
#[derive(Debug, Default)]
pub struct StateChangesWriter {
    bytes: Vec<u8>,
    count: u32,
    has_keyspaces: bool,
    /// What the next change has to name.
    place: Option<String>,
}

impl StateChangesWriter {
    /// The following changes are of this plugin's state in this keyspace.
    pub fn place(&mut self, plugin: &PluginName, keyspace: &Keyspace) {
        self.place = Some(keyspace.of(plugin));
        self.has_keyspaces |= !keyspace.is_first();
    }

    /// `key` has this `value` from now on. Its [`place`](Self::place) has to be said first.
    pub fn push(&mut self, key: &[u8], value: NewValue<'_>) {
        let out = &mut self.bytes;
        match self.place.take() {
            Some(name) => push_counted(out, name.as_bytes()),
            None => {
                assert!(0 < self.count, "the first change says whose it is");
                out.push(0);
            }
        }
        push_counted(out, key);
        match value {
            None => push_varint(out, DELETED),
            Some((value, None)) => {
                push_varint(out, STAYS);
                push_counted(out, value);
            }
            Some((value, Some(at))) => {
                push_varint(out, EXPIRES);
                push_varint(out, at.0);
                push_counted(out, value);
            }
        }
        self.count += 1;
    }

    /// Makes room for so many changes of ordinary keys and values.
    pub fn reserve(&mut self, changes: usize) {
        /// Of a key of some twenty bytes, an expiry and a counter.
        const ORDINARY_BYTES: usize = 48;
        self.bytes.reserve(changes.saturating_mul(ORDINARY_BYTES));
    }

    /// All that was written.
    pub fn finish(self) -> StateChanges {
        let Self { bytes, count, has_keyspaces, .. } = self;
        // A place that no change followed means nothing.
        StateChanges { bytes: bytes.into(), count, has_keyspaces: has_keyspaces && 0 < count }
    }
}

impl StateChanges {
    /// How many there are.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether one is elsewhere than in a plugin's first keyspace.
    pub(super) fn has_keyspaces(&self) -> bool {
        self.has_keyspaces
    }

    /// Bytes that they take in the log.
    pub fn stored_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// As drawn above, without their number.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Walks along them.
    pub fn reader(&self) -> StateChangesReader<'_> {
        StateChangesReader { rest: &self.bytes, left: self.count }
    }

    /// One by one and each by itself: for people and tests. On the road there is the reader.
    pub fn iter(&self) -> impl Iterator<Item = StateChange> {
        let mut place = None;
        self.reader().filter_map(move |change| {
            place = change.place.or_else(|| place.take());
            let (plugin, keyspace) = place.clone()?;
            let value = change.value.map(|(value, expires_at)| StateValue {
                bytes: Bytes::copy_from_slice(value),
                expires_at,
            });
            Some(StateChange { plugin, keyspace, key: Bytes::copy_from_slice(change.key), value })
        })
    }

    /// Takes `count` changes out of a commit, all that `cursor` has.
    pub(super) fn read(cursor: &mut Cursor, knows_keyspaces: bool) -> Result<Self, Unreadable> {
        let count = cursor.count()?;
        let count =
            u32::try_from(count).map_err(|_| Unreadable::Invalid("too many state changes"))?;
        let bytes = cursor.take(cursor.left())?;
        let mut has_keyspaces = false;
        let mut rest = &bytes[..];
        for index in 0..count {
            let change = read_change(&mut rest)?;
            has_keyspaces |= change.place.as_ref().is_some_and(|(_, of)| !of.is_first());
            if index == 0 && change.place.is_none() {
                return Err(Unreadable::Invalid("a name like the one before, at the beginning"));
            }
        }
        if !rest.is_empty() {
            return Err(Unreadable::Invalid("a section longer than what it holds"));
        }
        if has_keyspaces && !knows_keyspaces {
            return Err(Unreadable::Invalid("a keyspace in a commit of version 1"));
        }
        Ok(Self { bytes, count, has_keyspaces })
    }
}

impl FromIterator<StateChange> for StateChanges {
    fn from_iter<I: IntoIterator<Item = StateChange>>(changes: I) -> Self {
        let mut writer = StateChangesWriter::default();
        let mut before = None;
        for StateChange { plugin, keyspace, key, value } in changes {
            let place = Some((plugin, keyspace));
            if place != before
                && let Some((plugin, keyspace)) = &place
            {
                writer.place(plugin, keyspace);
            }
            before = place;
            let value = value.as_ref().map(|value| (&*value.bytes, value.expires_at));
            writer.push(&key, value);
        }
        writer.finish()
    }
}

impl fmt::Debug for StateChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A walk along [`StateChanges`].
#[derive(Debug)]
pub struct StateChangesReader<'a> {
    rest: &'a [u8],
    left: u32,
}

/// One change where it stands among others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeAt<'a> {
    /// Whose state it is and in which keyspace; `None` where that is as it was for the one before.
    pub place: Option<(PluginName, Keyspace)>,
    /// The key.
    pub key: &'a [u8],
    /// What it holds from now on.
    pub value: NewValue<'a>,
}

impl<'a> Iterator for StateChangesReader<'a> {
    type Item = ChangeAt<'a>;

    fn next(&mut self) -> Option<ChangeAt<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(read_change(&mut self.rest).expect("they were walked along before"))
    }
}

fn read_change<'a>(rest: &mut &'a [u8]) -> Result<ChangeAt<'a>, Unreadable> {
    let name = counted(rest)?;
    let place = match name {
        [] => None,
        name => {
            let place = std::str::from_utf8(name).ok();
            let place = place.and_then(|name| Keyspace::parse_with_plugin(name).ok());
            Some(place.ok_or(Unreadable::Invalid("a name that is none"))?)
        }
    };
    let key = counted(rest)?;
    let value = match varint(rest)? {
        DELETED => None,
        STAYS => Some((counted(rest)?, None)),
        EXPIRES => {
            let expires_at = Some(Timestamp(varint(rest)?));
            Some((counted(rest)?, expires_at))
        }
        _ => return Err(Unreadable::Invalid("a state change of an unknown kind")),
    };
    Ok(ChangeAt { place, key, value })
}
