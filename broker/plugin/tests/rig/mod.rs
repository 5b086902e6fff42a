//! A bench for stages: one host for all tests, state as a map, time and places given.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use weir_plugin_host::{
    BatchContext, BindError, BindingSettings, Change, Emitted, EventContext, FaultCause, Host,
    HostOptions, Plugin, PluginFault, Stage, StageVerdict, StateBase, WasmStage,
};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PartitionId, PluginName, Principal, Timestamp, TopicName};
use weir_wire::record_batch::{Event, Header};

pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::new(HostOptions::default()).expect("an engine"))
}

pub fn wasm(probe: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/probes");
    std::fs::read(folder.join(probe).with_extension("wasm")).expect("an assembled probe")
}

pub fn plugin(probe: &str) -> Plugin {
    let artefact = host().compile(&wasm(probe)).expect("a probe that compiles");
    let name = PluginName::parse(probe).expect("a name");
    host().load(name, Digest([0; 32]), &artefact).expect("loads where it was compiled")
}

pub fn try_stage(probe: &str, config: &str, limits: Limits) -> Result<WasmStage, BindError> {
    let emit = vec![TopicName::parse("notices").expect("a name")];
    plugin(probe).stage(BindingSettings { config: config.to_owned(), emit, limits })
}

pub fn stage(probe: &str, config: &str) -> WasmStage {
    try_stage(probe, config, Limits::default()).expect("a probe that takes its config")
}

/// State as it would be in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base(pub BTreeMap<Bytes, (Bytes, Option<Timestamp>)>);

impl StateBase for Base {
    fn hash(&self, key: &[u8]) -> u64 {
        key.iter().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add((*byte).into()))
    }
    fn get_hashed(&self, _: u64, key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        self.0.get(key).map(|(value, expires)| (&value[..], *expires))
    }
    fn keys(&self) -> u64 {
        self.0.len() as u64
    }
    fn bytes(&self) -> u64 {
        self.0.iter().map(|(key, (value, _))| (key.len() + value.len()) as u64).sum()
    }
}

impl Base {
    pub fn fold(&mut self, changes: Vec<Change>) {
        for change in changes {
            let key = Bytes::copy_from_slice(&change.key);
            match change.value {
                Some((value, at)) => self.0.insert(key, (Bytes::copy_from_slice(&value), at)),
                None => self.0.remove(&key),
            };
        }
    }

    pub fn counter(&self, key: &str) -> Option<i64> {
        let (value, _) = self.0.get(key.as_bytes())?;
        Some(i64::from_le_bytes(value[..].try_into().expect("a counter")))
    }
}

pub fn event(key: &str, value: impl Into<Bytes>, timestamp: u64) -> Event {
    let key = (!key.is_empty()).then(|| Bytes::copy_from_slice(key.as_bytes()));
    Event { timestamp: Timestamp(timestamp), key, value: Some(value.into()), headers: Vec::new() }
}

pub fn header(name: &str, value: &'static str) -> Header {
    Header { name: name.to_owned(), value: Some(Bytes::from_static(value.as_bytes())) }
}

pub fn context(now: u64) -> BatchContext {
    BatchContext {
        now: Timestamp(now),
        topic: TopicName::parse("bookings").expect("a name"),
        partition: PartitionId(3),
        publisher: Principal::parse("client:web").expect("a name"),
    }
}

pub fn place(index: u32) -> EventContext {
    EventContext { index, offset_hint: 100 + u64::from(index), may_emit: true }
}

/// What became of one batch of which everything is kept that did not fault.
pub struct Outcome {
    pub verdicts: Vec<Result<StageVerdict, PluginFault>>,
    pub side_events: Vec<Emitted>,
    pub changes: Vec<Change>,
}

impl Outcome {
    /// `+` accepted, `=` replaced, `.` dropped, `-` rejected, `!` fault.
    pub fn signs(&self) -> String {
        self.verdicts
            .iter()
            .map(|verdict| match verdict {
                Ok(StageVerdict::Accept) => '+',
                Ok(StageVerdict::Replace(_)) => '=',
                Ok(StageVerdict::Drop) => '.',
                Ok(StageVerdict::Reject(_)) => '-',
                Err(_) => '!',
            })
            .collect()
    }

    pub fn cause(&self) -> FaultCause {
        self.verdicts.iter().find_map(|v| v.as_ref().err()).expect("a fault").cause
    }
}

pub fn judge_all(stage: &mut dyn Stage, base: &Base, now: u64, events: &[Event]) -> Outcome {
    stage.begin(&context(now), Arc::new(base.clone()));
    let mut side_events = Vec::new();
    let verdicts = (0..)
        .zip(events)
        .map(|(index, event)| {
            let verdict = stage.judge(&event.as_record(), place(index));
            stage.keep(&mut side_events);
            verdict
        })
        .collect();
    Outcome { verdicts, side_events, changes: stage.finish() }
}
