//! The one wasmtime engine of a process: its settings, and the clock that ends endless guests.
//!
//! Promises: the same settings in the broker and in the child that compiles for it; while anything
//! holds an [`Ticking`] engine, its epoch advances; with the last holder the thread ends.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use wasmtime::{Config, Engine, InstanceAllocationStrategy, Strategy, WasmFeatures};

/// The grain of deadlines. Each tick costs one atomic add; a deadline is late by one at most.
const EPOCH_TICK_MS: u64 = 5;
/// Stack of a guest. wasmtime's own default, written down because it decides verdicts.
const WASM_STACK_BYTES: usize = 512 << 10;

/// An engine and its ticking thread.
pub(crate) struct Ticking {
    engine: Engine,
    /// Dropped to stop the thread.
    stop: Option<mpsc::SyncSender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Ticking {
    /// Starts the engine. Fails where the machine has no thread or address space left.
    pub(crate) fn start() -> wasmtime::Result<Self> {
        let engine = Engine::new(&config())?;
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let ticked = engine.clone();
        let tick = Duration::from_millis(EPOCH_TICK_MS);
        let thread = thread::Builder::new().name("weir-epoch".into()).spawn(move || {
            while stopped.recv_timeout(tick) == Err(mpsc::RecvTimeoutError::Timeout) {
                ticked.increment_epoch();
            }
        })?;
        Ok(Self { engine, stop: Some(stop), thread: Some(thread) })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What an artefact must match to be loaded here: wasmtime's version, the settings, the CPU.
    pub(crate) fn compatibility(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It holds nothing that could be lost; a panic in it was reported by its hook.
            let _ = thread.join();
        }
    }
}

/// Ticks after which a deadline of `ms` has surely passed: one more, for the tick in progress.
pub(crate) fn ticks(ms: u64) -> u64 {
    ms.div_ceil(EPOCH_TICK_MS) + 1
}

fn config() -> Config {
    let mut config = Config::new();
    config.strategy(Strategy::Cranelift);
    // On demand and not pooled: an instance lives as long as its binding on a partition, so what a
    // pool saves (about 20 us per instantiation) matters only after faults, which the breaker
    // bounds. A pool would fix the shape of every guest beforehand (QuickJS has three memories and
    // three tables), reserve for the worst case at start, also in the child that compiles under a
    // limit of 1 GiB, and add "the pool is exhausted" to the ways a partition can fail.
    config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
    config.consume_fuel(true);
    config.epoch_interruption(true);
    config.max_wasm_stack(WASM_STACK_BYTES);
    // Two machines must agree on a verdict to the bit.
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // Nobody reads a guest's backtrace here, and the maps for it are a third of an artefact.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    config.wasm_component_model(true);
    for unused in [
        WasmFeatures::THREADS,
        WasmFeatures::SHARED_EVERYTHING_THREADS,
        WasmFeatures::MEMORY64,
        WasmFeatures::GC,
        WasmFeatures::FUNCTION_REFERENCES,
        WasmFeatures::EXCEPTIONS,
        WasmFeatures::LEGACY_EXCEPTIONS,
        WasmFeatures::STACK_SWITCHING,
        WasmFeatures::CM_ASYNC,
        WasmFeatures::CM_ASYNC_STACKFUL,
        WasmFeatures::CM_THREADING,
        WasmFeatures::CM_ERROR_CONTEXT,
    ] {
        config.wasm_features(unused, false);
    }
    config
}
