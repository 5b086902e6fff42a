//! What a call costs: `cargo run --release -p weir-plugin-host --example bench_call`, or with
//! `-- FILE.wasm CONFIG` what a call of that plugin costs.
//!
//! Prints ns per event for probes that accept, count and replace (128 B values, keys of 8 B), the
//! cost of a fresh instance, and of starting the engine. Numbers are for reading, not for tests.

#![expect(clippy::print_stdout, reason = "a program for people")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use weir_plugin_host::{
    BatchContext, BindingSettings, EventContext, Host, HostOptions, Plugin, Stage, StateBase,
};
use weir_wire::admin::Limits;
use weir_wire::ids::{Digest, PartitionId, PluginName, Principal, Timestamp, TopicName};
use weir_wire::record_batch::Event;

const BATCH_EVENTS: u32 = 1_000;
const BATCHES: u32 = 300;
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
    judge(&mut stage, 20)?;
    let mut best = Duration::MAX;
    for _ in 0..5 {
        best = best.min(judge(&mut stage, BATCHES / 5)?);
    }
    let events = f64::from(BATCH_EVENTS * (BATCHES / 5));
    println!("{}: {:.0} ns per event", plugin.name(), best.as_nanos() as f64 / events);
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

fn judge(stage: &mut dyn Stage, batches: u32) -> Result<Duration, weir_plugin_host::PluginFault> {
    let batch = BatchContext {
        now: Timestamp(1),
        topic: TopicName::parse("bookings").expect("a name"),
        partition: PartitionId(0),
        publisher: Principal::parse("client:bench").expect("a name"),
    };
    let events: Vec<Event> = (0..BATCH_EVENTS)
        .map(|n| Event {
            timestamp: Timestamp(1),
            key: Some(Bytes::copy_from_slice(&u64::from(n * 7919 % KEYS).to_le_bytes())),
            value: Some(Bytes::from_static(&[b'v'; 128])),
            headers: Vec::new(),
        })
        .collect();
    let mut side_events = Vec::new();
    let start = Instant::now();
    for _ in 0..batches {
        stage.begin(&batch, Arc::new(Empty));
        for (index, event) in (0..).zip(&events) {
            let at = EventContext { index, offset_hint: u64::from(index), may_emit: true };
            stage.judge(&event.as_record(), at)?;
            stage.keep(&mut side_events);
        }
        stage.finish();
    }
    Ok(start.elapsed())
}
