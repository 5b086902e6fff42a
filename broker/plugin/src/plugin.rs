//! A plugin version, ready to be put into chains.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Component, InstancePre};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, TopicName};
use weir_wire::keyspace::Schema;

use crate::PluginFault;
use crate::bindings::migrating::{Migrating, MigratingIndices};
use crate::bindings::{Filter, FilterIndices};
use crate::engine::Ticking;
use crate::guest::Guest;

/// With what the name of the interface begins that a rule may export beside its world.
const MIGRATION: &str = "weir:plugin/migration@";

/// What a binding says to a plugin.
#[derive(Debug, Clone)]
pub struct BindingSettings {
    /// JSON, handed to `configure` as it is.
    pub config: String,
    /// Topics it may emit side events to.
    pub emit: Vec<TopicName>,
    /// What it may use up.
    pub limits: Limits,
}

/// Why a plugin does not take a binding.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    /// The plugin's own words about its config: fix the config.
    #[error("the plugin refuses its config: {0}")]
    Refused(String),
    /// It could not be brought to life: more memory than its limit, or a broken component.
    #[error("the plugin does not start: {0}")]
    Instantiate(String),
    /// It failed in `configure`.
    #[error("the plugin failed while it took its config: {0}")]
    Fault(PluginFault),
}

/// A loaded component under its name. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<Inner>,
}

struct Inner {
    name: PluginName,
    digest: Digest,
    exports: Exports,
    schema: Schema,
    /// Keeps deadlines running.
    engine: Arc<Ticking>,
}

/// A component linked to the host, and where its exports are.
pub(crate) struct Exports {
    linked: InstancePre<Guest>,
    filter: FilterIndices,
    migrating: Option<MigratingIndices>,
}

impl Exports {
    /// An error names the export that is missing or of another type.
    pub(crate) fn of(component: &Component, linked: InstancePre<Guest>) -> wasmtime::Result<Self> {
        let component_type = component.component_type();
        let mut exports = component_type.exports(component.engine());
        let migrates = exports.any(|(name, _)| name.starts_with(MIGRATION));
        let migrating = migrates.then(|| MigratingIndices::new(&linked)).transpose()?;
        Ok(Self { filter: FilterIndices::new(&linked)?, migrating, linked })
    }

    pub(crate) fn migrates(&self) -> bool {
        self.migrating.is_some()
    }

    pub(crate) fn instantiate(
        &self,
        mut store: &mut Store<Guest>,
    ) -> wasmtime::Result<(Filter, Option<Migrating>)> {
        let instance = self.linked.instantiate(&mut store)?;
        let migrating = self.migrating.as_ref().map(|found| found.load(&mut store, &instance));
        Ok((self.filter.load(&mut store, &instance)?, migrating.transpose()?))
    }
}

impl Plugin {
    pub(crate) fn new(
        name: PluginName,
        digest: Digest,
        exports: Exports,
        schema: Schema,
        engine: Arc<Ticking>,
    ) -> Self {
        Self { inner: Arc::new(Inner { name, digest, exports, schema, engine }) }
    }

    /// Its name.
    pub fn name(&self) -> &PluginName {
        &self.inner.name
    }

    /// Which version it is.
    pub fn digest(&self) -> Digest {
        self.inner.digest
    }

    /// The form in which it keeps its state; empty if it declares none.
    pub fn schema(&self) -> &Schema {
        &self.inner.schema
    }

    pub(crate) fn exports(&self) -> &Exports {
        &self.inner.exports
    }

    pub(crate) fn engine(&self) -> &Ticking {
        &self.inner.engine
    }
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plugin({}@{})", self.inner.name, self.inner.digest.short())
    }
}
