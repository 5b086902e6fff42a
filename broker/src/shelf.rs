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
use weir_plugin_host::{ArtefactCache, BindError, BindingSettings, Host, HostOptions, Plugin};
use weir_wire::admin::Binding;
use weir_wire::ids::{Digest, PluginName};

use crate::components::ComponentStore;
use crate::home::Home;

/// How long a child may take to compile: the backstop behind its CPU time, for a machine that has
/// none left for it. Python's runtime takes 13 s of a slow core, and minutes of a tenth of one.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(600);
/// Address space a compiling child may have. The engine reserves some of it without using it.
pub const COMPILE_MEMORY_BYTES: u64 = 4 << 30;
/// CPU seconds a compiling child may burn.
pub const COMPILE_CPU_SECONDS: u64 = 60;

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
    /// The machine has no time for it.
    #[error("{0}")]
    Busy(String),
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
    /// Fresh stages for a chain in one partition. Blocks: milliseconds, or as long as compiling
    /// takes if the cache was deleted.
    fn links(&self, bindings: &[Binding]) -> Result<Vec<Link>, ShelfError>;
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
        let artefact = match self.cache.read(&self.host, digest).map_err(broken)? {
            Some(artefact) => artefact,
            None => {
                // It was a plugin when it was pushed; only the cache is gone.
                let component = self.components.get(digest).map_err(broken)?;
                self.cache.get_or_compile(&self.host, digest, &component).map_err(broken)?
            }
        };
        let plugin = self.host.load(binding.plugin.clone(), *digest, &artefact).map_err(broken)?;
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
        bindings.iter().map(|binding| link(self.plugin(binding)?, binding)).collect()
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
    let judge = Judge { plugin: name, version: binding.version, digest: binding.digest };
    Ok(Link::new(judge, binding.on_failure, Box::new(stage)))
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
            None => format!(
                "compiling it took more than {COMPILE_CPU_SECONDS} s of CPU time or more memory than a component may; make it smaller"
            ),
        })),
        Ok(Err(error)) => Err(broken(error)),
        Err(_) => Err(ShelfError::Busy(format!(
            "this machine is so busy that it could not be compiled within {} s; push it again later",
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
