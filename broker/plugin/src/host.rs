//! Where components become plugins: compile, check against the world, load.
//!
//! One [`Host`] per process. It knows components and no topics; what a plugin is bound to comes
//! with [`crate::Plugin::stage`].

use std::sync::Arc;

use wasmtime::Module;
use wasmtime::component::{Component, HasSelf, Linker};
use weir_wire::ids::{Digest, PluginName};

use crate::artefact::{Artefact, Code, FORM};
use crate::bindings::Filter;
use crate::check::{CompileError, check, invalid};
use crate::direct::{Found, core_module_of};
use crate::engine::Ticking;
use crate::exports::Exports;
use crate::fault::one_line;
use crate::guest::Guest;
use crate::plugin::Plugin;
use crate::schema::schema_of;
use crate::wasi;

/// What a host may be told.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Bytes of a component at most.
    pub component_bytes_max: u64,
    /// Whether what can be called directly is. No makes rules slower and changes nothing else: it is
    /// for comparing the two ways.
    pub direct: bool,
}

impl Default for HostOptions {
    /// 32 MiB: Python makes 18, StarlingMonkey 12.
    fn default() -> Self {
        Self { component_bytes_max: 32 << 20, direct: true }
    }
}

/// The engine could not start: the machine lacks threads, address space or a supported CPU.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {0}")]
pub struct HostError(String);

/// Why an artefact does not become a plugin.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is of another engine or CPU. Compile its component again.
    #[error("the compiled plugin does not load here, compile it again: {0}")]
    Artefact(String),
    /// It exports `migration` and cannot be asked for its schema. Fix the component.
    #[error("the plugin does not say the schema of its state: {0}")]
    Schema(String),
}

/// The engine, and what components are linked to. Cheap to clone.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    options: HostOptions,
    engine: Arc<Ticking>,
    linker: Linker<Guest>,
}

impl Host {
    /// Starts the engine and its ticking thread, which ends with the last clone, plugin and stage.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        let start = || -> wasmtime::Result<Inner> {
            let engine = Arc::new(Ticking::start()?);
            let mut linker = Linker::new(engine.engine());
            Filter::add_to_linker::<_, HasSelf<Guest>>(&mut linker, |guest| guest)?;
            wasi::add_to_linker(&mut linker)?;
            Ok(Inner { options, engine, linker })
        };
        start().map(|inner| Self { inner: Arc::new(inner) }).map_err(|e| HostError(one_line(&e)))
    }

    /// Compiles a component, which can take ten seconds and a gigabyte: off the hot path, and for
    /// uploads in a child process ([`crate::compile_file`]).
    pub fn compile(&self, wasm: &[u8]) -> Result<Artefact, CompileError> {
        check(wasm, self.inner.options.component_bytes_max)?;
        let code = match self.direct(wasm) {
            // Its types are the contract's: nothing of the component is left to be compiled.
            Some((module, true)) => Code::Module(module),
            direct => {
                let component = Component::from_binary(self.inner.engine.engine(), wasm)
                    .map_err(|error| invalid(format!("{error:#}")))?;
                self.link(&component)
                    .map_err(|error| CompileError::WrongTypes { reason: one_line(&error) })?;
                direct.map_or(Code::Component(component), |(module, _)| Code::Module(module))
            }
        };
        Artefact::of(&code).map_err(|error| invalid(one_line(&error)))
    }

    /// The core module that is called in the component's place, if there is one and all that it
    /// imports is there; and whether the component is of the contract's world, to the type.
    fn direct(&self, wasm: &[u8]) -> Option<(Module, bool)> {
        if !self.inner.options.direct {
            return None;
        }
        let engine = self.inner.engine.engine();
        let Found { module, is_of_contract } = core_module_of(wasm)?;
        let module = Module::from_binary(engine, module).ok()?;
        Exports::direct(engine, &module).is_ok().then_some((module, is_of_contract))
    }

    /// Makes a plugin of a compiled component: milliseconds, 50 for Python; and an instance's start
    /// more if it exports `migration`, since only an instance can tell its schema.
    pub fn load(
        &self,
        name: PluginName,
        digest: Digest,
        artefact: &Artefact,
    ) -> Result<Plugin, LoadError> {
        let engine = self.inner.engine.engine();
        let load = || match artefact.load(engine)? {
            Code::Component(component) => self.link(&component),
            Code::Module(module) => Exports::direct(engine, &module),
        };
        let exports = load().map_err(|error| LoadError::Artefact(one_line(&error)))?;
        let schema = schema_of(&exports, &name, &self.inner.engine).map_err(LoadError::Schema)?;
        Ok(Plugin::new(name, digest, exports, schema, self.inner.engine.clone()))
    }

    /// The name under which the artefact of a component is kept: another form, another engine, other
    /// settings or another CPU give another name.
    pub fn artefact_key(&self, digest: &Digest) -> String {
        format!("{digest}-{:016x}-{FORM}", self.inner.engine.compatibility())
    }

    /// Bytes of a component at most.
    pub fn component_bytes_max(&self) -> u64 {
        self.inner.options.component_bytes_max
    }

    fn link(&self, component: &Component) -> wasmtime::Result<Exports> {
        Exports::of(component, self.inner.linker.instantiate_pre(component)?)
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("options", &self.inner.options).finish_non_exhaustive()
    }
}
