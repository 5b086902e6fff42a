//! The state of one plugin in one partition: keys, values, and when they go.
//!
//! Promises: an entry whose time has come is absent from `get`; it leaves memory, the counts and
//! the checkpoint when its minute is over, without a scan. So keys and bytes are a function of the
//! log alone. Every key and value has bytes of its own and pins no batch's buffer; ordinary ones are
//! within the entry, so that a look at one is a look at one place in memory.
//!
//! Not here: quotas (the plugin's host checks them), and whether a change was right.

use std::collections::{BTreeMap, HashMap, HashSet};

use smallvec::SmallVec;
use weir_wire::ids::Timestamp;

/// Expiries are gathered by the minute: a counter that renews its time to live with every event
/// moves from one bucket to the next once a minute, not once an event.
const EXPIRY_BUCKET_MS: u64 = 60_000;

/// A key. Within itself up to 24 bytes: an id of a user with a day behind it.
pub type Key = SmallVec<[u8; 24]>;
/// A value. Within itself up to 16 bytes, which is all that a `Vec` would take: a counter or two.
pub type Value = SmallVec<[u8; 16]>;

/// What one plugin remembers in one partition.
// The map keeps the standard library's seeded hash: keys are chosen by hostile clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PluginState {
    entries: HashMap<Key, Entry>,
    /// Bytes of all keys and values in `entries`.
    bytes: u64,
    /// The partition time: what expires by then is absent.
    time: Timestamp,
    /// Invariant: exactly the keys of `entries` that expire, each in the bucket of its expiry.
    expiring: BTreeMap<u64, HashSet<Key>>,
}

/// A value, and from which partition time on it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Absent from here on; `None` stays.
    pub expires_at: Option<Timestamp>,
}

/// What became of one key: for the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key.
    pub key: Key,
    /// What it holds now; `None` if it is gone.
    pub entry: Option<Entry>,
}

impl PluginState {
    /// The value of `key` and when it expires, if it has not by now.
    pub fn get(&self, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        let entry = self.entries.get(key)?;
        let expired = entry.expires_at.is_some_and(|at| at <= self.time);
        (!expired).then_some((&*entry.value, entry.expires_at))
    }

    /// Everything that has not expired by now, in the order of keys.
    pub fn live(&self) -> Vec<(Key, Entry)> {
        let is_live = |entry: &Entry| entry.expires_at.is_none_or(|at| self.time < at);
        let live = self.entries.iter().filter(|(_, entry)| is_live(entry));
        let mut live: Vec<_> = live.map(|(key, entry)| (key.clone(), entry.clone())).collect();
        live.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        live
    }

    /// Keys held. One that expired counts until its minute is over.
    pub fn keys(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes of the keys and values held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes `key`; `None` deletes it.
    pub(crate) fn apply(
        &mut self,
        key: &[u8],
        value: Option<(&[u8], Option<Timestamp>)>,
        changed: &mut Vec<Changed>,
    ) {
        match value {
            Some((value, expires_at)) => {
                let entry = Entry { value: Value::from_slice(value), expires_at };
                self.put(Key::from_slice(key), entry, changed);
            }
            None => {
                if let Some((key, old)) = self.entries.remove_entry(key) {
                    self.leave(&key, &old);
                    changed.push(Changed { key, entry: None });
                }
            }
        }
    }

    /// Holds `entry` under `key`: what `apply` does to bytes that are its own already.
    pub(crate) fn put(&mut self, key: Key, entry: Entry, changed: &mut Vec<Changed>) {
        let bucket = entry.expires_at.map(bucket_of);
        let bytes = (key.len() + entry.value.len()) as u64;
        changed.push(Changed { key: key.clone(), entry: Some(entry.clone()) });
        match self.entries.get_mut(&*key) {
            Some(held) => {
                let old = std::mem::replace(held, entry);
                if old.expires_at.map(bucket_of) == bucket {
                    self.bytes = self.bytes + bytes - (key.len() + old.value.len()) as u64;
                    return;
                }
                self.leave(&key, &old);
            }
            None => drop(self.entries.insert(key.clone(), entry)),
        }
        self.bytes += bytes;
        if let Some(bucket) = bucket {
            self.expiring.entry(bucket).or_default().insert(key);
        }
    }

    /// Takes `old` out of the counts and its bucket.
    fn leave(&mut self, key: &Key, old: &Entry) {
        self.bytes -= (key.len() + old.value.len()) as u64;
        let Some(bucket) = old.expires_at.map(bucket_of) else { return };
        if let Some(keys) = self.expiring.get_mut(&bucket) {
            keys.remove(key);
            if keys.is_empty() {
                self.expiring.remove(&bucket);
            }
        }
    }

    /// Time has come to `time`: whole buckets that are over leave. The cost is in what leaves.
    pub(crate) fn advance(&mut self, time: Timestamp, changed: &mut Vec<Changed>) {
        self.time = time;
        while let Some(bucket) = self.expiring.first_entry() {
            if *bucket.key() > time.0 / EXPIRY_BUCKET_MS {
                break;
            }
            for key in bucket.remove() {
                if let Some(old) = self.entries.remove(&key) {
                    self.bytes -= (key.len() + old.value.len()) as u64;
                }
                changed.push(Changed { key, entry: None });
            }
        }
    }

    /// What is there and has not expired, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        let live = |entry: &Entry| entry.expires_at.is_none_or(|at| self.time < at);
        self.entries
            .iter()
            .filter(move |(_, entry)| live(entry))
            .map(|(key, entry)| (&**key, entry))
    }

    /// Everything held, in no order: for a checkpoint from nothing.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Changed> {
        let row =
            |(key, entry): (&Key, &Entry)| Changed { key: key.clone(), entry: Some(entry.clone()) };
        self.entries.iter().map(row)
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
        state.apply(key.as_bytes(), value, &mut Vec::new());
    }

    /// What is seen and what is held after time has come to `time`: "value keys bytes gone".
    fn at(state: &mut PluginState, time: u64, key: &str) -> String {
        let mut changed = Vec::new();
        state.advance(Timestamp(time), &mut changed);
        let seen = state
            .get(key.as_bytes())
            .map_or("-".into(), |(value, _)| String::from_utf8_lossy(value));
        format!("{seen} {} {} {}", state.keys(), state.bytes(), changed.len())
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
            state.apply(b"k", None, &mut Vec::new());
        }
        assert_eq!(state, PluginState::default());
    }

    #[test]
    fn a_value_that_comes_too_late_is_gone_at_once() {
        let mut state = PluginState::default();
        at(&mut state, 9 * MINUTE, "k");
        put(&mut state, "k", "one", Some(MINUTE));
        assert_eq!(at(&mut state, 9 * MINUTE, "k"), "- 0 0 1");
    }
}
