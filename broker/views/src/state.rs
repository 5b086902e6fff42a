//! The state of one plugin in one partition: keys, values, and when they go.
//!
//! Promises: an entry whose time has come is absent from `get`; it leaves memory, the counts and
//! the checkpoint when its minute is over, without a scan. So keys and bytes are a function of the
//! log alone.
//!
//! Not here: where entries lie (`slots`), quotas (the plugin's host checks them), and whether a change
//! was right.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};
use smallvec::SmallVec;
use weir_wire::ids::Timestamp;

pub use crate::slots::KeyHash;
use crate::slots::{At, Slot, Slots};

/// Expiries are gathered by the minute.
const EXPIRY_BUCKET_MS: u64 = 60_000;
/// Notes of expiries beyond which it is looked whether they are still of use.
const NOTES_MIN: usize = 1_024;

/// A key. Within itself up to 24 bytes: an id of a user with a day behind it.
pub type Key = SmallVec<[u8; 24]>;
/// A value. Within itself up to 16 bytes, which is all that a `Vec` would take: a counter or two.
pub type Value = SmallVec<[u8; 16]>;

/// What one plugin remembers in one partition.
#[derive(Debug, Default)]
pub struct PluginState {
    slots: Slots,
    /// Bytes of all keys and values held.
    bytes: u64,
    /// The partition time: what expires by then is absent.
    time: Timestamp,
    /// Invariant: every entry that expires is noted in the bucket of its expiry or in an earlier one.
    /// When a bucket is over, what does not expire by then is noted anew. So an entry that is renewed
    /// with every event moves once in its time to live, not once a minute; a note may be of an entry
    /// that is gone, or one of two.
    expiring: BTreeMap<u64, Vec<At>>,
    /// Notes in `expiring`.
    notes: usize,
    /// Entries that changed since the last `take_changed`, each with its mark; some may be gone.
    changed: Vec<At>,
    /// Keys that went since then. One that came again is in `changed` as well.
    gone: Rows,
}

/// Equal where the same is held: which slots and notes that took is of no account.
impl PartialEq for PluginState {
    fn eq(&self, other: &Self) -> bool {
        let is_there = |(_, slot): (At, &Slot)| {
            let there = other.slots.find(other.slots.hash(slot.key()), slot.key());
            there.map(|at| other.slots.slot(at)).is_some_and(|there| {
                (slot.value(), slot.expires_at()) == (there.value(), there.expires_at())
            })
        };
        (self.time, self.bytes, self.keys()) == (other.time, other.bytes, other.keys())
            && self.slots.iter().all(is_there)
    }
}

/// A value, and from which partition time on it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Absent from here on; `None` stays.
    pub expires_at: Option<Timestamp>,
}

/// Keys and what became of them, for the checkpoint: of two with one key the later counts.
///
/// ```text
/// | key bytes u32 | value bytes u32 | fate u8: 0 gone, 1 stays, 2 expires | expires at u64 | key | value | ...
/// ```
#[derive(Debug, Default)]
pub(crate) struct Rows {
    bytes: Vec<u8>,
    count: usize,
}

/// Bytes of a row beside its key and value.
const ROW_HEAD_BYTES: usize = 17;

/// One key, and what it holds now: a value and when it goes; `None` if it is gone.
pub(crate) type Row<'a> = (&'a [u8], Option<(&'a [u8], Option<Timestamp>)>);

impl Rows {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn push(&mut self, (key, entry): Row<'_>) {
        let (value, expires_at) = entry.unwrap_or_default();
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("a commit is smaller");
        let fate = match entry {
            None => 0,
            Some((_, None)) => 1,
            Some((_, Some(_))) => 2,
        };
        self.bytes.put_u32_le(length(key));
        self.bytes.put_u32_le(length(value));
        self.bytes.put_u8(fate);
        self.bytes.put_u64_le(expires_at.unwrap_or_default().0);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.count += 1;
    }

    pub(crate) fn append(&mut self, later: Rows) {
        match self.count {
            0 => *self = later,
            _ => {
                self.bytes.extend_from_slice(&later.bytes);
                self.count += later.count;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        let mut rest = &self.bytes[..];
        (0..self.count).map(move |_| {
            let (key_bytes, value_bytes) = (rest.get_u32_le() as usize, rest.get_u32_le() as usize);
            let (fate, at) = (rest.get_u8(), rest.get_u64_le());
            let (key, behind) = rest.split_at(key_bytes);
            let (value, behind) = behind.split_at(value_bytes);
            rest = behind;
            (key, (fate != 0).then_some((value, (fate == 2).then_some(Timestamp(at)))))
        })
    }
}

impl PluginState {
    /// The value of `key` and when it expires, if it has not by now.
    pub fn get(&self, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.get_hashed(self.hash(key), key)
    }

    /// The hash by which it finds `key`: its own, of a seed that no other state has.
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.slots.hash(key)
    }

    /// The same as [`get`](Self::get) for a key whose hash is known.
    pub fn get_hashed(&self, hash: KeyHash, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        let slot = self.slots.slot(self.slots.find(hash, key)?);
        let expires_at = slot.expires_at();
        let expired = expires_at.is_some_and(|at| at <= self.time);
        (!expired).then_some((slot.value(), expires_at))
    }

    /// Everything that has not expired by now, in the order of keys.
    pub fn live(&self) -> Vec<(Key, Entry)> {
        let owned = |(key, value, expires_at): (&[u8], &[u8], _)| {
            (Key::from_slice(key), Entry { value: Value::from_slice(value), expires_at })
        };
        let mut live: Vec<_> = self.entries().map(owned).collect();
        live.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        live
    }

    /// What is there and has not expired, in no order: key, value, and when it expires.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &[u8], Option<Timestamp>)> {
        let entries = self.slots.iter().map(|(_, it)| (it.key(), it.value(), it.expires_at()));
        entries.filter(|(_, _, expires_at)| expires_at.is_none_or(|at| self.time < at))
    }

    /// Keys held. One that expired counts until its minute is over.
    pub fn keys(&self) -> u64 {
        self.slots.len() as u64
    }

    /// Bytes of the keys and values held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether `key` is held, expired or not.
    pub(crate) fn holds(&self, key: &[u8]) -> bool {
        self.slots.find(self.slots.hash(key), key).is_some()
    }

    /// Writes `key`; `None` deletes it.
    pub(crate) fn apply(&mut self, key: &[u8], entry: Option<(&[u8], Option<Timestamp>)>) {
        let hash = self.slots.hash(key);
        let held = self.slots.find(hash, key);
        match (entry, held) {
            (None, None) => {}
            (None, Some(at)) => self.leave(at),
            (Some((value, expires_at)), None) => {
                let at = self.slots.insert(hash, key, value, expires_at);
                self.bytes += (key.len() + value.len()) as u64;
                self.mark(at);
                if let Some(expires_at) = expires_at {
                    self.note(at, bucket_of(expires_at));
                }
            }
            (Some((value, expires_at)), Some(at)) => {
                let slot = self.slots.slot_mut(at);
                let before = slot.expires_at().map(bucket_of);
                self.bytes -= slot.bytes();
                slot.set(value, expires_at);
                self.bytes += slot.bytes();
                self.mark(at);
                // One that goes later now is noted early enough.
                if let Some(bucket) = expires_at.map(bucket_of)
                    && before.is_none_or(|before| bucket < before)
                {
                    self.note(at, bucket);
                }
            }
        }
    }

    fn mark(&mut self, at: At) {
        let slot = self.slots.slot_mut(at);
        if !slot.is_changed {
            slot.is_changed = true;
            self.changed.push(at);
        }
    }

    fn note(&mut self, at: At, bucket: u64) {
        self.expiring.entry(bucket).or_default().push(at);
        self.notes += 1;
        // Whoever makes an entry's time shorter again and again, or an entry and none, makes notes.
        if NOTES_MIN + 2 * self.slots.len() < self.notes {
            self.expiring.clear();
            self.notes = 0;
            for (at, slot) in self.slots.iter() {
                if let Some(expires_at) = slot.expires_at() {
                    self.expiring.entry(bucket_of(expires_at)).or_default().push(at);
                    self.notes += 1;
                }
            }
        }
    }

    /// The entry goes; notes of it are found out when their bucket is over.
    fn leave(&mut self, at: At) {
        let slot = self.slots.slot(at);
        self.bytes -= slot.bytes();
        self.gone.push((slot.key(), None));
        self.slots.remove(at);
        if self.slots.len() == 0 {
            self.expiring.clear();
            self.notes = 0;
            self.changed.clear();
        }
    }

    /// Time has come to `time`: whole buckets that are over leave. The cost is in what leaves, and in
    /// what was to leave and was renewed.
    pub(crate) fn advance(&mut self, time: Timestamp) {
        self.time = time;
        let now = time.0 / EXPIRY_BUCKET_MS;
        while let Some(bucket) = self.expiring.first_entry() {
            if now < *bucket.key() {
                break;
            }
            let noted = bucket.remove();
            self.notes -= noted.len();
            for at in noted {
                let expires_at = self.slots.held(at).and_then(|slot| slot.expires_at());
                match expires_at.map(bucket_of) {
                    None => {}
                    Some(later) if now < later => {
                        self.expiring.entry(later).or_default().push(at);
                        self.notes += 1;
                    }
                    Some(_) => self.leave(at),
                }
            }
        }
    }

    /// Rows of what changed that the next `take_changed` has, at most.
    pub(crate) fn changes(&self) -> usize {
        self.changed.len() + self.gone.len()
    }

    /// Bytes that it takes to know what changed.
    pub(crate) fn changes_bytes(&self) -> usize {
        self.changed.len() * size_of::<At>() + self.gone.bytes()
    }

    /// What changed since the last time, each key once or gone and come again.
    pub(crate) fn take_changed(&mut self) -> Rows {
        let mut rows = std::mem::take(&mut self.gone);
        for at in std::mem::take(&mut self.changed) {
            if let Some(slot) = self.slots.held_mut(at)
                && slot.is_changed
            {
                slot.is_changed = false;
                rows.push((slot.key(), Some((slot.value(), slot.expires_at()))));
            }
        }
        rows
    }

    /// Nothing changed that anybody will ask for.
    pub(crate) fn forget_changes(&mut self) {
        self.gone.clear();
        for at in self.changed.drain(..) {
            if let Some(slot) = self.slots.held_mut(at) {
                slot.is_changed = false;
            }
        }
        self.changed.shrink_to(NOTES_MIN);
    }

    /// Bytes of `rows`.
    pub(crate) fn rows_bytes(&self) -> usize {
        self.bytes as usize + self.slots.len() * ROW_HEAD_BYTES
    }

    /// Everything held, in no order: for a checkpoint from nothing.
    pub(crate) fn rows(&self) -> Rows {
        let mut rows = Rows { bytes: Vec::with_capacity(self.rows_bytes()), count: 0 };
        for (_, slot) in self.slots.iter() {
            rows.push((slot.key(), Some((slot.value(), slot.expires_at()))));
        }
        rows
    }
}

/// The minute at whose beginning everything in the bucket has expired.
fn bucket_of(expires_at: Timestamp) -> u64 {
    expires_at.0.div_ceil(EXPIRY_BUCKET_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = EXPIRY_BUCKET_MS;

    fn put(state: &mut PluginState, key: &str, value: &str, expires_at: Option<u64>) {
        let value = Some((value.as_bytes(), expires_at.map(Timestamp)));
        state.apply(key.as_bytes(), value);
    }

    /// What is seen and what is held after time has come to `time`: "value keys bytes gone".
    fn at(state: &mut PluginState, time: u64, key: &str) -> String {
        state.forget_changes();
        state.advance(Timestamp(time));
        let gone = state.take_changed().len();
        let seen = state
            .get(key.as_bytes())
            .map_or("-".into(), |(value, _)| String::from_utf8_lossy(value));
        format!("{seen} {} {} {}", state.keys(), state.bytes(), gone)
    }

    #[test]
    fn an_expired_entry_is_absent_at_once_and_gone_with_its_minute() {
        let mut state = PluginState::default();
        put(&mut state, "k", "one", Some(MINUTE + 1));
        assert_eq!(at(&mut state, MINUTE, "k"), "one 1 4 0");
        assert_eq!(at(&mut state, MINUTE + 1, "k"), "- 1 4 0");
        assert_eq!(at(&mut state, 2 * MINUTE - 1, "k"), "- 1 4 0");
        assert_eq!(at(&mut state, 2 * MINUTE, "k"), "- 0 0 1");
    }

    #[test]
    fn an_expiry_on_the_full_minute_frees_its_key_at_once() {
        let mut state = PluginState::default();
        put(&mut state, "k", "one", Some(MINUTE));
        assert_eq!(at(&mut state, MINUTE - 1, "k"), "one 1 4 0");
        assert_eq!(at(&mut state, MINUTE, "k"), "- 0 0 1");
    }

    #[test]
    fn a_renewed_entry_outlives_its_first_expiry() {
        let mut state = PluginState::default();
        put(&mut state, "k", "one", Some(MINUTE));
        put(&mut state, "k", "three", Some(3 * MINUTE));
        assert_eq!(at(&mut state, 2 * MINUTE, "k"), "three 1 6 0");
        put(&mut state, "k", "ever", None);
        assert_eq!(at(&mut state, 9 * MINUTE, "k"), "ever 1 5 0");
        put(&mut state, "k", "late", Some(10 * MINUTE));
        assert_eq!(at(&mut state, u64::MAX, "k"), "- 0 0 1");
    }

    #[test]
    fn a_deleted_entry_leaves_nothing_behind() {
        let mut state = PluginState::default();
        for _ in 0..3 {
            put(&mut state, "k", "one", Some(7 * MINUTE));
            state.apply(b"k", None);
        }
        assert_eq!((state.keys(), state.bytes(), state.notes), (0, 0, 0));
        assert_eq!(at(&mut state, 7 * MINUTE, "k"), "- 0 0 0");
    }

    #[test]
    fn a_value_that_comes_too_late_is_gone_at_once() {
        let mut state = PluginState::default();
        at(&mut state, 9 * MINUTE, "k");
        put(&mut state, "k", "one", Some(MINUTE));
        assert_eq!(at(&mut state, 9 * MINUTE, "k"), "- 0 0 1");
    }
}
