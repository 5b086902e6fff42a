//! The plugins' components: taken in, compiled once, loaded once, and made into stages.
//!
//! Compiling foreign bytes is the one thing a hostile component could use against the broker before
//! it even runs, so uploads are compiled by a child process with limits of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::process::Command;
use weir_partition::{Judge, Link};
use weir_plugin_host::{
    AbsentStage, ArtefactCache, BindError, BindingSettings, FaultCause, Host, HostOptions, Plugin,
    PluginFault,
};
use weir_wire::admin::Binding;
use weir_wire::ids::{Digest, PluginName};

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
    /// Its component, or what was compiled of it, is missing or does not load.
    #[error("plugin {plugin} is not there: {why}")]
    Missing {
        /// Which.
        plugin: PluginName,
        /// What happened.
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
    /// Fresh stages for a chain in one partition; none for what is paused. Blocks: milliseconds, or as long as compiling
    /// takes if the cache was deleted.
    fn links(&self, bindings: &[Binding]) -> Result<Vec<Link>, ShelfError>;

    /// The same for a chain that is at work already: a broker starts also where a plugin is missing
    /// or does not start any more, and that binding's failure policy answers for it.
    fn standing_links(&self, bindings: &[Binding]) -> Vec<Link> {
        let link_of = |binding: &Binding| match self.links(std::slice::from_ref(binding)) {
            Ok(links) => links,
            Err(error) => vec![absent(binding, &error)],
        };
        bindings.iter().flat_map(link_of).collect()
    }
}

/// A link that fails on every event, for a reason.
fn absent(binding: &Binding, error: &ShelfError) -> Link {
    tracing::error!(
        plugin = %binding.plugin, digest = %binding.digest, %error,
        "a plugin cannot work; its failure policy answers. Push it again, or bind another version"
    );
    let cause = match error {
        ShelfError::Missing { .. } => FaultCause::Missing,
        _ => FaultCause::Instantiate,
    };
    let fault = PluginFault { cause, detail: error.to_string() };
    let judge = judge_of(binding);
    Link::new(judge, binding.on_failure, Box::new(AbsentStage::new(fault)))
}

fn judge_of(binding: &Binding) -> Judge {
    let Binding { plugin, version, digest, .. } = binding;
    Judge { plugin: plugin.clone(), version: *version, digest: *digest }
}

/// All components there are, as files.
pub struct Shelf {
    host: Host,
    components: ComponentStore,
    cache: ArtefactCache,
    /// For the child that compiles: where it finds the upload.
    uploads: PathBuf,
    loaded: Mutex<HashMap<(PluginName, Digest), Plugin>>,
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
            compiling: tokio::sync::Mutex::default(),
        })
    }

    fn plugin(&self, binding: &Binding) -> Result<Plugin, ShelfError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let digest = &binding.digest;
        let key = (binding.plugin.clone(), *digest);
        if let Some(plugin) = loaded.get(&key) {
            return Ok(plugin.clone());
        }
        let missing = |error: &dyn std::fmt::Display| ShelfError::Missing {
            plugin: binding.plugin.clone(),
            why: error.to_string(),
        };
        let artefact = match self.cache.read(&self.host, digest).map_err(|e| missing(&e))? {
            Some(artefact) => artefact,
            None => {
                // It was a plugin when it was pushed; only the cache is gone.
                let component = self.components.get(digest).map_err(|e| missing(&e))?;
                let compiled = self.cache.get_or_compile(&self.host, digest, &component);
                compiled.map_err(|e| missing(&e))?
            }
        };
        let loaded_now = self.host.load(binding.plugin.clone(), *digest, &artefact);
        let plugin = loaded_now.map_err(|e| missing(&e))?;
        loaded.insert(key, plugin.clone());
        Ok(plugin)
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
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.retain(|(_, known), _| known != digest);
        drop(loaded);
        let _ = std::fs::remove_file(self.cache.path(&self.host, digest));
        if let Err(error) = self.components.remove(digest) {
            tracing::warn!(%error, "a component that is no longer needed stays on the disk");
        }
    }

    fn links(&self, bindings: &[Binding]) -> Result<Vec<Link>, ShelfError> {
        let at_work = bindings.iter().filter(|binding| !binding.paused);
        at_work.map(|binding| link(self.plugin(binding)?, binding)).collect()
    }
}

/// A fresh stage of a loaded plugin, as its binding wants it.
pub fn link(plugin: Plugin, binding: &Binding) -> Result<Link, ShelfError> {
    let settings = BindingSettings {
        config: binding.config.to_string(),
        emit: binding.emit.clone(),
        limits: binding.limits,
    };
    let name = binding.plugin.clone();
    let stage = plugin.stage(settings).map_err(|error| match error {
        BindError::Refused(why) => ShelfError::ConfigRefused { plugin: name.clone(), why },
        BindError::Instantiate(why) => ShelfError::DoesNotStart { plugin: name.clone(), why },
        BindError::Fault(fault) => {
            ShelfError::DoesNotStart { plugin: name.clone(), why: fault.to_string() }
        }
    })?;
    Ok(Link::new(judge_of(binding), binding.on_failure, Box::new(stage)))
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
