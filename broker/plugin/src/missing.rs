//! The stage of a plugin whose component cannot be had: it fails on every event, and the binding's
//! failure policy answers, as it does for every other failure.

use std::sync::Arc;

use weir_wire::record_batch::Record;

use crate::fault::fault;
use crate::{
    BatchContext, Change, Emitted, EventContext, FaultCause, MigrateError, Migrated, OldEntry,
    PluginFault, Stage, StageVerdict, StateBase,
};

/// See the module's text.
#[derive(Debug)]
pub struct MissingStage {
    why: String,
}

impl MissingStage {
    /// `why` goes into every answer.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into() }
    }
}

impl Stage for MissingStage {
    fn begin(&mut self, _: &BatchContext, _: Arc<dyn StateBase>) {}

    fn judge(&mut self, _: &Record<'_>, _: EventContext) -> Result<StageVerdict, PluginFault> {
        Err(fault(FaultCause::Missing, self.why.clone()))
    }

    fn keep(&mut self, _: &mut Vec<Emitted>) {}

    fn discard(&mut self) {}

    fn finish(&mut self) -> Vec<Change> {
        Vec::new()
    }

    fn migrate(&mut self, _: &OldEntry<'_>) -> Result<Migrated, MigrateError> {
        Err(fault(FaultCause::Missing, self.why.clone()).into())
    }
}
