//! What an event did, until the chain says whether it stands: state changes and side events.
//!
//! ```text
//! a read looks in:   pending (this event) -> kept (this batch) -> base (the log)
//! keep:              pending moves into kept           discard: pending is gone
//! finish:            kept is the batch's changes
//! ```
//! Promises: nothing reaches `kept` that is over a limit; a refused call changes nothing. Knows
//! no wasmtime and no clock: time comes with the batch.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_wire::admin::Limits;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::{RESERVED_HEADER_PREFIX, Timestamp, TopicName};
use weir_wire::record_batch::Event;

use crate::fault::fault;
use crate::{Change, Emitted, FaultCause, PluginFault, StateBase};

/// Bytes of a state key at most: part of the contract in `wit/`.
pub const STATE_KEY_BYTES_MAX: usize = 256;
/// Bytes of a state value at most: part of the contract in `wit/`.
pub const STATE_VALUE_BYTES_MAX: usize = 64 << 10;

type Stored = Option<(Bytes, Option<Timestamp>)>;

/// The effects of one stage in one batch.
pub(crate) struct Effects {
    limits: Limits,
    grants: Vec<TopicName>,
    now: Timestamp,
    may_emit: bool,
    base: Option<Arc<dyn StateBase>>,
    kept: Vec<Change>,
    kept_index: HashMap<Bytes, usize>,
    kept_size: Size,
    // A list and no map: most events change one key, and the limit is small.
    pending: Vec<Change>,
    pending_size: Size,
    emitted: Vec<Emitted>,
    emitted_bytes: u64,
}

/// How much more (or less) is stored than in the base.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    keys: i64,
    bytes: i64,
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
            kept: Vec::new(),
            kept_index: HashMap::new(),
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
        for change in self.pending.drain(..) {
            match self.kept_index.get(&change.key) {
                Some(&at) => self.kept[at].value = change.value,
                None => {
                    self.kept_index.insert(change.key.clone(), self.kept.len());
                    self.kept.push(change);
                }
            }
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
        let bytes = self.pending.iter().map(|change| change.key.len() + value_bytes(&change.value));
        bytes.sum::<usize>() as u64
    }

    /// The batch is over: its changes, and the state is let go.
    pub(crate) fn finish(&mut self) -> Vec<Change> {
        self.discard();
        self.base = None;
        self.kept_index.clear();
        self.kept_size = Size::default();
        std::mem::take(&mut self.kept)
    }

    /// What this event changed so far.
    pub(crate) fn pending(&self) -> &[Change] {
        &self.pending
    }

    /// The live value of `key`.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.live(key).map(|(value, _)| value)
    }

    /// Sets `key`; it is gone `ttl_ms` after now, or never.
    pub(crate) fn set(
        &mut self,
        key: Vec<u8>,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<(), PluginFault> {
        let expires = ttl_ms.map(|ttl_ms| self.after(ttl_ms));
        self.put(key.into(), Some((value.into(), expires)))
    }

    /// Removes `key`, if it is there.
    pub(crate) fn delete(&mut self, key: Vec<u8>) -> Result<(), PluginFault> {
        if self.stored(&key).is_none() {
            return Ok(());
        }
        self.put(key.into(), None)
    }

    /// Adds to the counter `key` and gives its new value.
    pub(crate) fn increment(
        &mut self,
        key: Vec<u8>,
        by: i64,
        ttl_ms: Option<u64>,
    ) -> Result<i64, PluginFault> {
        let (before, expires) = match self.live(&key) {
            None => (0, None),
            Some((value, expires)) => {
                let counter = value.try_into().map_err(|_| {
                    fault(FaultCause::Trap, "incremented a value that is no counter of 8 bytes")
                })?;
                (i64::from_le_bytes(counter), expires)
            }
        };
        let sum = before
            .checked_add(by)
            .ok_or_else(|| fault(FaultCause::Trap, "incremented a counter over 64 bits"))?;
        let expires = ttl_ms.map(|ttl_ms| self.after(ttl_ms)).or(expires);
        self.put(key.into(), Some((Bytes::copy_from_slice(&sum.to_le_bytes()), expires)))?;
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

    /// What lies under `key` and has not expired.
    fn live(&self, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.stored(key).filter(|(_, expires)| expires.is_none_or(|at| self.now < at))
    }

    /// What lies under `key`, expired or not: that is what takes space.
    fn stored(&self, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        let own = self
            .pending
            .iter()
            .find(|change| change.key == key)
            .or_else(|| self.kept_index.get(key).map(|at| &self.kept[*at]));
        match own {
            Some(change) => change.value.as_ref().map(|(value, expires)| (&value[..], *expires)),
            None => self.base.as_ref()?.get(key),
        }
    }

    fn put(&mut self, key: Bytes, value: Stored) -> Result<(), PluginFault> {
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
        if let Some((old, _)) = self.stored(&key) {
            size.keys -= 1;
            size.bytes -= size_of(old.len());
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
        match self.pending.iter_mut().find(|change| change.key == key) {
            Some(change) => change.value = value,
            None if self.limits.state_changes as usize <= changed => {
                return quota(format!(
                    "over {} changed keys for one event",
                    self.limits.state_changes
                ));
            }
            None => self.pending.push(Change { key, value }),
        }
        self.pending_size = size;
        Ok(())
    }
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
