//! Takes a plugin's state from the form of one version to that of the next.
//!
//! ```text
//! the keyspace at work ──entries, in the order of keys──▶ stage.migrate ──changes, in chunks──▶ the new one
//! ```
//! Decides and reads only; the worker records what comes of it, or, in a trial, nobody does. Promises:
//! the same state and component give the same changes; work and memory have limits; the old keyspace
//! is not touched.

use std::sync::Arc;

use weir_log::commit::{StateChanges, StateChangesWriter};
use weir_plugin_host::{
    BatchContext, Change, FaultCause, MigrateError, OldEntry, PluginFault, StateBase,
};
use weir_views::keyspaces::Keyspaces;
use weir_views::state::{Entry, Key, PluginState};
use weir_wire::ids::{Principal, Timestamp};
use weir_wire::keyspace::{Keyspace, Schema};

use crate::admission::{Base, Place, STORED_BYTES_MAX, write_changes};
use crate::chain::Link;

/// Changed bytes after which a commit of a migration ends: small beside what a commit may hold, so
/// that one entry more always fits.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;
/// Fuel after which one ends too: some fifty milliseconds, then others of this thread have their turn.
pub(crate) const CHUNK_FUEL: u64 = 100_000_000;
/// What one entry may change, so that its commit stays one that can be stored.
const ENTRY_BYTES_MAX: u64 = STORED_BYTES_MAX - CHUNK_BYTES;
/// Fuel of one partition's whole migration: about ten seconds of work, in which nobody publishes
/// there. Fuel and no clock, so that what a trial has found to fit does.
const FUEL_MAX: u64 = 20_000_000_000;
/// Characters of a key that an error repeats.
const KEY_CHARS_MAX: usize = 80;

/// What has to happen before a link's state is where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is there; or it has the form that is asked for, and so stays where it is.
    Stays,
    /// It was there before, and that is still as it was: a rollback.
    Returns,
    /// It has to be made of what is at work.
    Moves,
}

/// The step from where a plugin's state is to where it belongs.
pub(crate) fn step(state: &Keyspaces, target: &Keyspace) -> Step {
    if state.at_work() == target {
        Step::Stays
    } else if state.before() == Some(target) {
        Step::Returns
    } else if state.at_work().schema() == target.schema() {
        Step::Stays
    } else {
        Step::Moves
    }
}

/// A migration under way.
pub(crate) struct Migration {
    schema: Schema,
    entries: std::vec::IntoIter<(Key, Entry)>,
    fuel_left: u64,
}

impl Migration {
    /// Of all that `state`, which is of the form `schema`, holds.
    pub(crate) fn of(state: &PluginState, schema: Schema) -> Self {
        Self { schema, entries: state.live().into_iter(), fuel_left: FUEL_MAX }
    }

    /// Whether everything was taken over.
    pub(crate) fn is_done(&self) -> bool {
        self.entries.as_slice().is_empty()
    }

    /// Takes over the next entries, until they have changed so many bytes or taken so much fuel; `base` is the new state as
    /// the chunks before have left it.
    pub(crate) fn chunk(
        &mut self,
        link: &mut Link,
        context: &BatchContext,
        base: Arc<dyn StateBase>,
        (bytes_max, fuel_max): (u64, u64),
    ) -> Result<Vec<Change>, PluginFault> {
        link.stage().begin(context, base);
        let taken = self.take_over(link, context.now, bytes_max, fuel_max);
        // In any case, so that the state is let go.
        let changes = link.stage().finish();
        taken.map(|()| changes)
    }

    fn take_over(
        &mut self,
        link: &mut Link,
        now: Timestamp,
        bytes_max: u64,
        fuel_max: u64,
    ) -> Result<(), PluginFault> {
        let mut bytes = 0;
        let fuel_before = self.fuel_left;
        while bytes < bytes_max && fuel_before - self.fuel_left < fuel_max {
            let left = self.entries.as_slice().len();
            let Some((key, Entry { value, expires_at })) = self.entries.next() else { break };
            // Time goes on between two chunks.
            let ttl_ms = expires_at.map(|at| at.0.saturating_sub(now.0));
            if ttl_ms == Some(0) {
                continue;
            }
            let entry = OldEntry { schema: &self.schema, key: &key, value: &value, ttl_ms };
            let migrated =
                link.stage().migrate(&entry).map_err(|error| self.fault(&key, left, error))?;
            link.stage().keep(&mut Vec::new());
            bytes += migrated.bytes;
            if ENTRY_BYTES_MAX < migrated.bytes {
                let why =
                    format!("it makes {} bytes of it, over {ENTRY_BYTES_MAX}", migrated.bytes);
                return Err(self.fault(&key, left, MigrateError::Refused(why)));
            }
            self.fuel_left = self.fuel_left.checked_sub(migrated.fuel).ok_or_else(|| {
                let why = format!("all entries together take more than {FUEL_MAX} fuel");
                self.fault(&key, left, MigrateError::Refused(why))
            })?;
        }
        Ok(())
    }

    fn fault(&self, key: &[u8], left: usize, error: MigrateError) -> PluginFault {
        let schema = &self.schema;
        let detail = match error {
            MigrateError::Absent => format!(
                "its state here has another form ({left} keys of the schema {schema:?}), and it \
                 exports no weir:plugin/migration: push a version that takes it over, roll back, or \
                 bind it under another name to begin with nothing"
            ),
            MigrateError::Refused(why) => {
                format!("it does not take over key {} of the schema {schema:?}: {why}", shown(key))
            }
            MigrateError::Fault(fault) => {
                format!(
                    "it does not take over key {} of the schema {schema:?}: {fault}",
                    shown(key)
                )
            }
        };
        PluginFault { cause: FaultCause::Migrate, detail }
    }
}

/// A key for people: keys are chosen by publishers.
fn shown(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    format!("{:?}", text.chars().take(KEY_CHARS_MAX).collect::<String>())
}

/// What a link would have to take over in one partition, as it was when asked: to be tried without
/// a change to anything.
pub struct Trial {
    context: BatchContext,
    migration: Migration,
}

impl Trial {
    pub(crate) fn new(place: &Place, now: Timestamp, migration: Migration) -> Self {
        Self { context: context(place, now), migration }
    }

    /// Has `link` take it over, and forgets what it made of it. Blocks for as long as that takes.
    pub fn run(mut self, link: &mut Link) -> Result<(), PluginFault> {
        self.migration
            .chunk(link, &self.context, Arc::new(Base(Arc::default())), (u64::MAX, u64::MAX))
            .map(drop)
    }
}

/// What surrounds a migration: nobody publishes it.
pub(crate) fn context(place: &Place, now: Timestamp) -> BatchContext {
    let publisher = Principal::parse("weir").expect("a name");
    BatchContext { now, topic: place.topic.clone(), partition: place.partition, publisher }
}

/// Changes as the log has them.
pub(crate) fn changed(link: &Link, changes: &[Change]) -> StateChanges {
    let mut writer = StateChangesWriter::default();
    write_changes(&mut writer, link.plugin(), link.keyspace(), changes);
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_follows_from_where_the_state_is_and_belongs() {
        let keyspace = |raw| Keyspace::parse(raw).expect("a keyspace");
        let first = Keyspaces::default();
        assert_eq!(step(&first, &keyspace("")), Step::Stays);
        assert_eq!(step(&first, &keyspace("w@3")), Step::Moves);
        assert_eq!(step(&first, &keyspace("@3")), Step::Stays, "the same form");
        assert_eq!(shown(b"\x1bkey\xff"), "\"\\u{1b}key\u{fffd}\"");
    }
}
