//! The plugins of a simulated broker: the real engine and the real daily-limit, compiled once for
//! all seeds.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use weir::shelf::{Plugins, ShelfError};
use weir_plugin_host::{Host, HostOptions, Plugin};
use weir_wire::admin::Binding;
use weir_wire::ids::{Digest, PluginName};
use weir_wire::keyspace::Schema;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine {
    host: Host::new(HostOptions::default()).unwrap(),
    loaded: Mutex::default(),
});

struct Engine {
    host: Host,
    loaded: Mutex<BTreeMap<(PluginName, Digest), Plugin>>,
}

/// The component of the rule that all simulated brokers run.
pub fn daily_limit() -> Bytes {
    Bytes::from_static(include_bytes!("../../../plugins/daily-limit/daily-limit.wasm"))
}

/// A shelf with nothing but what is known beforehand.
pub struct Known;

impl Plugins for Known {
    fn put<'a>(&'a self, component: &'a Bytes) -> BoxFuture<'a, Result<Digest, ShelfError>> {
        futures::future::ready(self.keep(component)).boxed()
    }

    fn keep(&self, component: &Bytes) -> Result<Digest, ShelfError> {
        Ok(Digest(Sha256::digest(component).into()))
    }

    fn remove(&self, _: &Digest) {}

    fn schema(&self, _: &PluginName, _: &Digest) -> Result<Schema, ShelfError> {
        Ok(Schema::default())
    }

    fn plugin(&self, binding: &Binding) -> Result<Plugin, ShelfError> {
        let mut loaded = ENGINE.loaded.lock().unwrap();
        let key = (binding.plugin.clone(), binding.digest);
        let plugin = loaded.entry(key).or_insert_with(|| {
            let artefact = ENGINE.host.compile(&daily_limit()).unwrap();
            ENGINE.host.load(binding.plugin.clone(), binding.digest, &artefact).unwrap()
        });
        Ok(plugin.clone())
    }
}
