//! The short way into a guest: its core module, called by us and not through wasmtime's component
//! runtime.
//!
//! An event under a rule that counts crosses into the guest and out of it eight times. The component
//! runtime spends some 850 instructions on each crossing, a call between core modules some 200: it
//! is made for any interface, and ours has eleven functions.
//!
//! ```text
//! component --recognise--> core module --link--> Linked --instantiate--> Instance
//!     |                                             imports: what imports.rs gives it
//!     '-- not of that shape: the component runtime, as before
//! ```
//! Promises: only a component that is nothing but one core module and the canonical wiring of its
//! names is called in this way, and it then sees and says what it would through the component
//! runtime, traps included (`tests/direct.rs` holds the two against each other). What is read and
//! written in its memory is bounded by it; nothing in here is unsafe. Once a call fails the instance
//! is never called again: the stage sees to that, on both ways.

mod recognise;
mod imports;
mod abi;

use std::sync::Arc;

use wasmtime::{
    AsContextMut, Engine, InstancePre, Linker, Memory, Module, Result, Store, TypedFunc,
    WasmParams, WasmResults, bail,
};
use weir_wire::record_batch::Record;

use crate::OldEntry;
use crate::bindings::MIGRATION;
use crate::bindings::weir::plugin::types::Verdict;
use crate::guest::Guest;
use crate::reach::Reach;

use self::abi::{HEADER_ALIGN, HEADER_BYTES, Lift};
pub(crate) use self::recognise::{Found, core_module_of};

/// What the core module calls its memory, and the function that gives out pieces of it: the names of
/// the canonical ABI's first mangling.
const MEMORY: &str = "memory";
const REALLOC: &str = "cabi_realloc";
/// What a C library has to have run before anything else.
const INITIALIZE: &str = "_initialize";
/// In front of a function's name: what frees its answer when we have read it.
const POST: &str = "cabi_post_";

/// A place and how many bytes, or elements, lie there.
type Piece = (u32, u32);

/// A core module linked to the host.
pub(crate) struct Linked {
    linked: InstancePre<Guest>,
    /// In front of the names of `schema` and `migrate`, if it has them.
    migration: Option<String>,
}

impl Linked {
    /// Links a module that [`core_module_of`] found.
    pub(crate) fn of(engine: &Engine, module: &Module) -> Result<Self> {
        let mut linker = Linker::new(engine);
        // A module may import one function twice.
        linker.allow_shadowing(true);
        for import in module.imports() {
            imports::define(&mut linker, &import)?;
        }
        let migration = module.exports().find_map(|export| {
            let interface = export.name().strip_suffix("#schema")?;
            interface.starts_with(MIGRATION).then(|| format!("{interface}#"))
        });
        Ok(Self { linked: linker.instantiate_pre(module)?, migration })
    }

    pub(crate) fn migrates(&self) -> bool {
        self.migration.is_some()
    }

    pub(crate) fn instantiate(&self, store: &mut Store<Guest>) -> Result<Instance> {
        let instance = self.linked.instantiate(&mut *store)?;
        let Some(memory) = instance.get_memory(&mut *store, MEMORY) else { bail!("no memory") };
        let realloc = Arc::new(instance.get_typed_func(&mut *store, REALLOC)?);
        let reach = Reach { memory, realloc };
        store.data_mut().reach = Some(reach.clone());
        if let Ok(initialize) = instance.get_typed_func::<(), ()>(&mut *store, INITIALIZE) {
            initialize.call(&mut *store, ())?;
        }
        let migration = self.migration.as_ref().map(|interface| {
            Ok::<_, wasmtime::Error>(Migration {
                schema: Lifted::of(&instance, store, &format!("{interface}schema"))?,
                migrate: Lifted::of(&instance, store, &format!("{interface}migrate"))?,
            })
        });
        Ok(Instance {
            configure: Lifted::of(&instance, store, "configure")?,
            process: Lifted::of(&instance, store, "process")?,
            migration: migration.transpose()?,
            reach,
        })
    }
}

/// Key (there?, piece), value, headers, timestamp.
type EventWords = (u32, u32, u32, u32, u32, u32, u32, u64);
/// Old schema, key and value (pieces), time to live (there?, ms).
type EntryWords = (u32, u32, u32, u32, u32, u32, u32, u64);

/// `schema` and `migrate`.
struct Migration {
    schema: Lifted<()>,
    migrate: Lifted<EntryWords>,
}

/// An instance at work. Its state is in the store that it was made in.
pub(crate) struct Instance {
    reach: Reach,
    configure: Lifted<Piece>,
    process: Lifted<EventWords>,
    migration: Option<Migration>,
}

impl Instance {
    pub(crate) fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> Result<Result<(), String>> {
        let config = store_bytes(&mut *store, &self.reach, config.as_bytes())?;
        self.configure.call(store, self.reach.memory, config, |lift, at| lift.result(at))
    }

    pub(crate) fn process(&self, store: &mut Store<Guest>, event: &Record<'_>) -> Result<Verdict> {
        let Reach { memory, .. } = self.reach;
        let (is_some, key) = match event.key {
            None => (0, (0, 0)),
            Some(key) => (1, store_bytes(&mut *store, &self.reach, key)?),
        };
        let value = store_bytes(&mut *store, &self.reach, event.value.unwrap_or_default())?;
        let headers = store_headers(store, &self.reach, event)?;
        let event =
            (is_some, key.0, key.1, value.0, value.1, headers.0, headers.1, event.timestamp.0);
        self.process.call(store, memory, event, |lift, at| lift.verdict(at))
    }

    pub(crate) fn schema(&self, store: &mut Store<Guest>) -> Result<String> {
        let migration = self.migration.as_ref().expect("it exports migration");
        migration
            .schema
            .call(store, self.reach.memory, (), |lift, at| lift.text_at(at).map(str::to_owned))
    }

    /// `None`: it takes over nothing.
    pub(crate) fn migrate(
        &self,
        store: &mut Store<Guest>,
        entry: &OldEntry<'_>,
    ) -> Option<Result<Result<(), String>>> {
        let Migration { migrate, .. } = self.migration.as_ref()?;
        let mut call = || {
            let schema = store_bytes(&mut *store, &self.reach, entry.schema.as_str().as_bytes())?;
            let key = store_bytes(&mut *store, &self.reach, entry.key)?;
            let value = store_bytes(&mut *store, &self.reach, entry.value)?;
            let (is_some, ttl_ms) = entry.ttl_ms.map_or((0, 0), |ttl_ms| (1, ttl_ms));
            let entry = (schema.0, schema.1, key.0, key.1, value.0, value.1, is_some, ttl_ms);
            migrate.call(store, self.reach.memory, entry, |lift, at| lift.result(at))
        };
        Some(call())
    }
}

/// An exported function whose answer lies in the guest's memory, and what frees it there.
struct Lifted<Params> {
    function: TypedFunc<Params, u32>,
    post_return: Option<TypedFunc<u32, ()>>,
}

impl<Params: WasmParams> Lifted<Params> {
    fn of(instance: &wasmtime::Instance, store: &mut Store<Guest>, name: &str) -> Result<Self> {
        let function = instance.get_typed_func(&mut *store, name)?;
        let post = format!("{POST}{name}");
        let post_return = match instance.get_func(&mut *store, &post) {
            None => None,
            Some(post_return) => Some(post_return.typed(&*store)?),
        };
        Ok(Self { function, post_return })
    }

    /// Calls it, and has `read` the answer, which lies at the place it is given.
    fn call<Answer>(
        &self,
        store: &mut Store<Guest>,
        memory: Memory,
        params: Params,
        read: impl FnOnce(&mut Lift<'_>, u32) -> Result<Answer>,
    ) -> Result<Answer> {
        let at = self.function.call(&mut *store, params)?;
        let answer = read(&mut Lift::new(memory.data(&*store)), at)?;
        if let Some(post_return) = &self.post_return {
            without_leaving(&mut *store, post_return, at)?;
        }
        Ok(answer)
    }
}

/// Calls what may not call us: the allocator, and what frees an answer.
fn without_leaving<Params: WasmParams, Results: WasmResults>(
    mut store: impl AsContextMut<Data = Guest>,
    function: &TypedFunc<Params, Results>,
    params: Params,
) -> Result<Results> {
    store.as_context_mut().data_mut().may_leave = false;
    let results = function.call(&mut store, params)?;
    store.as_context_mut().data_mut().may_leave = true;
    Ok(results)
}

/// A new piece of the guest's memory: where it is, and its bytes.
fn allocate<'a, S: AsContextMut<Data = Guest>>(
    store: &'a mut S,
    reach: &Reach,
    align: u32,
    bytes: usize,
) -> Result<(u32, &'a mut [u8])> {
    let len = u32::try_from(bytes)?;
    let at = without_leaving(&mut *store, &reach.realloc, (0, 0, align, len))?;
    if !at.is_multiple_of(align) {
        bail!("realloc return: result not aligned");
    }
    let memory = reach.memory.data_mut(store).get_mut(at as usize..);
    match memory.and_then(|behind| behind.get_mut(..bytes)) {
        Some(piece) => Ok((at, piece)),
        None => bail!("realloc return: beyond end of memory"),
    }
}

/// Puts `bytes` into the guest's memory.
fn store_bytes(
    mut store: impl AsContextMut<Data = Guest>,
    reach: &Reach,
    bytes: &[u8],
) -> Result<Piece> {
    let (at, piece) = allocate(&mut store, reach, 1, bytes.len())?;
    piece.copy_from_slice(bytes);
    Ok((at, bytes.len() as u32))
}

fn store_headers(store: &mut Store<Guest>, reach: &Reach, event: &Record<'_>) -> Result<Piece> {
    let count = event.headers.iter().count();
    let (list, _) = allocate(store, reach, HEADER_ALIGN, count * HEADER_BYTES)?;
    for (index, (name, value)) in event.headers.iter().enumerate() {
        let name = store_bytes(&mut *store, reach, name.as_bytes())?;
        let value = store_bytes(&mut *store, reach, value.unwrap_or_default())?;
        let header = abi::header(name, value);
        let at = list as usize + index * HEADER_BYTES;
        reach.memory.data_mut(&mut *store)[at..][..HEADER_BYTES].copy_from_slice(&header);
    }
    Ok((list, count as u32))
}
