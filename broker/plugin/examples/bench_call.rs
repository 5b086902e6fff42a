//! What a call costs: `cargo run --release -p weir-plugin-host --example bench_call`, or with
//! `-- FILE.wasm CONFIG [EVENTS.jsonl]` what a call of that plugin costs; with a file, its first
//! lines are the values, and the cost is told in fuel too, which is the same on every machine.
//!
//! Prints ns per event for probes that accept, count and replace (values of 128 B and 1 KiB, keys of
//! 8 B): the median of some rounds, in time of the thread, so that a busy machine changes little. And
//! the cost of a fresh instance, and of starting the engine. Numbers are for reading, not for tests.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use weir_plugin_host::{
    BatchContext, BindingSettings, EventContext, Host, HostOptions, Plugin, Stage, StateBase,
};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PartitionId, PluginName, Principal, Timestamp, TopicName};
use weir_wire::record_batch::Event;

const BATCH_EVENTS: u32 = 1_000;
/// Of one round.
const BATCHES: u32 = 20;
/// The median counts.
const ROUNDS: usize = 15;
const KEYS: u32 = 10_000;
const INSTANCES: u32 = 1_000;
/// A thousand partitions with three plugins each.
const MANY: u32 = 3_000;

#[derive(Default)]
struct Empty(RandomState);

impl StateBase for Empty {
    fn hash(&self, key: &[u8]) -> u64 {
        self.0.hash_one(key)
    }
    fn get_hashed(&self, _: u64, _key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
        None
    }
    fn keys(&self) -> u64 {
        0
    }
    fn bytes(&self) -> u64 {
        0
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let host = Host::new(HostOptions::default())?;
    println!("engine and linker: {:?}", start.elapsed());
    let samples = [128, 1024].map(|bytes| (format!("values of {bytes} B"), events(bytes)));
    match &std::env::args().collect::<Vec<_>>()[..] {
        [_, file, config] => return measure(&load(&host, Path::new(file))?, config, &samples),
        [_, file, config, lines] => {
            let plugin = load(&host, Path::new(file))?;
            let text = std::fs::read_to_string(lines)?;
            let events: Vec<Event> =
                (0..BATCH_EVENTS).zip(text.lines()).map(|(n, line)| event(n, line)).collect();
            let dearest = fuel(&plugin, config, &events)?;
            println!("{}: {dearest} fuel for the dearest of {lines}", plugin.name());
            return measure(&plugin, config, &[(format!("values of {lines}"), events)]);
        }
        _ => {}
    }
    for probe in ["accept", "counter", "replace"] {
        measure(&load(&host, &assembled(probe))?, r#"{"limit":1000000}"#, &samples)?;
    }
    let accept = load(&host, &assembled("accept"))?;
    let before = resident_bytes()?;
    let stages = (0..MANY)
        .map(|_| accept.stage(settings("{}", Limits::default())))
        .collect::<Result<Vec<_>, _>>()?;
    let each = (resident_bytes()? - before) / u64::from(MANY);
    println!("{} instances at once: {each} B resident each", stages.len());
    Ok(())
}

/// Resident pages of this process (Linux), in bytes.
fn resident_bytes() -> Result<u64, Box<dyn std::error::Error>> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * 4096)
}

/// Events, with what to call them.
type Sample = (String, Vec<Event>);

fn measure(
    plugin: &Plugin,
    config: &str,
    samples: &[Sample],
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stage = plugin.stage(settings(config, Limits::default()))?;
    for (sample, events) in samples {
        // Warms up.
        judge(&mut stage, events, BATCHES)?;
        let rounds = (0..ROUNDS).map(|_| judge(&mut stage, events, BATCHES));
        let mut rounds = rounds.collect::<Result<Vec<Duration>, _>>()?;
        rounds.sort();
        let judged = events.len() as f64 * f64::from(BATCHES);
        let ns = rounds[rounds.len() / 2].as_nanos() as f64 / judged;
        println!("{}: {ns:.0} ns per event, {sample}", plugin.name());
    }
    let start = Instant::now();
    for _ in 0..INSTANCES {
        drop(plugin.stage(settings(config, Limits::default()))?);
    }
    println!("{}: {:?} per instance", plugin.name(), start.elapsed() / INSTANCES);
    Ok(())
}

/// The least fuel with which no event of these faults.
fn fuel(
    plugin: &Plugin,
    config: &str,
    events: &[Event],
) -> Result<u64, Box<dyn std::error::Error>> {
    let (mut too_little, mut enough) = (0, Limits::default().fuel);
    while too_little + 1 < enough {
        let fuel = too_little.midpoint(enough);
        let limits = Limits { fuel, deadline_ms: Limits::MAX.deadline_ms, ..Limits::default() };
        match judge(&mut plugin.stage(settings(config, limits))?, events, 1) {
            Ok(_) => enough = fuel,
            Err(_) => too_little = fuel,
        }
    }
    Ok(enough)
}

fn assembled(probe: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/probes");
    folder.join(probe).with_extension("wasm")
}

fn load(host: &Host, file: &Path) -> Result<Plugin, Box<dyn std::error::Error>> {
    let name = file.file_stem().and_then(|stem| stem.to_str()).ok_or("a file without a name")?;
    let artefact = host.compile(&std::fs::read(file)?)?;
    Ok(host.load(PluginName::parse(name)?, Digest([0; 32]), &artefact)?)
}

fn settings(config: &str, limits: Limits) -> BindingSettings {
    BindingSettings { config: config.into(), emit: Vec::new(), limits }
}

fn events(value_bytes: usize) -> Vec<Event> {
    let value = "v".repeat(value_bytes);
    (0..BATCH_EVENTS).map(|n| event(n, &value)).collect()
}

fn event(n: u32, value: &str) -> Event {
    Event {
        timestamp: Timestamp(1),
        key: Some(Bytes::copy_from_slice(&u64::from(n * 7919 % KEYS).to_le_bytes())),
        value: Some(value.to_owned().into()),
        headers: Vec::new(),
    }
}

/// The time of this thread that these batches take.
fn judge(
    stage: &mut dyn Stage,
    events: &[Event],
    batches: u32,
) -> Result<Duration, weir_plugin_host::PluginFault> {
    let batch = BatchContext {
        now: Timestamp(1),
        topic: TopicName::parse("bookings").expect("a name"),
        partition: PartitionId(0),
        publisher: Principal::parse("client:bench").expect("a name"),
    };
    let mut side_events = Vec::new();
    let start = worked();
    for _ in 0..batches {
        stage.begin(&batch, Arc::new(Empty::default()));
        for (index, event) in (0..).zip(events) {
            let at = EventContext { index, offset_hint: u64::from(index), may_emit: true };
            stage.judge(&event.as_record(), at)?;
            stage.keep(&mut side_events);
        }
        stage.finish();
    }
    Ok(worked() - start)
}

/// The time that this thread has worked.
fn worked() -> Duration {
    let worked = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative: it is a time since the thread began.
    Duration::new(worked.tv_sec as u64, worked.tv_nsec as u32)
}
