//! Puts a chain to work whose plugins keep their state in other keyspaces than the chain before.
//!
//! ```text
//! Migration (cleared) ─▶ Migration (a chunk) ─▶ ... ─▶ Chain (at work), at one offset
//! ```
//! All of it between two batches. A crash before the Chain commit leaves the old chain and the old
//! keyspace, and a part of a new one that is cleared and filled again; behind it everything is new.

use std::sync::Arc;

use bytes::Bytes;
use weir_log::commit::{KeyspaceChange, KeyspaceFate, Kind};
use weir_log::{AppendError, Commit, GROUP_BYTES_MAX, Tail};
use weir_plugin_host::PluginFault;
use weir_wire::ids::{PluginName, Position};
use weir_wire::keyspace::Keyspace;

use super::Worker;
use crate::admission::{Base, STORED_BYTES_MAX};
use crate::chain::{Chain, Link};
use crate::migration::{CHUNK_BYTES, CHUNK_FUEL, Migration, Step, Trial, changed, context, step};

impl Worker {
    /// Whether a link of `chain` has state to take over first.
    pub(super) fn has_to_move(&self, chain: &Chain) -> bool {
        let step = |link: &Link| step(&self.view.keyspaces(link.plugin()), link.keyspace());
        chain.links.iter().any(|link| step(link) == Step::Moves)
    }

    /// Brings the links' state to where it belongs and records the chain. A link that does not take
    /// its state over is at work all the same: every event is a fault of it, until it is changed.
    /// On an error, which is the log's, the chain is given back.
    pub(super) async fn put_to_work(
        &mut self,
        mut chain: Chain,
        note: Bytes,
    ) -> Result<Position, (AppendError, Chain)> {
        let mut at_work = Vec::new();
        for link in &mut chain.links {
            let migrated = match step(&self.view.keyspaces(link.plugin()), link.keyspace()) {
                Step::Stays => continue,
                Step::Returns => Ok(()),
                Step::Moves => match self.migrate(link).await {
                    Ok(migrated) => migrated,
                    Err(error) => return Err((error, chain)),
                },
            };
            match &migrated {
                Ok(()) => at_work.push(fate(link, link.keyspace(), KeyspaceFate::AtWork)),
                Err(fault) => tracing::error!(
                    topic = %self.place.topic, partition = %self.place.partition,
                    plugin = %link.who(), %fault,
                    "plugin did not take over its state; its failure policy answers every event. \
                     Roll it back, or bind a version that does"
                ),
            }
            link.set_migrated(migrated);
        }
        if chain.revision == self.view.chain() && at_work.is_empty() {
            // Tried once more at a start, and in vain: it is recorded already.
            self.chain = chain;
            return Ok(self.last());
        }
        Ok(self.change_chain(chain, note, at_work))
    }

    /// Fills the link's keyspace from the one at work. Inside: why the plugin did not do it.
    async fn migrate(&mut self, link: &mut Link) -> Result<Result<(), PluginFault>, AppendError> {
        let plugin = link.plugin().clone();
        let at_work = self.view.keyspaces(&plugin).at_work().clone();
        let mut migration = Migration::of(&self.view.state(&plugin), at_work.schema().clone());
        // What a rollback could have gone back to until now, or what an earlier attempt has left.
        self.clear_all_but(&at_work, link);
        while !migration.is_done() {
            if self.group_bytes > GROUP_BYTES_MAX - STORED_BYTES_MAX {
                self.append_durably().await?;
            }
            let context = context(&self.place, self.now());
            let base = Arc::new(Base(self.view.state_in(&plugin, link.keyspace())));
            let state = match migration.chunk(link, &context, base, (CHUNK_BYTES, CHUNK_FUEL)) {
                Ok(changes) => changed(link, &changes),
                Err(fault) => {
                    self.clear_all_but(&at_work, link);
                    return Ok(Err(fault));
                }
            };
            if !state.is_empty() {
                self.apply(Commit { state, ..self.empty_commit(Kind::Migration) });
            }
            // The other partitions of this thread go on meanwhile.
            tokio::task::yield_now().await;
        }
        Ok(Ok(()))
    }

    fn clear_all_but(&mut self, at_work: &Keyspace, link: &Link) {
        let held = self.view.keyspaces_held(link.plugin()).filter(|held| *held != at_work);
        let keyspaces: Vec<_> = held.map(|held| fate(link, held, KeyspaceFate::Cleared)).collect();
        if !keyspaces.is_empty() {
            self.apply(Commit { keyspaces, ..self.empty_commit(Kind::Migration) });
        }
    }

    /// Gives the group to the log and waits until it is durable: the memory that a migration takes is
    /// that of one group. `Full` if there is no room for the next one.
    async fn append_durably(&mut self) -> Result<(), AppendError> {
        self.append().await?;
        let end = self.given.next;
        let is_known = |tail: &Tail| end <= tail.position || tail.stopped.is_some();
        let _ = self.tail.wait_for(is_known).await;
        self.answer_durable();
        if let Some(stopped) = &self.stopped {
            return Err(AppendError::Broken(stopped.message.clone()));
        }
        if self.is_full().await { Err(AppendError::Full) } else { Ok(()) }
    }

    /// What a link of `plugin` would have to take over for its state to be in `keyspace`.
    pub(super) fn trial(&self, plugin: &PluginName, keyspace: &Keyspace) -> Option<Trial> {
        let keyspaces = self.view.keyspaces(plugin);
        if step(&keyspaces, keyspace) != Step::Moves {
            return None;
        }
        let schema = keyspaces.at_work().schema().clone();
        let migration = Migration::of(&self.view.state(plugin), schema);
        Some(Trial::new(&self.place, self.now(), migration))
    }
}

fn fate(link: &Link, keyspace: &Keyspace, fate: KeyspaceFate) -> KeyspaceChange {
    KeyspaceChange { plugin: link.plugin().clone(), keyspace: keyspace.clone(), fate }
}
