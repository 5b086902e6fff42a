//! What a rule costs per event by the language it is written in, without a broker around it.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::time::{ClockId, clock_gettime};
use weir_plugin_host::{
    BatchContext, BindingSettings, EventContext, Host, HostOptions, Plugin, Stage, StageVerdict,
    StateBase,
};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PartitionId, PluginName, Principal, Timestamp, TopicName};
use weir_wire::record_batch::Event;

use super::Chart;
use crate::load::{Events, Fsync, Load, Setting, Size};
use crate::report::{Axis, Metric, Plot, Row, Shape};
use crate::weir::name;

const EVENT_BYTES: usize = 128;
const BATCH_EVENTS: usize = 1_000;
/// Of one round, and rounds of which the median is told.
const BATCHES: u32 = 10;
const ROUNDS: [usize; 2] = [5, 15];

/// The same rule in each language, and the least that a component can do.
const COMPONENTS: &[(&str, &str)] = &[
    ("accept (hand-written)", "../bench/rules/accept.wasm"),
    ("accept, through the component runtime", "probes/accept.wasm"),
    ("daily-limit in Rust", "daily-limit/daily-limit.wasm"),
    ("daily-limit in C", "daily-limit-c/daily-limit.wasm"),
    ("daily-limit in Go", "daily-limit-go/daily-limit.wasm"),
    ("daily-limit in JavaScript", "daily-limit-js/daily-limit.wasm"),
    ("daily-limit in TypeScript", "daily-limit-ts/daily-limit.wasm"),
    ("daily-limit in Python", "daily-limit-python/daily-limit.wasm"),
];

/// Where components are: committed; or, Python's being large, where `cargo xtask languages` builds them.
const PLACES: [&str; 2] = ["plugins", "target/languages"];

/// The chart.
pub const CHART: Chart = Chart {
    name: "languages",
    about: "One call for an event of 128 B that is accepted and counted, by the language the rule is \
            written in: time of the judging thread, batches of 1,000, no broker around it. A component \
            that is not built here is left out.",
    seconds: [14, 35],
    x: Axis { label: "", is_log: false, write: |_| String::new() },
    plots: &[Plot {
        title: "What a plugin costs per event",
        suffix: "",
        metrics: &[Metric::NsPerEvent],
        values: "ns/event",
        shape: Shape::Bars,
        is_log: true,
    }],
    rows,
};

fn rows(setting: &Setting) -> BoxFuture<'_, Result<Vec<Row>, String>> {
    let setting = setting.clone();
    async move {
        let measured = tokio::task::spawn_blocking(move || measure(&setting)).await;
        measured.map_err(|error| error.to_string())?
    }
    .boxed()
}

fn measure(setting: &Setting) -> Result<Vec<Row>, String> {
    let host = Host::new(HostOptions::default()).map_err(|error| error.to_string())?;
    let load = Load { partitions: 1, connections: 1, ..Load::of(EVENT_BYTES, Size::Short) };
    let mut made = Events::of_lane(&load, 0);
    let events: Vec<Event> = (0..BATCH_EVENTS)
        .map(|_| {
            let event = made.make();
            let (key, value) = (Some(event.key), Some(event.value));
            Event { timestamp: Timestamp(1), key, value, headers: Vec::new() }
        })
        .collect();
    let mut rows = Vec::new();
    for (series, component) in COMPONENTS {
        let places = PLACES.map(|place| setting.root.join(place).join(component));
        let Some(path) = places.iter().find(|path| path.exists()) else {
            setting.tell(&format!("{series}: left out; `cargo xtask languages` builds it"));
            continue;
        };
        setting.tell(series);
        let plugin = load_plugin(&host, path)?;
        let blame = |why: String| format!("{series}: {why}");
        let settings = BindingSettings {
            config: r#"{"limit":1000000}"#.into(),
            emit: Vec::new(),
            limits: Limits::default(),
        };
        let stage = plugin.stage(settings).map_err(|error| blame(error.to_string()))?;
        let mut stage: Box<dyn Stage> = Box::new(stage);
        // Warms up.
        judge(&mut *stage, &events).map_err(blame)?;
        let rounds = (0..ROUNDS[setting.size as usize]).map(|_| judge(&mut *stage, &events));
        let rounds: Result<Vec<Duration>, String> = rounds.collect();
        let calls = BATCH_EVENTS as u32 * BATCHES;
        let ns: Vec<f64> = rounds
            .map_err(blame)?
            .iter()
            .map(|took| took.as_nanos() as f64 / f64::from(calls))
            .collect();
        let row = Row::new(CHART.name, series, 0.0, Fsync::None);
        rows.push(row.with(Metric::NsPerEvent, &ns));
    }
    Ok(rows)
}

fn load_plugin(host: &Host, path: &Path) -> Result<Plugin, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let blame = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let artefact = host.compile(&bytes).map_err(|error| blame(&error))?;
    let plugin = name("rule", PluginName::parse)?;
    host.load(plugin, Digest([0; 32]), &artefact).map_err(|error| blame(&error))
}

/// The time of this thread that the batches take; every event has to be accepted.
fn judge(stage: &mut dyn Stage, events: &[Event]) -> Result<Duration, String> {
    let batch = BatchContext {
        now: Timestamp(1),
        topic: name("bookings", TopicName::parse)?,
        partition: PartitionId(0),
        publisher: name("client:bench", Principal::parse)?,
    };
    let mut side_events = Vec::new();
    let began = worked();
    for _ in 0..BATCHES {
        stage.begin(&batch, Arc::new(Empty::default()));
        for (index, event) in (0..).zip(events) {
            let at = EventContext { index, offset_hint: u64::from(index), may_emit: true };
            match stage.judge(&event.as_record(), at) {
                Ok(StageVerdict::Accept) => stage.keep(&mut side_events),
                Ok(other) => return Err(format!("wrong answer: {other:?}")),
                Err(fault) => return Err(format!("it failed: {fault:?}")),
            }
        }
        stage.finish();
    }
    Ok(worked() - began)
}

/// The time that this thread has worked.
fn worked() -> Duration {
    let worked = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative: it is a time since the thread began.
    Duration::new(worked.tv_sec as u64, worked.tv_nsec as u32)
}

/// State of which nothing is there yet.
#[derive(Default)]
struct Empty(RandomState);

impl StateBase for Empty {
    fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key)
    }
    fn get_hashed(&self, _: u64, _: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        None
    }
    fn keys(&self) -> u64 {
        0
    }
    fn bytes(&self) -> u64 {
        0
    }
}
