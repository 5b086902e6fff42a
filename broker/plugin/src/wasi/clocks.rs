//! Clocks that stand at partition time, and waits that hold no thread.
//!
//! A guest that sleeps finds the time gone at once: `poll` moves the monotonic clock to the first
//! due moment and answers. So a sleep is free, ends, and is the same each time.

use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::{self, Duration, Instant};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::{self, Datetime};
use wasmtime_wasi::p2::bindings::sync::io::poll;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::{Inert, World};

/// Partition time counts milliseconds.
const RESOLUTION_NS: u32 = 1_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// A moment to wait for. wasmtime-wasi asks for a future; ours is never awaited.
struct Moment;

#[wasmtime_wasi::async_trait]
impl Pollable for Moment {
    async fn ready(&mut self) {}
}

impl Inert {
    fn subscribe_at(&mut self, due_ns: u64) -> Result<Resource<DynPollable>> {
        let moment = self.table.push(Moment)?;
        let pollable = subscribe(&mut self.table, moment)?;
        self.due_ns.insert(pollable.rep(), due_ns);
        Ok(pollable)
    }

    fn due_ns(&self, pollable: &Resource<DynPollable>) -> u64 {
        self.due_ns.get(&pollable.rep()).copied().unwrap_or(0)
    }
}

impl wall_clock::Host for World<'_> {
    fn now(&mut self) -> Result<Datetime> {
        let wall_ns = self.inert.wall_ns;
        Ok(Datetime { seconds: wall_ns / SECOND_NS, nanoseconds: (wall_ns % SECOND_NS) as u32 })
    }
    fn resolution(&mut self) -> Result<Datetime> {
        Ok(Datetime { seconds: 0, nanoseconds: RESOLUTION_NS })
    }
}

impl monotonic_clock::Host for World<'_> {
    fn now(&mut self) -> Result<Instant> {
        Ok(self.inert.monotonic_ns)
    }
    fn resolution(&mut self) -> Result<Duration> {
        Ok(u64::from(RESOLUTION_NS))
    }
    fn subscribe_instant(&mut self, when: Instant) -> Result<Resource<DynPollable>> {
        self.inert.subscribe_at(when)
    }
    fn subscribe_duration(&mut self, duration: Duration) -> Result<Resource<DynPollable>> {
        self.inert.subscribe_at(self.inert.monotonic_ns.saturating_add(duration))
    }
}

impl poll::Host for World<'_> {
    fn poll(&mut self, pollables: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        let wasi = &mut *self.inert;
        let Some(first_ns) = pollables.iter().map(|pollable| wasi.due_ns(pollable)).min() else {
            return Err(wasmtime::Error::msg("polled an empty list"));
        };
        wasi.monotonic_ns = wasi.monotonic_ns.max(first_ns);
        let due = |(_, pollable): &(u32, &Resource<DynPollable>)| {
            wasi.due_ns(pollable) <= wasi.monotonic_ns
        };
        Ok((0..).zip(&pollables).filter(due).map(|(index, _)| index).collect())
    }
}

impl poll::HostPollable for World<'_> {
    fn ready(&mut self, pollable: Resource<DynPollable>) -> Result<bool> {
        Ok(self.inert.due_ns(&pollable) <= self.inert.monotonic_ns)
    }
    fn block(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.inert.monotonic_ns = self.inert.monotonic_ns.max(self.inert.due_ns(&pollable));
        Ok(())
    }
    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        self.inert.due_ns.remove(&pollable.rep());
        poll::HostPollable::drop(&mut self.inert.table, pollable)
    }
}
