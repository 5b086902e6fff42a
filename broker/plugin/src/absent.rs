//! A stage without a plugin: what was bound is missing, damaged, or does not start any more.
//!
//! It fails on every event, so that the binding's failure policy answers, and the partition and its
//! neighbours serve.

use std::sync::Arc;

use weir_wire::record_batch::Record;

use crate::{
    BatchContext, Change, Emitted, EventContext, PluginFault, Stage, StageVerdict, StateBase,
};

/// Stands where a plugin should.
#[derive(Debug, Clone)]
pub struct AbsentStage(PluginFault);

impl AbsentStage {
    /// Fails on every event like this.
    pub fn new(fault: PluginFault) -> Self {
        Self(fault)
    }
}

impl Stage for AbsentStage {
    fn begin(&mut self, _: &BatchContext, _: Arc<dyn StateBase>) {}

    fn judge(&mut self, _: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        Err(self.0.clone())
    }

    fn keep(&mut self, _: &mut Vec<Emitted>) {}

    fn discard(&mut self) {}

    fn finish(&mut self) -> Vec<Change> {
        Vec::new()
    }
}
