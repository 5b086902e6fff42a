//! A stage that runs a component: one instance at work, thrown away when it fails.
//!
//! ```text
//! running --trap, time-out, bad answer--> resting --next event--> running (fresh, configured anew)
//!         --memory over its mark, between two batches--> resting
//! ```
//! Promises: after a fault the event has no effects and the instance is never called again; what
//! earlier events of the batch did is kept, because it never was the instance's.

mod migration;

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::Store;
use weir_wire::frame::EVENT_BYTES_MAX;
use weir_wire::ids::RESERVED_HEADER_PREFIX;
use weir_wire::record_batch::{Event, Header, Record};

use crate::bindings::weir::plugin::types::{Rejection, Verdict};
use crate::deadline::Deadline;
use crate::effects::{Effects, reserved_header};
use crate::engine::ticks;
use crate::exports::Instance;
use crate::fault::{fault, of_call, one_line};
use crate::guest::{Guest, HANDOVER_BYTES_MAX, owned};
use crate::lines::{Lines, Listener};
use crate::plugin::{BindError, BindingSettings, Plugin};
use crate::wasi::HANDLES_MAX;
use crate::{
    BatchContext, Change, Emitted, EventContext, FaultCause, MigrateError, Migrated, OldEntry,
    PluginFault, Refusal, Stage, StageVerdict, StateBase,
};

/// Bytes of a rejection's code at most; more is cut.
pub const REJECTION_CODE_BYTES_MAX: usize = 64;
/// Bytes of a rejection's message at most; more is cut.
pub const REJECTION_MESSAGE_BYTES_MAX: usize = 512;
/// The code of a rejection that names none.
const REJECTION_CODE_DEFAULT: &str = "rejected";
/// Fuel of start-up and `configure`: about a second, like its deadline. Python needs 20 ms.
const CONFIGURE_FUEL: u64 = 2_000_000_000;
/// An instance below this is never recycled: small guests may grow to what they need.
const RECYCLE_BYTES_MIN: usize = 16 << 20;
/// Bytes of a guest's words about its config that an answer repeats.
const REFUSED_BYTES_MAX: usize = 2 << 10;

/// One plugin in one partition.
pub struct WasmStage {
    plugin: Plugin,
    settings: BindingSettings,
    /// Invariant: either `running` or `resting` is there.
    running: Option<Running>,
    resting: Option<Guest>,
    counters: StageCounters,
    /// Of the last event.
    fuel_used: u64,
}

struct Running {
    store: Store<Guest>,
    instance: Instance,
    /// Above this it is recycled between two batches.
    recycle_bytes: usize,
}

/// What happened in a stage so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StageCounters {
    /// Instances made; the first one counts.
    pub instances: u64,
    /// Bytes of log lines that were over their event's limit.
    pub log_bytes_cut: u64,
    /// Bytes of linear memory of the instance at work; 0 if there is none.
    pub memory_bytes: u64,
}

impl Plugin {
    /// Brings one instance to life and configures it: once per partition, and once as a dry run
    /// when the binding is made. Takes up to `limits.configure_ms`.
    pub fn stage(&self, settings: BindingSettings) -> Result<WasmStage, BindError> {
        let mut stage = self.stage_at_rest(settings, None);
        stage.start()?;
        Ok(stage)
    }

    /// A stage without an instance: the first event brings one to life, and fails if that fails. What
    /// the plugin says is told to `listener` too.
    pub fn stage_at_rest(
        &self,
        settings: BindingSettings,
        listener: Option<Arc<dyn Listener>>,
    ) -> WasmStage {
        let effects = Effects::new(settings.limits, settings.emit.clone());
        let lines = Lines::new(self.name().clone(), listener, settings.limits.log_bytes);
        WasmStage {
            plugin: self.clone(),
            settings,
            running: None,
            resting: Some(Guest::new(effects, lines)),
            counters: StageCounters::default(),
            fuel_used: 0,
        }
    }
}

impl WasmStage {
    /// Brings an instance to life, if there is none.
    pub fn start(&mut self) -> Result<(), BindError> {
        self.run()
    }

    /// What happened so far.
    pub fn counters(&self) -> StageCounters {
        StageCounters {
            log_bytes_cut: self.guest().lines.cut_bytes(),
            memory_bytes: self.running.as_ref().map_or(0, |r| r.store.data().memory.bytes() as u64),
            ..self.counters
        }
    }

    /// What the last judged event changed, until it is kept or discarded.
    pub fn pending(&self) -> impl Iterator<Item = &Change> {
        self.guest().effects.pending()
    }

    /// From resting to running: a fresh instance, configured.
    fn run(&mut self) -> Result<(), BindError> {
        let Some(mut guest) = self.resting.take() else { return Ok(()) };
        guest.begin_instance(self.settings.limits.memory_bytes);
        let mut store = Store::new(self.plugin.engine().engine(), guest);
        self.counters.instances += 1;
        let configured = configure(&mut store, &self.plugin, &self.settings);
        store.data_mut().end_call();
        match configured {
            Ok(instance) => {
                let bytes = store.data().memory.bytes();
                let half = self.settings.limits.memory_bytes as usize / 2;
                let recycle_bytes = half.max(RECYCLE_BYTES_MIN).max(bytes * 2);
                self.running = Some(Running { store, instance, recycle_bytes });
                Ok(())
            }
            Err(error) => {
                self.resting = Some(store.into_data());
                Err(error)
            }
        }
    }

    /// From running to resting: the instance is gone, our side of it stays.
    fn rest(&mut self) {
        if let Some(running) = self.running.take() {
            self.resting = Some(running.store.into_data());
        }
    }

    fn guest(&self) -> &Guest {
        let running = self.running.as_ref().map(|running| running.store.data());
        running.or(self.resting.as_ref()).expect("a stage is running or resting")
    }

    fn guest_mut(&mut self) -> &mut Guest {
        let running = self.running.as_mut().map(|running| running.store.data_mut());
        running.or(self.resting.as_mut()).expect("a stage is running or resting")
    }

    fn process(
        &mut self,
        event: &Record<'_>,
        at: EventContext,
    ) -> Result<StageVerdict, PluginFault> {
        self.fuel_used = 0;
        self.run().map_err(|error| fault(FaultCause::Instantiate, error.to_string()))?;
        let limits = &self.settings.limits;
        let Running { store, instance, .. } = self.running.as_mut().expect("run() made it so");
        store.data_mut().begin_event(at);
        store.set_fuel(limits.fuel).expect("fuel is on in this engine");
        store.data_mut().deadline = Deadline::of_ms(limits.deadline_ms);
        store.set_epoch_deadline(ticks(limits.deadline_ms));
        let answer = instance.process(store, event);
        // What could not be read was never more than there was.
        self.fuel_used = limits.fuel - store.get_fuel().unwrap_or(0).min(limits.fuel);
        store.data_mut().end_call();
        match answer {
            Ok(verdict) => checked(verdict, event),
            Err(error) => {
                let refused_bytes = store.data().memory.refused_bytes();
                Err(of_call(&error, limits, limits.deadline_ms, refused_bytes))
            }
        }
    }
}

impl Stage for WasmStage {
    fn begin(&mut self, batch: &BatchContext, state: Arc<dyn StateBase>) {
        let guest = self.guest_mut();
        guest.batch = Some(batch.clone());
        guest.lines.begin_batch(batch.now);
        guest.effects.begin(batch.now, state);
    }

    fn judge(&mut self, event: &Record<'_>, at: EventContext) -> Result<StageVerdict, PluginFault> {
        let answer = self.process(event, at);
        if answer.is_err() {
            self.rest();
            self.guest_mut().effects.discard();
        }
        answer
    }

    fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    fn counters(&self) -> StageCounters {
        WasmStage::counters(self)
    }

    fn keep(&mut self, side_events: &mut Vec<Emitted>) {
        self.guest_mut().effects.keep(side_events);
    }

    fn discard(&mut self) {
        self.guest_mut().effects.discard();
    }

    fn finish(&mut self) -> Vec<Change> {
        // Some languages' bindings leak; what they hold is a cache at best.
        if self.running.as_ref().is_some_and(|r| r.recycle_bytes < r.store.data().memory.bytes()) {
            self.rest();
        }
        let guest = self.guest_mut();
        guest.batch = None;
        guest.effects.finish()
    }

    fn migrate(&mut self, entry: &OldEntry<'_>) -> Result<Migrated, MigrateError> {
        let answer = self.take_over(entry);
        if let Err(error) = &answer {
            if matches!(error, MigrateError::Fault(_)) {
                self.rest();
            }
            self.guest_mut().effects.discard();
        }
        answer
    }
}

impl std::fmt::Debug for WasmStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WasmStage({:?})", self.plugin)
    }
}

/// Gives a store its limits, and what start-up may use of them.
pub(crate) fn start(store: &mut Store<Guest>, deadline_ms: u64) {
    store.limiter(|guest| &mut guest.memory);
    store.set_hostcall_fuel(HANDOVER_BYTES_MAX);
    store.set_max_component_handles(HANDLES_MAX);
    store.set_fuel(CONFIGURE_FUEL).expect("fuel is on in this engine");
    store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline.passed_now()));
    store.data_mut().deadline = Deadline::of_ms(deadline_ms);
    store.set_epoch_deadline(ticks(deadline_ms));
}

/// Instantiates and hands over the config, both under one deadline.
fn configure(
    store: &mut Store<Guest>,
    plugin: &Plugin,
    settings: &BindingSettings,
) -> Result<Instance, BindError> {
    let limits = &settings.limits;
    start(store, limits.configure_ms);
    let instance = match plugin.exports().instantiate(store) {
        Ok(instance) => instance,
        Err(error) => {
            let refused_bytes = store.data().memory.refused_bytes();
            let why =
                match error.downcast_ref::<wasmtime::Trap>().is_some() || refused_bytes.is_some() {
                    true => of_call(&error, limits, limits.configure_ms, refused_bytes).detail,
                    false => one_line(&error),
                };
            return Err(BindError::Instantiate(why));
        }
    };
    match instance.configure(store, &settings.config) {
        Ok(Ok(())) => Ok(instance),
        Ok(Err(words)) => Err(BindError::Refused(cut(words, REFUSED_BYTES_MAX))),
        Err(error) => {
            let refused_bytes = store.data().memory.refused_bytes();
            Err(BindError::Fault(of_call(&error, limits, limits.configure_ms, refused_bytes)))
        }
    }
}

/// A guest's verdict as ours, if it is one that may stand.
fn checked(verdict: Verdict, event: &Record<'_>) -> Result<StageVerdict, PluginFault> {
    Ok(match verdict {
        Verdict::Accept => StageVerdict::Accept,
        Verdict::Drop => StageVerdict::Drop,
        Verdict::Replace(other) => StageVerdict::Replace(replacement(owned(other), event)?),
        Verdict::Reject(why) => StageVerdict::Reject(refusal(why)),
    })
}

fn refusal(why: Rejection) -> Refusal {
    let code = if why.code.is_empty() { REJECTION_CODE_DEFAULT.to_owned() } else { why.code };
    Refusal {
        code: cut(code, REJECTION_CODE_BYTES_MAX),
        message: cut(why.message, REJECTION_MESSAGE_BYTES_MAX),
        retry_after_ms: why.retry_after_ms,
    }
}

/// The broker's own headers pass a plugin unchanged: it may neither write, alter nor lose one.
fn replacement(mut other: Event, event: &Record<'_>) -> Result<Event, PluginFault> {
    let is_reserved = |name: &str| name.starts_with(RESERVED_HEADER_PREFIX);
    let reserved: Vec<Header> = event
        .headers
        .iter()
        .filter(|(name, _)| is_reserved(name))
        // A guest sees null as empty, and so gives back empty.
        .map(|(name, value)| Header {
            name: name.to_owned(),
            value: Some(Bytes::copy_from_slice(value.unwrap_or_default())),
        })
        .collect();
    if other.headers.iter().any(|header| is_reserved(&header.name) && !reserved.contains(header)) {
        return Err(reserved_header());
    }
    other.headers.retain(|header| !is_reserved(&header.name));
    other.headers.extend(reserved);
    let bytes = other.as_record().payload_bytes() as u64;
    if u64::from(EVENT_BYTES_MAX) < bytes {
        let detail = format!("its event has {bytes} bytes, over {EVENT_BYTES_MAX}");
        return Err(fault(FaultCause::OutputTooLarge, detail));
    }
    Ok(other)
}

fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
