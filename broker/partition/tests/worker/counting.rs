//! A plugin that counts what it judges and stamps every event with its own mark and the count, so
//! that the log shows which chain judged an event and what state it saw.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_partition::{Chain, Judge, Link};
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, PluginFault, Refusal, Stage, StageVerdict,
    StateBase,
};
use weir_wire::admin::FailurePolicy;
use weir_wire::ids::{ChainRevision, Digest, PluginName, TopicName};
use weir_wire::record_batch::{Event, Record};

/// Counts and refuses.
pub const REFUSE: &str = "refuse";
/// Refuses and changes nothing; the message is the count so far.
pub const ASK: &str = "ask";
/// Counts and emits a side event.
pub const EMIT: &str = "emit";
/// Counts, and takes longer than anyone should have to wait for another's batch.
pub const SLOW: &str = "slow";
/// Panics: a defect of the broker, which a plugin cannot cause.
pub const DEFECT: &str = "defect";

const KEY: &[u8] = b"n";

/// A chain of one plugin, whose state goes on from chain to chain.
pub fn counting(revision: u64, mark: &'static str) -> Chain {
    let stage = Counting { mark, base: None, kept: None, pending: None, emitted: None };
    let plugin = PluginName::parse("counting").unwrap();
    let judge = Judge { plugin, version: revision as u32, digest: Digest([revision as u8; 32]) };
    Chain {
        revision: ChainRevision(revision),
        links: vec![Link::new(judge, FailurePolicy::Closed, Box::new(stage))],
    }
}

struct Counting {
    mark: &'static str,
    base: Option<Arc<dyn StateBase>>,
    kept: Option<u64>,
    pending: Option<u64>,
    emitted: Option<Emitted>,
}

impl Counting {
    fn count(&self) -> u64 {
        self.kept.unwrap_or_else(|| {
            let stored = self.base.as_ref().unwrap().get(KEY);
            stored.map_or(0, |(value, _)| u64::from_le_bytes(value.try_into().unwrap()))
        })
    }
}

fn refuse(code: &str, count: u64) -> StageVerdict {
    StageVerdict::Reject(Refusal {
        code: code.to_owned(),
        message: count.to_string(),
        retry_after_ms: None,
    })
}

impl Stage for Counting {
    fn begin(&mut self, _: &BatchContext, state: Arc<dyn StateBase>) {
        self.base = Some(state);
    }

    fn judge(&mut self, event: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        let payload = std::str::from_utf8(event.value.unwrap_or_default()).unwrap();
        let count = self.count() + 1;
        if payload == ASK {
            return Ok(refuse("asked", count - 1));
        }
        if payload == SLOW {
            let until = Instant::now() + Duration::from_millis(20);
            while Instant::now() < until {}
        }
        assert!(payload != DEFECT, "a defect, as the test wants it");
        self.pending = Some(count);
        if payload == REFUSE {
            return Ok(refuse("refused", count));
        }
        let stamped = |text: &str| Some(format!("{text} {}{count}", self.mark).into());
        if payload == EMIT {
            let event = Event { value: stamped("notice"), ..Event::default() };
            self.emitted = Some(Emitted { topic: TopicName::parse("notices").unwrap(), event });
        }
        Ok(StageVerdict::Replace(Event { value: stamped(payload), ..event.to_event() }))
    }

    fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        self.kept = self.pending.take().or(self.kept);
        side_events.extend(self.emitted.take());
    }

    fn discard(&mut self) {
        (self.pending, self.emitted) = (None, None);
    }

    fn finish(&mut self) -> Vec<Change> {
        self.base = None;
        let change = |count: u64| Change {
            key: KEY.into(),
            value: Some((count.to_le_bytes()[..].into(), None)),
        };
        self.kept.take().map(change).into_iter().collect()
    }
}
