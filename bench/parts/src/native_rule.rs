//! The rule of `plugins/daily-limit` as a stage in Rust: what judging costs without a component.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, PluginFault, Refusal, Stage, StageVerdict,
    StateBase,
};
use weir_wire::ids::{Timestamp, TopicName};
use weir_wire::record_batch::{Event, Record};

const DAY_MS: u64 = 86_400_000;
/// In a counter: a notice was emitted.
const NOTICED: u64 = 1 << 62;

/// So many events per key and day of partition time.
pub struct NativeRule {
    limit: u64,
    notices: TopicName,
    now: Timestamp,
    base: Option<Arc<dyn StateBase>>,
    kept: Vec<(Bytes, u64)>,
    places: HashMap<Bytes, usize>,
    pending: Option<(Bytes, u64)>,
    emitted: Option<Emitted>,
}

impl NativeRule {
    pub fn new(limit: u64, notices: TopicName) -> Self {
        Self {
            limit,
            notices,
            now: Timestamp(0),
            base: None,
            kept: Vec::new(),
            places: HashMap::new(),
            pending: None,
            emitted: None,
        }
    }

    fn count(&self, key: &[u8]) -> u64 {
        if let Some(place) = self.places.get(key) {
            return self.kept[*place].1;
        }
        let stored = self.base.as_ref().and_then(|base| base.get(key));
        let counter = stored.and_then(|(value, _)| value.try_into().ok());
        counter.map_or(0, u64::from_le_bytes)
    }

    fn tomorrow(&self) -> Timestamp {
        Timestamp((self.now.0 / DAY_MS + 1) * DAY_MS)
    }
}

impl Stage for NativeRule {
    fn begin(&mut self, batch: &BatchContext, state: Arc<dyn StateBase>) {
        (self.base, self.now) = (Some(state), batch.now);
    }

    fn judge(&mut self, event: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        let user = event.key.unwrap_or_default();
        let mut key = (self.now.0 / DAY_MS).to_be_bytes().to_vec();
        key.extend_from_slice(user);
        let count = self.count(&key);
        if count & !NOTICED < self.limit {
            self.pending = Some((key.into(), count + 1));
            return Ok(StageVerdict::Accept);
        }
        if count & NOTICED == 0 {
            self.pending = Some((key.into(), count | NOTICED));
            let event = Event { key: Some(Bytes::copy_from_slice(user)), ..Event::default() };
            self.emitted = Some(Emitted { topic: self.notices.clone(), event });
        }
        let message = format!("{} has used its {}", String::from_utf8_lossy(user), self.limit);
        Ok(StageVerdict::Reject(Refusal {
            code: "daily-limit".to_owned(),
            message,
            retry_after_ms: Some(self.tomorrow().0 - self.now.0),
        }))
    }

    fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        if let Some((key, count)) = self.pending.take() {
            match self.places.get(&key) {
                Some(&place) => self.kept[place].1 = count,
                None => {
                    self.places.insert(key.clone(), self.kept.len());
                    self.kept.push((key, count));
                }
            }
        }
        side_events.extend(self.emitted.take());
    }

    fn discard(&mut self) {
        (self.pending, self.emitted) = (None, None);
    }

    fn finish(&mut self) -> Vec<Change> {
        self.base = None;
        self.places.clear();
        let expires_at = Some(self.tomorrow());
        let change = |(key, count): (Bytes, u64)| Change {
            key: key[..].into(),
            value: Some((count.to_le_bytes()[..].into(), expires_at)),
        };
        self.kept.drain(..).map(change).collect()
    }
}
