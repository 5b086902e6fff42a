//! R26: the rule is swapped again and again while eight producers and four consumers work, and the
//! broker is killed in the middle of swaps. Every event has one verdict, each change holds from one
//! offset on, a version that does not start leaves the old one serving, and after a kill the chain is
//! the old one or the new one, everywhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::time::Instant;
use weir_client::{Admin, AdminError, Event, Producer, ProducerOptions};
use weir_tests::broker::Broker;
use weir_tests::flights;
use weir_tests::load::{self, Crowd, LIMIT, Shared};
use weir_tests::torture::{Row, sized};
use weir_wire::admin::{Binding, BindingSpec, Chain, ChainChange, Durability};
use weir_wire::ids::{PluginName, Timestamp};

const PRODUCERS: u32 = 8;
const CONSUMERS: u32 = 4;
const PARTITIONS: u32 = 4;
/// Events that have to be answered between two swaps: each version gets to judge.
const PHASE_EVENTS: usize = 20;
/// Every so many swaps a version is bound that cannot serve.
const BAD_EVERY: u64 = 5;
/// From the beginning of a swap to the kill, in ms: before, while and after it is recorded.
const KILL_MS: std::ops::RangeInclusive<u64> = 0..=30;
/// How long a test may take where every landing runs it; what does not fit is not run.
const CI_MAX: Duration = Duration::from_secs(60);
/// A topic without a rule of the ledger, to measure how long publishers wait.
const PROBED: &str = "probed";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn swapped_again_and_again_under_load() {
    let mut row = Row::begin("R26", "swaps under load");
    let mut rng = row.rng();
    let mut house = House::open(&mut rng).await;
    let before = house.measure(None).await;
    let mut bad = 0;
    for swap in 0..sized(50, 1_000) {
        if !row.has_time(CI_MAX) {
            break;
        }
        house.let_events_flow().await;
        if swap % BAD_EVERY == BAD_EVERY - 1 {
            house.bind_a_bad_version(["refuses-config", "early-state"][bad % 2]).await;
            bad += 1;
        }
        let change = house.swap(swap).await.unwrap();
        assert_eq!(change.since.len(), PARTITIONS as usize, "{change:?}");
        house.changed(&change);
        row.count("swaps", 1);
    }
    let during = house.measure(Some(&mut row)).await;
    for (name, waits) in [("without", before), ("with", during)] {
        for (quantile, per_mille) in [("p50", 500), ("p99", 990), ("max", 1_000)] {
            row.count(&format!("{quantile} {name} swaps, us"), at(&waits, per_mille));
        }
    }
    row.count("bad versions", bad as u64);
    house.finish(&mut row).await;
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_swaps() {
    let mut row = Row::begin("R26", "SIGKILL in the middle of swaps");
    let mut rng = row.rng();
    let mut house = House::open(&mut rng).await;
    for swap in 0..sized(8, 200) {
        if !row.has_time(CI_MAX) {
            break;
        }
        house.let_events_flow().await;
        let before = house.chain().await;
        let delay = Duration::from_millis(rng.u64(KILL_MS));
        let (broker, admin) = (&house.broker, &house.admin);
        let (told, ()) = tokio::join!(swap_on(admin, swap), async {
            tokio::time::sleep(delay).await;
            broker.signal(Signal::KILL);
        });
        house.broker.wait();
        house.broker.start_again();
        let after = house.old_or_new(&before, swap).await;
        match told {
            // What was told is true, whatever came behind it.
            Ok(change) => {
                assert_eq!(after, change.chain, "it was told as done");
                house.changed(&change);
                row.count("kills behind the answer", 1);
            }
            Err(error) => {
                assert!(matches!(error, AdminError::Unreachable { .. }), "{error}");
                let outcome = if after == before { "old" } else { "new" };
                row.count(&format!("kills that found the {outcome} chain"), 1);
            }
        }
    }
    house.finish(&mut row).await;
    row.passed();
}

/// A broker with a rule of two versions that mean the same, and a crowd at work.
struct House {
    broker: Broker,
    admin: Admin,
    shared: Shared,
    crowd: Crowd,
}

fn rule() -> PluginName {
    PluginName::parse("daily-limit").unwrap()
}

/// The rule once more, with one more custom section: another version, with another digest.
fn second_version() -> Bytes {
    let name = b"second version";
    let mut component = std::fs::read(flights::daily_limit()).unwrap();
    component.extend([0, 1 + name.len() as u8, name.len() as u8]);
    component.extend(name);
    component.into()
}

fn probe(name: &str) -> Bytes {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/probes");
    std::fs::read(folder.join(name).with_extension("wasm")).unwrap().into()
}

/// Binds the version that is not at work: 1 and 2 by turns.
async fn swap_on(admin: &Admin, swap: u64) -> Result<ChainChange, AdminError> {
    let version = Some((1 + (swap + 1) % 2).to_string());
    let spec = BindingSpec { version, ..BindingSpec::default() };
    admin.bind(&load::topic(load::EVENTS), &rule(), &spec).await
}

impl House {
    async fn open(rng: &mut fastrand::Rng) -> Self {
        let mut broker = Broker::for_crashes();
        broker.start_again();
        let shared = Shared::new(Some(LIMIT));
        let client = load::connect(&broker.context()).await;
        let admin = client.admin().unwrap();
        load::create_topic(&admin, load::NOTICES, 1, Durability::Durable).await;
        load::create_topic(&admin, load::EVENTS, PARTITIONS, Durability::Durable).await;
        load::push_rule(&admin).await;
        load::bind_rule(&admin, 0).await;
        admin.push_plugin(&rule(), second_version()).await.unwrap();
        for bad in ["refuses-config", "early-state"] {
            admin.push_plugin(&rule(), probe(bad)).await.unwrap();
        }
        let crowd = Crowd::start(&broker.context(), PRODUCERS, CONSUMERS, &shared, rng).await;
        Self { broker, admin, shared, crowd }
    }

    async fn swap(&self, swap: u64) -> Result<ChainChange, AdminError> {
        swap_on(&self.admin, swap).await
    }

    async fn chain(&self) -> Chain {
        self.admin.chain(&load::topic(load::EVENTS)).await.unwrap()
    }

    /// Shows the ledger where the change took effect.
    fn changed(&self, change: &ChainChange) {
        for at in &change.since {
            let revision = change.chain.revision.0;
            self.shared.ledger().chain_changed(revision, at.partition.0, at.offset.0);
        }
    }

    /// Waits for some answers.
    async fn let_events_flow(&mut self) {
        let enough = self.shared.ledger().answered() + PHASE_EVENTS;
        while self.shared.ledger().answered() < enough {
            self.crowd.work(Duration::from_millis(2)).await;
        }
    }

    /// Neither says yes, and the version before goes on.
    async fn bind_a_bad_version(&self, name: &str) {
        let (version, code) = match name {
            "refuses-config" => ("3", "config-refused"),
            _ => ("4", "does-not-start"),
        };
        let before = self.chain().await;
        let spec = BindingSpec { version: Some(version.to_owned()), ..BindingSpec::default() };
        let told = self.admin.bind(&load::topic(load::EVENTS), &rule(), &spec).await;
        assert_eq!(told.unwrap_err().code(), Some(code));
        assert_eq!(self.chain().await, before);
    }

    /// The chain after a crash: the one before or the one that was to be, and every partition is there.
    async fn old_or_new(&self, before: &Chain, swap: u64) -> Chain {
        let after = self.chain().await;
        let versions = |chain: &Chain| -> Vec<u32> {
            chain.bindings.iter().map(|binding| binding.version).collect()
        };
        if after != *before {
            assert_eq!(after.revision.0, before.revision.0 + 1);
            assert_eq!(versions(&after), [1 + (swap as u32 + 1) % 2]);
        }
        let topic = self.admin.topic(&load::topic(load::EVENTS)).await.unwrap();
        for partition in &topic.partitions {
            assert_eq!(partition.chain_revision, after.revision, "{partition:?}");
        }
        let report = self.admin.plugin(&rule()).await.unwrap();
        let [binding] = &report.bindings[..] else { panic!("{report:?}") };
        let Binding { version, digest, .. } = &binding.binding;
        for partition in &binding.partitions {
            assert_eq!((partition.version, partition.digest), (Some(*version), Some(*digest)));
            assert!(partition.since.is_some(), "{partition:?}");
        }
        after
    }

    /// How long a lone publisher waits for each answer, in us, sorted; `Some`: while the chain of its
    /// topic is swapped.
    async fn measure(&self, row: Option<&mut Row>) -> Vec<u64> {
        /// Events, as many as make a p99.
        const EVENTS: usize = 500;
        load::create_topic(&self.admin, PROBED, 1, Durability::Os).await;
        let topic = load::topic(PROBED);
        let config = Some(serde_json::json!({ "limit": 1_000_000, "time": "event" }));
        let version = Some("1".to_owned());
        let spec = BindingSpec { version, config, ..BindingSpec::default() };
        self.admin.bind(&topic, &rule(), &spec).await.unwrap();
        let client = load::connect(&self.broker.context()).await;
        let producer = client.producer(&topic, ProducerOptions::default()).await.unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let swapping = row.is_some();
        let (waits, swaps) = tokio::join!(
            async {
                let waits = waits(&producer, EVENTS).await;
                done.store(true, Ordering::Relaxed);
                waits
            },
            async {
                let mut swaps = 0;
                while swapping && !done.load(Ordering::Relaxed) {
                    let version = Some((1 + swaps % 2).to_string());
                    let spec = BindingSpec { version, ..BindingSpec::default() };
                    self.admin.bind(&topic, &rule(), &spec).await.unwrap();
                    swaps += 1;
                }
                swaps
            }
        );
        producer.close().await;
        if let Some(row) = row {
            row.count("swaps while measuring", swaps);
        }
        waits
    }

    async fn finish(mut self, row: &mut Row) {
        let client = load::connect(&self.broker.context()).await;
        let (unanswered, consumed) = self.crowd.finish(&client).await;
        let topics = load::read_all(&client, true).await;
        load::expect_nothing_wrong(&self.shared, &topics, &self.broker);
        assert!(unanswered.refused.is_empty(), "{:#?}", unanswered.refused);
        self.broker.stop();
        let events = self.shared.ledger().len() as u64;
        row.count("events", events);
        row.count("unknown", unanswered.unknown);
        row.count("consumed", consumed.events);
        assert!(self.shared.ledger().answered() as u64 > events / 2, "{unanswered:?} of {events}");
    }
}

/// One event after the other.
async fn waits(producer: &Producer, events: usize) -> Vec<u64> {
    let mut waits = Vec::new();
    for number in 0..events {
        let event = Event {
            timestamp: Timestamp(1),
            key: Some(format!("user-{number}").into()),
            value: Some(Bytes::from_static(b"{}")),
            headers: Vec::new(),
        };
        let began = Instant::now();
        producer.send(event).await.unwrap().await.unwrap();
        waits.push(began.elapsed().as_micros() as u64);
    }
    waits.sort_unstable();
    waits
}

/// What `per_mille` of 1,000 values do not exceed.
fn at(sorted: &[u64], per_mille: usize) -> u64 {
    sorted[(sorted.len() * per_mille).div_ceil(1_000).max(1) - 1]
}
