//! A stage that is looked at while it works: what each event cost and did.
//!
//! Promises: the broker's own stage judges, and nothing it hears or answers is altered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use weir_plugin_host::{
    BatchContext, Change, Emitted, EventContext, PluginFault, Stage, StageCounters, StageVerdict,
    StateBase, WasmStage,
};
use weir_wire::record_batch::Record;

use super::said::{Hearing, Said};

/// One event as the stage saw it.
#[derive(Debug)]
pub struct Seen {
    /// Its place in the batch.
    pub index: u32,
    /// What the plugin said.
    pub answer: Result<StageVerdict, PluginFault>,
    /// Fuel it used.
    pub fuel: u64,
    /// How long it took.
    pub took: Duration,
    /// What it changed, if that stands.
    pub changes: Vec<Change>,
    /// What it emitted, if that stands.
    pub emitted: Vec<Emitted>,
    /// What it told its operator.
    pub said: Vec<Said>,
}

/// What was seen, shared with whoever prints it.
#[derive(Debug, Clone, Default)]
pub struct Notes(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    seen: Vec<Seen>,
    counters: StageCounters,
    memory_bytes_max: u64,
}

impl Notes {
    /// What was seen since the last time.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut self.pages().seen)
    }

    /// What happened in the stage so far, and the most memory it had after any event.
    pub fn counters(&self) -> (StageCounters, u64) {
        let pages = self.pages();
        (pages.counters, pages.memory_bytes_max)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stage, and who looks at it.
pub struct Watched {
    stage: WasmStage,
    notes: Notes,
    hearing: Hearing,
}

impl Watched {
    /// Looks at `stage` from now on.
    pub fn new(stage: WasmStage, notes: Notes, hearing: Hearing) -> Self {
        Self { stage, notes, hearing }
    }
}

impl Stage for Watched {
    fn begin(&mut self, batch: &BatchContext, state: Arc<dyn StateBase>) {
        self.stage.begin(batch, state);
    }

    fn judge(&mut self, event: &Record<'_>, at: EventContext) -> Result<StageVerdict, PluginFault> {
        let began = Instant::now();
        let answer = self.stage.judge(event, at);
        let took = began.elapsed();
        let seen = Seen {
            index: at.index,
            answer: answer.clone(),
            fuel: self.stage.fuel_used(),
            took,
            changes: self.stage.pending().cloned().collect(),
            emitted: Vec::new(),
            said: self.hearing.take(),
        };
        let mut pages = self.notes.pages();
        pages.counters = self.stage.counters();
        pages.memory_bytes_max = pages.memory_bytes_max.max(pages.counters.memory_bytes);
        pages.seen.push(seen);
        answer
    }

    fn fuel_used(&self) -> u64 {
        self.stage.fuel_used()
    }

    fn counters(&self) -> StageCounters {
        self.stage.counters()
    }

    fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        let from = side_events.len();
        self.stage.keep(side_events);
        if let Some(seen) = self.notes.pages().seen.last_mut() {
            seen.emitted = side_events[from..].to_vec();
        }
    }

    fn discard(&mut self) {
        self.stage.discard();
        if let Some(seen) = self.notes.pages().seen.last_mut() {
            seen.changes.clear();
        }
    }

    fn finish(&mut self) -> Vec<Change> {
        self.stage.finish()
    }
}
