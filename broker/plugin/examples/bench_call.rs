//! What a call costs: `cargo run --release -p weir-plugin-host --example bench_call`, or with
//! `-- FILE.wasm CONFIG` what a call of that plugin costs.
//!
//! Prints ns per event for probes that accept, count and replace (values of 128 B and 1 KiB, keys of
//! 8 B): the median of some rounds, in time of the thread, so that a busy machine changes little. And
//! the cost of a fresh instance, and of starting the engine. Numbers are for reading, not for tests.

#![expect(clippy::print_stdout, reason = "a program for people")]

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

struct Empty;

impl StateBase for Empty {
    fn get(&self, _key: &[u8]) -> Option<(&[u8], Option<Timestamp>)> {
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
    if let [_, file, config] = &std::env::args().collect::<Vec<_>>()[..] {
        return measure(&load(&host, Path::new(file))?, config);
    }
    for probe in ["accept", "counter", "replace"] {
        measure(&load(&host, &assembled(probe))?, r#"{"limit":1000000}"#)?;
    }
    let accept = load(&host, &assembled("accept"))?;
    let before = resident_bytes()?;
    let stages = (0..MANY).map(|_| accept.stage(settings("{}"))).collect::<Result<Vec<_>, _>>()?;
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

fn measure(plugin: &Plugin, config: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut stage = plugin.stage(settings(config))?;
    for value_bytes in [128, 1024] {
        let events = events(value_bytes);
        // Warms up.
        judge(&mut stage, &events)?;
        let rounds = (0..ROUNDS).map(|_| judge(&mut stage, &events));
        let mut rounds = rounds.collect::<Result<Vec<Duration>, _>>()?;
        rounds.sort();
        let ns = rounds[rounds.len() / 2].as_nanos() as f64 / f64::from(BATCH_EVENTS * BATCHES);
        println!("{}: {ns:.0} ns per event, values of {value_bytes} B", plugin.name());
    }
    let start = Instant::now();
    for _ in 0..INSTANCES {
        drop(plugin.stage(settings(config))?);
    }
    println!("{}: {:?} per instance", plugin.name(), start.elapsed() / INSTANCES);
    Ok(())
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

fn settings(config: &str) -> BindingSettings {
    BindingSettings { config: config.into(), emit: Vec::new(), limits: Limits::default() }
}

fn events(value_bytes: usize) -> Vec<Event> {
    let event = |n: u32| Event {
        timestamp: Timestamp(1),
        key: Some(Bytes::copy_from_slice(&u64::from(n * 7919 % KEYS).to_le_bytes())),
        value: Some(vec![b'v'; value_bytes].into()),
        headers: Vec::new(),
    };
    (0..BATCH_EVENTS).map(event).collect()
}

/// The time of this thread that a round of batches takes.
fn judge(
    stage: &mut dyn Stage,
    events: &[Event],
) -> Result<Duration, weir_plugin_host::PluginFault> {
    let batch = BatchContext {
        now: Timestamp(1),
        topic: TopicName::parse("bookings").expect("a name"),
        partition: PartitionId(0),
        publisher: Principal::parse("client:bench").expect("a name"),
    };
    let mut side_events = Vec::new();
    let start = worked();
    for _ in 0..BATCHES {
        stage.begin(&batch, Arc::new(Empty));
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
