//! How a stage takes over the state of an earlier version: like judging, with an entry for the event.

use super::{REFUSED_BYTES_MAX, Running, WasmStage, cut};
use crate::deadline::Deadline;
use crate::engine::ticks;
use crate::fault::{fault, of_call};
use crate::{FaultCause, MigrateError, Migrated, OldEntry};

impl WasmStage {
    pub(super) fn take_over(&mut self, entry: &OldEntry<'_>) -> Result<Migrated, MigrateError> {
        self.run().map_err(|error| fault(FaultCause::Instantiate, error.to_string()))?;
        let limits = &self.settings.limits;
        let Running { store, instance, .. } = self.running.as_mut().expect("run() made it so");
        store.data_mut().begin_migration();
        store.set_fuel(limits.fuel).expect("fuel is on in this engine");
        store.data_mut().deadline = Deadline::of_ms(limits.deadline_ms);
        store.set_epoch_deadline(ticks(limits.deadline_ms));
        let answer = instance.migrate(store, entry);
        store.data_mut().end_call();
        match answer.ok_or(MigrateError::Absent)? {
            Ok(Ok(())) => Ok(Migrated {
                bytes: store.data().effects.pending_bytes(),
                fuel: limits.fuel - store.get_fuel().expect("fuel is on in this engine"),
            }),
            Ok(Err(words)) => Err(MigrateError::Refused(cut(words, REFUSED_BYTES_MAX))),
            Err(error) => {
                let refused_bytes = store.data().memory.refused_bytes();
                Err(of_call(&error, limits, limits.deadline_ms, refused_bytes).into())
            }
        }
    }
}
