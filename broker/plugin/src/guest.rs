//! The host's side of one guest: what `wit/`'s imports do.
//!
//! Promises: whatever the guest passes, no call here panics, blocks or reaches beyond the stage's
//! own effects; a refusal is a [`PluginFault`] with its cause. This side outlives the instance:
//! after a trap a fresh one finds the batch's kept effects where they were.

use bytes::Bytes;
use wasmtime::Result;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::{Event, Header};

use crate::bindings::weir::plugin::{context, log, outbox, state, types};
use crate::deadline::Deadline;
use crate::effects::Effects;
use crate::fault::fault;
use crate::lines::{LineLevel, Lines};
use crate::memory::Memory;
use crate::reach::Reach;
use crate::wasi::{HasWorld, Inert, World};
use crate::{BatchContext, EventContext, FaultCause};

/// Bytes one call may hand over, counted as wasmtime does, with its own size for each header:
/// room for the largest event and as much again for bookkeeping.
pub(crate) const HANDOVER_BYTES_MAX: usize = 2 * EVENT_BYTES_MAX as usize;

/// What a store carries.
pub(crate) struct Guest {
    pub(crate) effects: Effects,
    pub(crate) lines: Lines,
    pub(crate) memory: Memory,
    pub(crate) deadline: Deadline,
    pub(crate) wasi: Inert,
    /// The batch in work.
    pub(crate) batch: Option<BatchContext>,
    /// Where its memory is, if its core module is called directly.
    pub(crate) reach: Option<Reach>,
    /// Whether it may call us: not while it allocates or frees for us. Kept by the direct calls; the
    /// component runtime has a flag of its own.
    pub(crate) may_leave: bool,
    at: Call,
}

/// What the guest was called for, and so what it may ask of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    /// `configure`, a schema, a language's own start-up: there is nothing whose context, state or
    /// outbox this could be.
    Outside,
    /// `process`: an event.
    Judging,
    /// `migrate`: an entry of earlier state, which nobody published and from which nothing follows.
    Migrating,
}

impl Guest {
    /// For a new stage.
    pub(crate) fn new(effects: Effects, lines: Lines) -> Self {
        Self {
            effects,
            lines,
            memory: Memory::new(0),
            deadline: Deadline::default(),
            wasi: Inert::default(),
            batch: None,
            reach: None,
            may_leave: true,
            at: Call::Outside,
        }
    }

    /// A fresh instance takes over: nothing of the last one's memory or handles is left.
    pub(crate) fn begin_instance(&mut self, memory_bytes: u64) {
        self.memory = Memory::new(memory_bytes);
        self.wasi = Inert::default();
        self.reach = None;
        self.may_leave = true;
        self.lines.begin_event();
        self.at = Call::Outside;
    }

    /// An event is judged from here on.
    pub(crate) fn begin_event(&mut self, at: EventContext) {
        self.memory.begin_call();
        self.lines.begin_event();
        self.effects.begin_event(at.may_emit);
        if let Some(batch) = &self.batch {
            self.wasi.begin_event(batch.now, batch.partition, at.offset_hint);
        }
        self.at = Call::Judging;
    }

    /// An entry of earlier state is taken over from here on.
    pub(crate) fn begin_migration(&mut self) {
        self.memory.begin_call();
        self.lines.begin_event();
        self.effects.begin_event(false);
        if let Some(batch) = &self.batch {
            self.wasi.begin_event(batch.now, batch.partition, 0);
        }
        self.at = Call::Migrating;
    }

    /// The guest has answered, or failed.
    pub(crate) fn end_call(&mut self) {
        self.lines.end_event();
        self.at = Call::Outside;
    }

    fn batch(&self) -> Result<&BatchContext> {
        match &self.batch {
            Some(batch) if self.at != Call::Outside => Ok(batch),
            _ => Err(outside("context")),
        }
    }

    pub(crate) fn state(&mut self) -> Result<&mut Effects> {
        if self.at == Call::Outside { Err(outside("state")) } else { Ok(&mut self.effects) }
    }
}

fn outside(import: &str) -> wasmtime::Error {
    let detail = format!("called {import} outside of process: only there is an event");
    fault(FaultCause::Trap, detail).into()
}

impl context::Host for Guest {
    fn now(&mut self) -> Result<u64> {
        Ok(self.batch()?.now.0)
    }
    fn topic(&mut self) -> Result<String> {
        Ok(self.batch()?.topic.as_str().to_owned())
    }
    fn partition(&mut self) -> Result<u32> {
        Ok(self.batch()?.partition.0)
    }
    fn publisher(&mut self) -> Result<String> {
        match self.at {
            Call::Migrating => Err(outside("context.publisher")),
            Call::Outside | Call::Judging => Ok(self.batch()?.publisher.as_str().to_owned()),
        }
    }
}

impl state::Host for Guest {
    fn get(&mut self, key: Vec<u8>) -> Result<Option<Vec<u8>>> {
        Ok(self.state()?.get(&key).map(<[u8]>::to_vec))
    }
    fn set(&mut self, key: Vec<u8>, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<()> {
        Ok(self.state()?.set(&key, value, ttl_ms)?)
    }
    fn delete(&mut self, key: Vec<u8>) -> Result<()> {
        Ok(self.state()?.delete(&key)?)
    }
    fn increment(&mut self, key: Vec<u8>, by: i64, ttl_ms: Option<u64>) -> Result<i64> {
        Ok(self.state()?.increment(&key, by, ttl_ms)?)
    }
    fn increment_up_to(
        &mut self,
        key: Vec<u8>,
        by: i64,
        most: i64,
        ttl_ms: Option<u64>,
    ) -> Result<Result<i64, i64>> {
        Ok(self.state()?.increment_up_to(&key, by, most, ttl_ms)?)
    }
}

impl outbox::Host for Guest {
    fn emit(&mut self, topic: String, event: types::EventResult) -> Result<()> {
        match self.at {
            Call::Judging => Ok(self.effects.emit(&topic, owned(event))?),
            Call::Outside | Call::Migrating => Err(outside("outbox")),
        }
    }
}

impl log::Host for Guest {
    fn write(&mut self, level: log::Level, message: String) -> Result<()> {
        let level = match level {
            log::Level::Debug => LineLevel::Debug,
            log::Level::Info => LineLevel::Info,
            log::Level::Warn => LineLevel::Warn,
            log::Level::Error => LineLevel::Error,
        };
        self.lines.write(level, &message);
        Ok(())
    }
}

impl types::Host for Guest {}

impl HasWorld for Guest {
    fn world(&mut self) -> World<'_> {
        World { inert: &mut self.wasi, lines: &mut self.lines }
    }
}

/// A guest's event as ours; its bytes are moved, not copied.
pub(crate) fn owned(event: types::EventResult) -> Event {
    let header = |header: types::HeaderResult| Header {
        name: header.name,
        value: Some(Bytes::from(header.value)),
    };
    Event {
        timestamp: Timestamp(event.timestamp),
        key: event.key.map(Bytes::from),
        value: Some(Bytes::from(event.value)),
        headers: event.headers.into_iter().map(header).collect(),
    }
}
