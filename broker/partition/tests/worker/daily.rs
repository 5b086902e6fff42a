//! A plugin that lets so many events of a key pass per day of partition time, and emits one notice
//! for who goes over. How many, and whether it changes what passes, depends on its chain's revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_partition::{Chain, Judge, Link};
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, PluginFault, Refusal, Stage, StageVerdict,
    StateBase,
};
use weir_wire::admin::FailurePolicy;
use weir_wire::ids::{ChainRevision, Digest, PluginName, TopicName};
use weir_wire::record_batch::{Event, Record};

use crate::model::{DAY_MS, DROP, limit_of, swaps};

/// A chain of this plugin alone. Its state goes on from chain to chain.
pub fn daily(revision: u64) -> Chain {
    let stage = Daily { revision, base: None, day: 0, kept: BTreeMap::new(), pending: None };
    let plugin = PluginName::parse("daily").unwrap();
    let judge = Judge { plugin, version: revision as u32, digest: Digest([revision as u8; 32]) };
    Chain {
        revision: ChainRevision(revision),
        links: vec![Link::new(judge, FailurePolicy::Closed, Box::new(stage))],
    }
}

/// | key u8 | day u64 |, and | passed u64 | whether a notice was emitted u8 |.
pub fn key_of(key: u8, day: u64) -> Vec<u8> {
    [&[key][..], &day.to_be_bytes()].concat()
}

pub fn value_of(passed: u64, noticed: bool) -> Vec<u8> {
    [&passed.to_be_bytes()[..], &[u8::from(noticed)]].concat()
}

struct Daily {
    revision: u64,
    base: Option<Arc<dyn StateBase>>,
    day: u64,
    kept: BTreeMap<u8, (u64, bool)>,
    pending: Option<Pending>,
}

struct Pending {
    key: u8,
    count: (u64, bool),
    notice: Option<Emitted>,
}

impl Daily {
    fn count(&self, key: u8) -> (u64, bool) {
        let stored = || {
            let (value, _) = self.base.as_ref().unwrap().get(&key_of(key, self.day))?;
            Some((u64::from_be_bytes(value[..8].try_into().unwrap()), value[8] == 1))
        };
        self.kept.get(&key).copied().or_else(stored).unwrap_or_default()
    }
}

impl Stage for Daily {
    fn begin(&mut self, batch: &BatchContext, state: Arc<dyn StateBase>) {
        (self.base, self.day) = (Some(state), batch.now.0 / DAY_MS);
    }

    fn judge(&mut self, event: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        let value = std::str::from_utf8(event.value.unwrap()).unwrap();
        if value.starts_with(DROP) {
            return Ok(StageVerdict::Drop);
        }
        let key = event.key.map_or(0, |key| key[0]);
        let (passed, noticed) = self.count(key);
        if passed < limit_of(self.revision) {
            self.pending = Some(Pending { key, count: (passed + 1, noticed), notice: None });
            if !swaps(self.revision) {
                return Ok(StageVerdict::Accept);
            }
            let value = Some(format!("{value} r{}", self.revision).into());
            return Ok(StageVerdict::Replace(Event { value, ..event.to_event() }));
        }
        if !noticed {
            let value = Some(format!("{key} on day {}", self.day).into());
            let topic = TopicName::parse("notices").unwrap();
            let notice = Some(Emitted { topic, event: Event { value, ..Event::default() } });
            self.pending = Some(Pending { key, count: (passed, true), notice });
        }
        Ok(StageVerdict::Reject(Refusal {
            code: "limit".to_owned(),
            message: passed.to_string(),
            retry_after_ms: None,
        }))
    }

    fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        if let Some(Pending { key, count, notice }) = self.pending.take() {
            self.kept.insert(key, count);
            side_events.extend(notice);
        }
    }

    fn discard(&mut self) {
        self.pending = None;
    }

    fn finish(&mut self) -> Vec<Change> {
        self.base = None;
        let day = self.day;
        let changes = std::mem::take(&mut self.kept).into_iter();
        let change = |(key, (passed, noticed)): (u8, (u64, bool))| Change {
            key: key_of(key, day).into(),
            value: Some((value_of(passed, noticed).into(), None)),
        };
        changes.map(change).collect()
    }
}
