//! A plugin version, ready to be put into chains.

use std::sync::Arc;

use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PluginName, TopicName};
use weir_wire::keyspace::Schema;

use crate::PluginFault;
use crate::engine::Ticking;
use crate::exports::Exports;

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

    /// Whether its core module is called directly, and not through the component runtime.
    pub fn is_direct(&self) -> bool {
        matches!(self.inner.exports, Exports::Direct(_))
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
