//! What a plugin exports, linked to the host; and an instance of it, called in one of two ways.
//!
//! Promises: whoever calls does not see which way it is. Any component is called through wasmtime's
//! component runtime; one that is a core module and its canonical wiring is called directly
//! ([`crate::direct`]), which takes less than half of the time.

use wasmtime::component::{Component, InstancePre};
use wasmtime::{Engine, Module, Result, Store};
use weir_wire::record_batch::Record;

use crate::OldEntry;
use crate::bindings::migrating::{Migrating, MigratingIndices};
use crate::bindings::weir::plugin::types::{EventParam, HeaderParam, Verdict};
use crate::bindings::{Filter, FilterIndices, MIGRATION};
use crate::direct;
use crate::guest::Guest;

/// What is linked to the host, and where its exports are.
pub(crate) enum Exports {
    Component {
        linked: InstancePre<Guest>,
        filter: FilterIndices,
        migrating: Option<MigratingIndices>,
    },
    Direct(direct::Linked),
}

impl Exports {
    /// An error names the export that is missing or of another type.
    pub(crate) fn of(component: &Component, linked: InstancePre<Guest>) -> Result<Self> {
        let component_type = component.component_type();
        let mut exports = component_type.exports(component.engine());
        let migrates = exports.any(|(name, _)| name.starts_with(MIGRATION));
        let migrating = migrates.then(|| MigratingIndices::new(&linked)).transpose()?;
        Ok(Self::Component { filter: FilterIndices::new(&linked)?, migrating, linked })
    }

    /// Of a core module that is called in its component's place.
    pub(crate) fn direct(engine: &Engine, module: &Module) -> Result<Self> {
        direct::Linked::of(engine, module).map(Self::Direct)
    }

    pub(crate) fn migrates(&self) -> bool {
        match self {
            Self::Component { migrating, .. } => migrating.is_some(),
            Self::Direct(linked) => linked.migrates(),
        }
    }

    pub(crate) fn instantiate(&self, mut store: &mut Store<Guest>) -> Result<Instance> {
        Ok(match self {
            Self::Component { linked, filter, migrating } => {
                let instance = linked.instantiate(&mut store)?;
                let migrating = migrating.as_ref().map(|found| found.load(&mut store, &instance));
                Instance::Component {
                    filter: filter.load(&mut store, &instance)?,
                    migrating: migrating.transpose()?,
                }
            }
            Self::Direct(linked) => Instance::Direct(Box::new(linked.instantiate(store)?)),
        })
    }
}

/// An instance at work. An error of any call is its end: what it says is for
/// [`of_call`](crate::fault::of_call), and the instance is not called again.
pub(crate) enum Instance {
    Component { filter: Filter, migrating: Option<Migrating> },
    Direct(Box<direct::Instance>),
}

impl Instance {
    pub(crate) fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> Result<Result<(), String>> {
        match self {
            Self::Component { filter, .. } => filter.call_configure(store, config),
            Self::Direct(instance) => instance.configure(store, config),
        }
    }

    pub(crate) fn process(&self, store: &mut Store<Guest>, event: &Record<'_>) -> Result<Verdict> {
        match self {
            Self::Component { filter, .. } => {
                let headers: Vec<HeaderParam<'_>> = event
                    .headers
                    .iter()
                    .map(|(name, value)| HeaderParam { name, value: value.unwrap_or_default() })
                    .collect();
                let lowered = EventParam {
                    key: event.key,
                    value: event.value.unwrap_or_default(),
                    headers: &headers,
                    timestamp: event.timestamp.0,
                };
                filter.call_process(store, lowered)
            }
            Self::Direct(instance) => instance.process(store, event),
        }
    }

    /// The schema of its state. Only of an instance that migrates.
    pub(crate) fn schema(&self, store: &mut Store<Guest>) -> Result<String> {
        match self {
            Self::Component { migrating, .. } => {
                let migrating = migrating.as_ref().expect("it exports migration");
                migrating.weir_plugin_migration().call_schema(store)
            }
            Self::Direct(instance) => instance.schema(store),
        }
    }

    /// Takes over an entry of earlier state; `None` if it takes over nothing.
    pub(crate) fn migrate(
        &self,
        store: &mut Store<Guest>,
        entry: &OldEntry<'_>,
    ) -> Option<Result<Result<(), String>>> {
        match self {
            Self::Component { migrating, .. } => {
                Some(migrating.as_ref()?.weir_plugin_migration().call_migrate(
                    store,
                    entry.schema.as_str(),
                    entry.key,
                    entry.value,
                    entry.ttl_ms,
                ))
            }
            Self::Direct(instance) => instance.migrate(store, entry),
        }
    }
}
