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

use wasmtime::component::{HasSelf, Linker, ResourceTable, ResourceType};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtx, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{cli as wit_cli, clocks as wit_clocks, random as wit_random};
use wasmtime_wasi::p2::bindings::{filesystem, sockets, sync};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsCtx, WasiSocketsCtxView};
use weir_wire::ids::{PartitionId, Timestamp};

use crate::guest::Guest;

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

/// Links the whole world, for guests that import any of it.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let l = linker;
    let own: fn(&mut Guest) -> &mut Guest = |guest| guest;
    wit_clocks::wall_clock::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_clocks::monotonic_clock::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_random::random::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_random::insecure::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_random::insecure_seed::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::environment::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::exit::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::stdin::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::stdout::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::stderr::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::terminal_input::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::terminal_output::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::terminal_stdin::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::terminal_stdout::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    wit_cli::terminal_stderr::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    sync::io::poll::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    sync::io::streams::add_to_linker::<_, HasSelf<Guest>>(l, own)?;
    add_io_error(l)?;
    add_denied(l)
}

/// `wasi:io/error`, which wasmtime-wasi keeps in a crate of its own.
fn add_io_error(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime::component::Resource;
    use wasmtime_wasi::p2::IoError;

    let mut io_error = linker.instance(IO_ERROR)?;
    io_error.resource("error", ResourceType::host::<IoError>(), |mut store, handle| {
        store.data_mut().wasi.table.delete(Resource::<IoError>::new_own(handle))?;
        Ok(())
    })?;
    io_error.func_wrap(
        "[method]error.to-debug-string",
        |store: wasmtime::StoreContextMut<'_, Guest>, (error,): (Resource<IoError>,)| {
            Ok((store.data().wasi.table.get(&error)?.to_string(),))
        },
    )
}

/// Filesystem and sockets: wasmtime-wasi's own, which refuse everything when nothing is granted.
fn add_denied(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let l = linker;
    let folders: fn(&mut Guest) -> WasiFilesystemCtxView<'_> = |guest| WasiFilesystemCtxView {
        ctx: &mut guest.wasi.filesystem,
        table: &mut guest.wasi.table,
    };
    let network: fn(&mut Guest) -> WasiSocketsCtxView<'_> =
        |guest| WasiSocketsCtxView { ctx: &mut guest.wasi.sockets, table: &mut guest.wasi.table };
    filesystem::preopens::add_to_linker::<_, WasiFilesystem>(l, folders)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(l, folders)?;
    sockets::tcp_create_socket::add_to_linker::<_, WasiSockets>(l, network)?;
    sync::sockets::udp_create_socket::add_to_linker::<_, WasiSockets>(l, network)?;
    sockets::instance_network::add_to_linker::<_, WasiSockets>(l, network)?;
    sockets::network::add_to_linker::<_, WasiSockets>(l, &Default::default(), network)?;
    sockets::ip_name_lookup::add_to_linker::<_, WasiSockets>(l, network)?;
    sync::sockets::tcp::add_to_linker::<_, WasiSockets>(l, network)?;
    sync::sockets::udp::add_to_linker::<_, WasiSockets>(l, network)?;
    Ok(())
}
