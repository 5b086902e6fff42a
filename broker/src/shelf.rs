//! The plugins' components: taken in, compiled once, loaded once, and made into stages.
//!
//! Compiling foreign bytes is the one thing a hostile component could use against the broker before
//! it even runs, so uploads are compiled by a child process with limits of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::process::Command;
use weir_partition::{Judge, Link};
use weir_plugin_host::{
    ArtefactCache, BindError, BindingSettings, Host, HostOptions, Listener, LoadError,
    MissingStage, Plugin, WasmStage,
};
use weir_wire::admin::Binding;
use weir_wire::ids::{Digest, PluginName};
use weir_wire::keyspace::Schema;

use crate::components::ComponentStore;
use crate::home::Home;

/// CPU seconds a compiling child may burn: Python's runtime takes 13 on a slow core.
pub const COMPILE_CPU_SECONDS: u64 = 60;
/// How long a child may take for them by the clock: the backstop, since a busy machine shall refuse
/// no plugin that an idle one takes.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(4 * COMPILE_CPU_SECONDS);
/// Address space a compiling child may have. Python's runtime takes 461 MiB of it, 344 MiB of them
/// in use; an engine without instances reserves nothing.
pub const COMPILE_MEMORY_BYTES: u64 = 1 << 30;

/// Why a plugin cannot be taken, or does not work.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The bytes are no plugin.
    #[error("{0}")]
    NotAPlugin(String),
    /// The plugin says no to its binding's config.
    #[error("plugin {plugin} refuses its config: {why}")]
    ConfigRefused {
        /// Which.
        plugin: PluginName,
        /// Its own words.
        why: String,
    },
    /// The plugin cannot be brought to life.
    #[error("plugin {plugin} does not start: {why}")]
    DoesNotStart {
        /// Which.
        plugin: PluginName,
        /// What happened.
        why: String,
    },
    /// The disk, or a defect.
    #[error("{0}")]
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> ShelfError {
    ShelfError::Broken(error.to_string())
}

/// The plugins there are, as the rest of the broker sees them.
pub trait Plugins: Send + Sync {
    /// Sees whether a component is a plugin, and compiles it.
    fn put<'a>(&'a self, component: &'a Bytes) -> BoxFuture<'a, Result<Digest, ShelfError>>;
    /// Keeps a component that [`put`](Self::put) has found to be a plugin.
    fn keep(&self, component: &Bytes) -> Result<Digest, ShelfError>;
    /// Forgets a component that no version is any more.
    fn remove(&self, digest: &Digest);
    /// The form in which a version keeps its state. Blocks like [`plugin`](Self::plugin).
    fn schema(&self, plugin: &PluginName, digest: &Digest) -> Result<Schema, ShelfError>;
    /// The component of a binding, loaded. Blocks: milliseconds, or as long as compiling takes if the
    /// cache was deleted.
    fn plugin(&self, binding: &Binding) -> Result<Plugin, ShelfError>;
}

/// All components there are, as files.
pub struct Shelf {
    host: Host,
    components: ComponentStore,
    cache: ArtefactCache,
    /// For the child that compiles: where it finds the upload.
    uploads: PathBuf,
    loaded: Mutex<HashMap<(PluginName, Digest), Plugin>>,
    /// One is loaded at a time; who wants one that is loaded does not wait for it.
    loading: Mutex<()>,
    /// One compilation at a time: a second one waits.
    compiling: tokio::sync::Mutex<()>,
}

impl Shelf {
    /// Starts the engine and opens the folders.
    pub fn open(home: &Home) -> Result<Self, ShelfError> {
        Ok(Self {
            host: Host::new(HostOptions::default()).map_err(broken)?,
            components: ComponentStore::open(home.components_dir()).map_err(broken)?,
            cache: ArtefactCache::open(home.cache_dir()).map_err(broken)?,
            uploads: home.components_dir(),
            loaded: Mutex::default(),
            loading: Mutex::default(),
            compiling: tokio::sync::Mutex::default(),
        })
    }

    fn load(&self, name: &PluginName, digest: &Digest) -> Result<Plugin, ShelfError> {
        let artefact = match self.cache.read(&self.host, digest).map_err(broken)? {
            Some(artefact) => artefact,
            None => {
                // It was a plugin when it was pushed; only the cache is gone.
                let component = self.components.get(digest).map_err(broken)?;
                self.cache.get_or_compile(&self.host, digest, &component).map_err(broken)?
            }
        };
        self.host.load(name.clone(), *digest, &artefact).map_err(|error| match error {
            LoadError::Schema(_) => ShelfError::NotAPlugin(error.to_string()),
            LoadError::Artefact(_) => broken(error),
        })
    }

    async fn compiled(&self, component: &Bytes) -> Result<Digest, ShelfError> {
        let digest = ComponentStore::digest(component);
        let _one = self.compiling.lock().await;
        let known = self.cache.read(&self.host, &digest).map_err(broken)?.is_some();
        if !known {
            let upload = self.uploads.join(format!("{digest}.upload"));
            tokio::fs::write(&upload, component).await.map_err(broken)?;
            let compiled = compile_in_child(&upload, &self.cache.path(&self.host, &digest)).await;
            let _ = tokio::fs::remove_file(&upload).await;
            compiled?;
        }
        Ok(digest)
    }
}

impl Plugins for Shelf {
    fn put<'a>(&'a self, component: &'a Bytes) -> BoxFuture<'a, Result<Digest, ShelfError>> {
        self.compiled(component).boxed()
    }

    fn keep(&self, component: &Bytes) -> Result<Digest, ShelfError> {
        self.components.put(component).map_err(broken)
    }

    fn remove(&self, digest: &Digest) {
        let mut loaded = locked(&self.loaded);
        loaded.retain(|(_, known), _| known != digest);
        drop(loaded);
        let _ = std::fs::remove_file(self.cache.path(&self.host, digest));
        if let Err(error) = self.components.remove(digest) {
            tracing::warn!(%error, "a component that is no longer needed stays on the disk");
        }
    }

    fn schema(&self, plugin: &PluginName, digest: &Digest) -> Result<Schema, ShelfError> {
        // Not kept: what is only pushed takes no memory.
        Ok(self.load(plugin, digest)?.schema().clone())
    }

    fn plugin(&self, binding: &Binding) -> Result<Plugin, ShelfError> {
        let key = (binding.plugin.clone(), binding.digest);
        let known = || locked(&self.loaded).get(&key).cloned();
        if let Some(plugin) = known() {
            return Ok(plugin);
        }
        let _loading = locked(&self.loading);
        if let Some(plugin) = known() {
            return Ok(plugin);
        }
        let plugin = self.load(&binding.plugin, &binding.digest)?;
        locked(&self.loaded).insert(key, plugin.clone());
        Ok(plugin)
    }
}

// A map and a unit are whole whatever a panicking holder did.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fresh stage of a loaded plugin as its binding wants it, at work: what a binding is tried with.
pub fn link(
    plugin: &Plugin,
    binding: &Binding,
    listener: Arc<dyn Listener>,
) -> Result<Link, ShelfError> {
    let mut stage = stage(plugin, binding, &listener);
    stage.start().map_err(|error| does_not_start(binding, error))?;
    Ok(linked(binding, Box::new(stage), listener))
}

/// The same for a binding that was tried before. If its plugin does not start now, or its component
/// is not to be had, the link fails on its events, as their failure policy wants it: the partition
/// serves. One that does not start is tried again with the events.
pub fn link_anyway(plugins: &dyn Plugins, binding: &Binding, listener: Arc<dyn Listener>) -> Link {
    let plugin = match plugins.plugin(binding) {
        Ok(plugin) => plugin,
        Err(error) => {
            tell_unfit(binding, &*listener, &error);
            return linked(binding, Box::new(MissingStage::new(error.to_string())), listener);
        }
    };
    let mut stage = stage(&plugin, binding, &listener);
    if let Err(error) = stage.start() {
        tell_unfit(binding, &*listener, &does_not_start(binding, error));
    }
    linked(binding, Box::new(stage), listener)
}

fn stage(plugin: &Plugin, binding: &Binding, listener: &Arc<dyn Listener>) -> WasmStage {
    let settings = BindingSettings {
        config: binding.config.to_string(),
        emit: binding.emit.clone(),
        limits: binding.limits,
    };
    plugin.stage_at_rest(settings, Some(Arc::clone(listener)))
}

fn linked(
    binding: &Binding,
    stage: Box<dyn weir_plugin_host::Stage>,
    listener: Arc<dyn Listener>,
) -> Link {
    let (plugin, version, digest) = (binding.plugin.clone(), binding.version, binding.digest);
    let judge = Judge { plugin, version, digest };
    let link = Link::new(judge, binding.on_failure, stage).heard_by(listener);
    link.with_dead_letter(binding.dead_letter.clone()).in_keyspace(binding.keyspace.clone())
}

fn does_not_start(binding: &Binding, error: BindError) -> ShelfError {
    let plugin = binding.plugin.clone();
    match error {
        BindError::Refused(why) => ShelfError::ConfigRefused { plugin, why },
        BindError::Instantiate(why) => ShelfError::DoesNotStart { plugin, why },
        BindError::Fault(fault) => ShelfError::DoesNotStart { plugin, why: fault.to_string() },
    }
}

fn tell_unfit(binding: &Binding, listener: &dyn Listener, error: &ShelfError) {
    tracing::error!(
        plugin = %binding.plugin, version = binding.version, %error,
        "plugin cannot judge; its failure policy answers. Pause it, or bind another version"
    );
    let line = format!("cannot judge: {error}; its failure policy answers");
    listener.host_says(weir_plugin_host::LineLevel::Error, &line);
}

/// Has `weir compile` do it. What the child says on stderr is the reason for a refusal.
async fn compile_in_child(component: &Path, artefact: &Path) -> Result<(), ShelfError> {
    let weir = std::env::current_exe().map_err(broken)?;
    let child = Command::new(weir)
        .arg("compile")
        .arg(component)
        .arg(artefact)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    match tokio::time::timeout(COMPILE_TIMEOUT, child.wait_with_output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => Err(ShelfError::NotAPlugin(match output.status.code() {
            Some(_) => one_sentence(&output.stderr),
            None => {
                "compiling it took more memory or time than a component may; make it smaller".into()
            }
        })),
        Ok(Err(error)) => Err(broken(error)),
        Err(_) => Err(ShelfError::NotAPlugin(format!(
            "compiling it took longer than {} s; make it smaller",
            COMPILE_TIMEOUT.as_secs()
        ))),
    }
}

fn one_sentence(stderr: &[u8]) -> String {
    /// Bytes of a child's complaint that reach the operator.
    const COMPLAINT_BYTES_MAX: usize = 600;
    let text = String::from_utf8_lossy(&stderr[..stderr.len().min(COMPLAINT_BYTES_MAX)]);
    let first = text.lines().next().unwrap_or("it does not compile").trim();
    first.strip_prefix("weir: ").unwrap_or(first).to_owned()
}
