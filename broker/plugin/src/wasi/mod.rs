//! `wasi:cli/imports` as languages' runtimes insist on it, and inert.
//!
//! ```text
//! clocks       partition time; a wait is over at once and moves the monotonic clock
//! random       a stream seeded from partition and offset
//! stdout       the plugin's log            stdin         at its end
//! environment  empty                       filesystem    nothing preopened
//! exit         a trap                      sockets       denied
//! ```
//! Promises: the same event, partition and time give the same answers; no call here blocks, starts
//! a thread or reaches the machine. Ours, and not wasmtime-wasi's own, wherever that would block
//! or read a real clock; its types and its refusals where there is nothing to decide.

mod cli;
mod clocks;
mod random;
mod streams;

use std::collections::HashMap;

use wasmtime::component::{HasData, Linker, ResourceTable, ResourceType};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{cli as wit_cli, clocks as wit_clocks, random as wit_random};
use wasmtime_wasi::p2::bindings::{filesystem, sockets, sync};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtx, WasiSocketsCtxView};
use weir_wire::ids::{PartitionId, Timestamp};

use crate::lines::Lines;

/// Handles of one guest at most: streams, pollables and the like.
pub(crate) const HANDLES_MAX: usize = 1_000;
/// The version of the interfaces linked; any 0.2.x of a component resolves to it.
const IO_ERROR: &str = "wasi:io/error@0.2.12";

/// What the inert world remembers for one guest.
pub(crate) struct Inert {
    table: ResourceTable,
    random: random::Stream,
    /// Partition time in ns since 1970-01-01T00:00:00Z.
    wall_ns: u64,
    /// Starts as partition time with each event; waiting moves it.
    /// Invariant: `wall_ns <= monotonic_ns`.
    monotonic_ns: u64,
    /// When a pollable of the clock is due, by its handle; the others are always ready.
    due_ns: HashMap<u32, u64>,
    // Both empty: no folder preopened, no network use allowed.
    filesystem: WasiFilesystemCtx,
    sockets: WasiSocketsCtx,
}

impl Default for Inert {
    fn default() -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        Self {
            table,
            random: random::Stream::default(),
            wall_ns: 0,
            monotonic_ns: 0,
            due_ns: HashMap::new(),
            filesystem: WasiFilesystemCtx::default(),
            sockets: WasiSocketsCtx::default(),
        }
    }
}

impl Inert {
    /// A new event: its time, and its own randomness.
    pub(crate) fn begin_event(&mut self, now: Timestamp, partition: PartitionId, offset_hint: u64) {
        self.wall_ns = now.0.saturating_mul(1_000_000);
        self.monotonic_ns = self.wall_ns;
        self.random = random::Stream::seeded(partition, offset_hint);
    }
}

/// The inert world of one guest, and the log its output goes to.
pub(crate) struct World<'a> {
    pub(crate) inert: &'a mut Inert,
    pub(crate) lines: &'a mut Lines,
}

/// What a store carries, as this module needs it.
pub(crate) trait HasWorld: Send + 'static {
    /// Its inert world.
    fn world(&mut self) -> World<'_>;
}

/// Tells the linker that our functions take a [`World`].
struct Ours;

impl HasData for Ours {
    type Data<'a> = World<'a>;
}

/// Links the whole of `wasi:cli/imports`; a guest that imports nothing of it pays nothing.
pub(crate) fn add_to_linker<T: HasWorld>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let l = linker;
    wit_clocks::wall_clock::add_to_linker::<_, Ours>(l, T::world)?;
    wit_clocks::monotonic_clock::add_to_linker::<_, Ours>(l, T::world)?;
    wit_random::random::add_to_linker::<_, Ours>(l, T::world)?;
    wit_random::insecure::add_to_linker::<_, Ours>(l, T::world)?;
    wit_random::insecure_seed::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::environment::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::exit::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::stdin::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::stdout::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::stderr::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::terminal_input::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::terminal_output::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::terminal_stdin::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::terminal_stdout::add_to_linker::<_, Ours>(l, T::world)?;
    wit_cli::terminal_stderr::add_to_linker::<_, Ours>(l, T::world)?;
    sync::io::poll::add_to_linker::<_, Ours>(l, T::world)?;
    sync::io::streams::add_to_linker::<_, Ours>(l, T::world)?;
    add_io_error(l)?;
    add_denied(l)
}

/// `wasi:io/error`, which wasmtime-wasi keeps in a crate of its own.
fn add_io_error<T: HasWorld>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    use wasmtime::component::Resource;
    use wasmtime_wasi::p2::IoError;

    let mut io_error = linker.instance(IO_ERROR)?;
    io_error.resource("error", ResourceType::host::<IoError>(), |mut store, handle| {
        store.data_mut().world().inert.table.delete(Resource::<IoError>::new_own(handle))?;
        Ok(())
    })?;
    io_error.func_wrap(
        "[method]error.to-debug-string",
        |mut store: wasmtime::StoreContextMut<'_, T>, (error,): (Resource<IoError>,)| {
            Ok((store.data_mut().world().inert.table.get(&error)?.to_string(),))
        },
    )
}

fn folders<T: HasWorld>(holder: &mut T) -> WasiFilesystemCtxView<'_> {
    let World { inert, .. } = holder.world();
    WasiFilesystemCtxView { ctx: &mut inert.filesystem, table: &mut inert.table }
}

fn network<T: HasWorld>(holder: &mut T) -> WasiSocketsCtxView<'_> {
    let World { inert, .. } = holder.world();
    WasiSocketsCtxView { ctx: &mut inert.sockets, table: &mut inert.table }
}

/// Filesystem and sockets: wasmtime-wasi's own, which refuse everything when nothing is granted.
fn add_denied<T: HasWorld>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let l = linker;
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, folders::<T>)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(l, folders::<T>)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, network::<T>)?;
    sync::sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, network::<T>)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, network::<T>)?;
    sockets::network::add_to_linker::<_, WasiSockets>(l, &Default::default(), network::<T>)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, network::<T>)?;
    sync::sockets::tcp::add_to_linker::<_, WasiSockets>(l, network::<T>)?;
    sync::sockets::udp::add_to_linker::<_, WasiSockets>(l, network::<T>)?;
    Ok(())
}
