//! A rule that shows which chain judged an event: odd revisions refuse odd numbers, even ones even.

use std::sync::Arc;

use weir_partition::{Chain, Judge, Link};
use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, PluginFault, Refusal, Stage, StageVerdict,
    StateBase,
};
use weir_wire::admin::FailurePolicy;
use weir_wire::ids::{ChainRevision, Digest, PluginName};
use weir_wire::record_batch::Record;

use crate::ledger::Name;

/// What it is called.
const PLUGIN: &str = "parity";

/// A chain of this rule alone.
pub fn parity(revision: u64) -> Chain {
    let plugin = PluginName::parse(PLUGIN).unwrap();
    let judge = Judge { plugin, version: revision as u32, digest: Digest([revision as u8; 32]) };
    let stage = Box::new(Parity { revision });
    Chain {
        revision: ChainRevision(revision),
        links: vec![Link::new(judge, FailurePolicy::Closed, stage)],
    }
}

/// What a chain says of an event: the code of its refusal, or nothing. Revision 0 has no rule.
pub fn refusal(revision: u64, number: u64) -> Option<String> {
    (0 < revision && revision % 2 == number % 2).then(|| format!("refused-by-{revision}"))
}

struct Parity {
    revision: u64,
}

impl Stage for Parity {
    fn begin(&mut self, _: &BatchContext, _: Arc<dyn StateBase>) {}

    fn judge(&mut self, event: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        let name = Name::in_value(event.value.unwrap()).unwrap();
        Ok(match refusal(self.revision, name.number) {
            None => StageVerdict::Accept,
            Some(code) => {
                let message = "not in this chain".to_owned();
                StageVerdict::Reject(Refusal { code, message, retry_after_ms: None })
            }
        })
    }

    fn keep(&mut self, _: &mut Vec<Emitted>) {}

    fn discard(&mut self) {}

    fn finish(&mut self) -> Vec<Change> {
        Vec::new()
    }
}
