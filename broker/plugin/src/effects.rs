//! What an event did, until the chain says whether it stands: state changes and side events.
//!
//! ```text
//! a read looks in:   pending (this event) -> kept (this batch) -> base (the log)
//! keep:              pending moves into kept           discard: pending is gone
//! finish:            kept is the batch's changes
//! ```
//! Promises: nothing reaches `kept` that is over a limit; a refused call changes nothing. Knows
//! no wasmtime and no clock: time comes with the batch.

use std::sync::Arc;

use hashbrown::HashTable;
use weir_wire::admin::Limits;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::{RESERVED_HEADER_PREFIX, Timestamp, TopicName};
use weir_wire::record_batch::Event;

use crate::fault::fault;
use crate::{Change, Emitted, FaultCause, PluginFault, StateBase, StateBytes, StateKey};

/// Bytes of a state key at most: part of the contract in `wit/`.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// Bytes of a state value at most: part of the contract in `wit/`.
pub const STATE_VALUE_BYTES_MAX: usize = 64 << 10;

type Stored = Option<(StateBytes, Option<Timestamp>)>;

/// The effects of one stage in one batch.
pub(crate) struct Effects {
    limits: Limits,
    grants: Vec<TopicName>,
    now: Timestamp,
    may_emit: bool,
    base: Option<Arc<dyn StateBase>>,
    kept: Kept,
    kept_size: Size,
    // A list and no map: most events change one key, and the limit is small.
    pending: Vec<Pending>,
    pending_size: Size,
    emitted: Vec<Emitted>,
    emitted_bytes: u64,
}

/// A change of this event.
struct Pending {
    hash: u64,
    change: Change,
}

/// The changes of the batch so far, in order of first change, and where each key is among them.
#[derive(Default)]
struct Kept {
    changes: Vec<Change>,
    /// By the base's hash of its key, the place of a change.
    index: HashTable<(u64, u32)>,
}

impl Kept {
    fn get(&self, hash: u64, key: &[u8]) -> Option<&Change> {
        let changes = &self.changes;
        let is_it = |(of, at): &(u64, u32)| *of == hash && *changes[*at as usize].key == *key;
        let (_, at) = self.index.find(hash, is_it)?;
        Some(&changes[*at as usize])
    }

    fn put(&mut self, Pending { hash, change }: Pending) {
        let Self { changes, index } = self;
        let is_it = |(of, at): &(u64, u32)| *of == hash && changes[*at as usize].key == change.key;
        match index.find(hash, is_it) {
            Some((_, at)) => changes[*at as usize].value = change.value,
            None => {
                let at = u32::try_from(changes.len()).expect("a batch changes fewer keys");
                index.insert_unique(hash, (hash, at), |(of, _)| *of);
                changes.push(change);
            }
        }
    }

    fn take(&mut self) -> Vec<Change> {
        self.index.clear();
        std::mem::take(&mut self.changes)
    }
}

/// How much more (or less) is stored than in the base.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    keys: i64,
    bytes: i64,
}

/// A counter as it was found.
struct Counter {
    hash: u64,
    /// Bytes of what lies there, expired or not.
    before: Option<usize>,
    count: i64,
    expires: Option<Timestamp>,
}

impl Effects {
    /// For a stage that may emit to `grants`.
    pub(crate) fn new(limits: Limits, grants: Vec<TopicName>) -> Self {
        Self {
            limits,
            grants,
            now: Timestamp::default(),
            may_emit: false,
            base: None,
            kept: Kept::default(),
            kept_size: Size::default(),
            pending: Vec::new(),
            pending_size: Size::default(),
            emitted: Vec::new(),
            emitted_bytes: 0,
        }
    }

    /// A batch begins.
    pub(crate) fn begin(&mut self, now: Timestamp, base: Arc<dyn StateBase>) {
        self.finish();
        self.now = now;
        self.base = Some(base);
    }

    /// An event begins.
    pub(crate) fn begin_event(&mut self, may_emit: bool) {
        self.discard();
        self.may_emit = may_emit;
    }

    /// The event's effects stand; its side events go behind `side_events`.
    pub(crate) fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        for pending in self.pending.drain(..) {
            self.kept.put(pending);
        }
        self.kept_size.keys += self.pending_size.keys;
        self.kept_size.bytes += self.pending_size.bytes;
        self.pending_size = Size::default();
        side_events.append(&mut self.emitted);
        self.emitted_bytes = 0;
    }

    /// The event's effects never were.
    pub(crate) fn discard(&mut self) {
        self.pending.clear();
        self.pending_size = Size::default();
        self.emitted.clear();
        self.emitted_bytes = 0;
    }

    /// Bytes of the keys and values that the event changed so far.
    pub(crate) fn pending_bytes(&self) -> u64 {
        let value_bytes = |value: &Stored| value.as_ref().map_or(0, |(value, _)| value.len());
        let bytes = self.pending().map(|change| change.key.len() + value_bytes(&change.value));
        bytes.sum::<usize>() as u64
    }

    /// The batch is over: its changes, and the state is let go.
    pub(crate) fn finish(&mut self) -> Vec<Change> {
        self.discard();
        self.base = None;
        self.kept_size = Size::default();
        self.kept.take()
    }

    /// What this event changed so far.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Change> {
        self.pending.iter().map(|pending| &pending.change)
    }

    /// The live value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.live(self.stored(self.hash(key), key)).map(|(value, _)| value)
    }

    /// Sets `key`; it is gone `ttl_ms` after now, or never.
    pub(crate) fn set(
        &mut self,
        key: &[u8],
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<(), PluginFault> {
        let expires = ttl_ms.map(|ttl_ms| self.after(ttl_ms));
        let hash = self.hash(key);
        let before = self.stored(hash, key).map(|(old, _)| old.len());
        self.put(hash, key, before, Some((value.into(), expires)))
    }

    /// Removes `key`, if it is there.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<(), PluginFault> {
        let hash = self.hash(key);
        match self.stored(hash, key).map(|(old, _)| old.len()) {
            None => Ok(()),
            before => self.put(hash, key, before, None),
        }
    }

    /// Adds to the counter `key` and gives its new value.
    pub(crate) fn increment(
        &mut self,
        key: &[u8],
        by: i64,
        ttl_ms: Option<u64>,
    ) -> Result<i64, PluginFault> {
        let counter = self.counter(key)?;
        match counter.count.checked_add(by) {
            Some(sum) => self.count(key, counter, sum, ttl_ms),
            None => Err(overflow()),
        }
    }

    /// Adds to the counter `key` and gives its new value; if the sum is over `most`, it stays as it is
    /// and the error is what it has.
    pub(crate) fn increment_up_to(
        &mut self,
        key: &[u8],
        by: i64,
        most: i64,
        ttl_ms: Option<u64>,
    ) -> Result<Result<i64, i64>, PluginFault> {
        let counter = self.counter(key)?;
        match counter.count.checked_add(by) {
            Some(sum) if sum <= most => self.count(key, counter, sum, ttl_ms).map(Ok),
            None if by < 0 => Err(overflow()),
            // A sum that no 64 bits hold is over whatever they can.
            Some(_) | None => Ok(Err(counter.count)),
        }
    }

    /// What stands under `key`, as a counter.
    fn counter(&self, key: &[u8]) -> Result<Counter, PluginFault> {
        let hash = self.hash(key);
        let stored = self.stored(hash, key);
        let before = stored.map(|(old, _)| old.len());
        let (count, expires) = match self.live(stored) {
            None => (0, None),
            Some((value, expires)) => {
                let counter = value.try_into().map_err(|_| {
                    fault(FaultCause::Trap, "incremented a value that is no counter of 8 bytes")
                })?;
                (i64::from_le_bytes(counter), expires)
            }
        };
        Ok(Counter { hash, before, count, expires })
    }

    /// Brings the counter to `sum`.
    fn count(
        &mut self,
        key: &[u8],
        Counter { hash, before, expires, .. }: Counter,
        sum: i64,
        ttl_ms: Option<u64>,
    ) -> Result<i64, PluginFault> {
        let expires = ttl_ms.map(|ttl_ms| self.after(ttl_ms)).or(expires);
        let value = StateBytes::from_slice(&sum.to_le_bytes());
        self.put(hash, key, before, Some((value, expires)))?;
        Ok(sum)
    }

    /// Puts a side event behind the others of this event.
    pub(crate) fn emit(&mut self, topic: &str, event: Event) -> Result<(), PluginFault> {
        if !self.may_emit {
            return Err(fault(
                FaultCause::Denied,
                "emitted a side event, but this event has come through too many topics already",
            ));
        }
        let Some(topic) = self.grants.iter().find(|granted| granted.as_str() == topic).cloned()
        else {
            let topic: String = topic.chars().take(80).collect();
            return Err(fault(
                FaultCause::Denied,
                format!("emitted to topic {topic:?}, which its binding does not name (--emit)"),
            ));
        };
        if has_reserved_header(&event) {
            return Err(reserved_header());
        }
        let bytes = event.as_record().payload_bytes() as u64;
        let emitted_bytes = self.emitted_bytes + bytes;
        if u64::from(EVENT_BYTES_MAX) < bytes
            || self.limits.side_event_bytes < emitted_bytes
            || self.limits.side_events as usize <= self.emitted.len()
        {
            return Err(fault(
                FaultCause::OutputTooLarge,
                format!(
                    "emitted more than {} side events or {} bytes of them for one event",
                    self.limits.side_events, self.limits.side_event_bytes
                ),
            ));
        }
        self.emitted_bytes = emitted_bytes;
        self.emitted.push(Emitted { topic, event });
        Ok(())
    }

    fn after(&self, ttl_ms: u64) -> Timestamp {
        Timestamp(self.now.0.saturating_add(ttl_ms))
    }

    /// As the base has it; without one there is nothing to find.
    fn hash(&self, key: &[u8]) -> u64 {
        self.base.as_ref().map_or(0, |base| base.hash(key))
    }

    /// What of that has not expired.
    fn live<'a>(
        &self,
        stored: Option<(&'a [u8], Option<Timestamp>)>,
    ) -> Option<(&'a [u8], Option<Timestamp>)> {
        stored.filter(|(_, expires)| expires.is_none_or(|at| self.now < at))
    }

    /// What lies under `key`, expired or not: that is what takes space.
    fn stored(&self, hash: u64, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        let own =
            self.pending().find(|change| *change.key == *key).or_else(|| self.kept.get(hash, key));
        match own {
            Some(change) => change.value.as_ref().map(|(value, expires)| (&value[..], *expires)),
            None => self.base.as_ref()?.get_hashed(hash, key),
        }
    }

    /// Puts `value` under `key`, where now a value of `before` bytes lies.
    fn put(
        &mut self,
        hash: u64,
        key: &[u8],
        before: Option<usize>,
        value: Stored,
    ) -> Result<(), PluginFault> {
        let quota = |what: String| Err(fault(FaultCause::StateQuota, what));
        let value_bytes = value.as_ref().map_or(0, |(value, _)| value.len());
        if STATE_KEY_BYTES_MAX < key.len() {
            return quota(format!(
                "a state key of {} bytes, over {STATE_KEY_BYTES_MAX}",
                key.len()
            ));
        }
        if STATE_VALUE_BYTES_MAX < value_bytes {
            return quota(format!(
                "a state value of {value_bytes} bytes, over {STATE_VALUE_BYTES_MAX}"
            ));
        }
        let size_of = |value_bytes: usize| (key.len() + value_bytes) as i64;
        let mut size = self.pending_size;
        if let Some(old_bytes) = before {
            size.keys -= 1;
            size.bytes -= size_of(old_bytes);
        }
        if value.is_some() {
            size.keys += 1;
            size.bytes += size_of(value_bytes);
            let (keys, bytes) =
                self.base.as_ref().map_or((0, 0), |base| (base.keys(), base.bytes()));
            let keys = keys.saturating_add_signed(self.kept_size.keys + size.keys);
            let bytes = bytes.saturating_add_signed(self.kept_size.bytes + size.bytes);
            // A plugin over its quota (the limit was lowered) may still make things smaller.
            let grows = self.pending_size.keys < size.keys || self.pending_size.bytes < size.bytes;
            if grows && (self.limits.state_keys < keys || self.limits.state_bytes < bytes) {
                return quota(format!(
                    "over {} keys or {} bytes of state in this partition",
                    self.limits.state_keys, self.limits.state_bytes
                ));
            }
        }
        let changed = self.pending.len();
        match self.pending.iter_mut().find(|pending| *pending.change.key == *key) {
            Some(pending) => pending.change.value = value,
            None if self.limits.state_changes as usize <= changed => {
                return quota(format!(
                    "over {} changed keys for one event",
                    self.limits.state_changes
                ));
            }
            None => {
                let change = Change { key: StateKey::from_slice(key), value };
                self.pending.push(Pending { hash, change });
            }
        }
        self.pending_size = size;
        Ok(())
    }
}

fn overflow() -> PluginFault {
    fault(FaultCause::Trap, "incremented a counter over 64 bits")
}

/// Whether an event has a header that only the broker writes.
fn has_reserved_header(event: &Event) -> bool {
    event.headers.iter().any(|header| header.name.starts_with(RESERVED_HEADER_PREFIX))
}

/// The fault for one that has.
pub(crate) fn reserved_header() -> PluginFault {
    fault(
        FaultCause::Denied,
        format!(
            "wrote a header that begins with {RESERVED_HEADER_PREFIX:?}: those are the broker's"
        ),
    )
}

#[cfg(test)]
mod tests;
