//! R5: the power is cut under load. The data directory is on an ext4 of its own, whose shutdown
//! drops whatever was not synced; then the broker is killed, the file system mounted again, the
//! broker started. What was answered is there. With topics of durability `os` something must get
//! lost, else this test would see nothing.

use std::time::Duration;

use rustix::process::Signal;
use weir_tests::broker::Broker;
use weir_tests::load::{self, Crowd, LIMIT, Shared};
use weir_tests::machine::{self, Mount};
use weir_tests::torture::{Row, sized};
use weir_wire::admin::Durability;

/// Of the file system: the log's reserve and a lot of events. The file is sparse.
const DISK_BYTES: u64 = 1 << 30;
/// Cuts between two checks.
const ROUND_CYCLES: u64 = 100;
/// What fits into a landing; what does not is not run.
const CI_ROUND_MAX: Duration = Duration::from_secs(60);
const RELEASE_CYCLES: u64 = 2_000;
/// From a start to the cut, in ms. Beyond 5 s ext4 writes its journal by itself.
const LIFE_MS: std::ops::RangeInclusive<u64> = 5..=300;
/// Cuts in which a topic of durability `os` has to lose something.
const BLIND_CYCLES_MAX: u64 = 20;
const PRODUCERS: u32 = 8;
const CONSUMERS: u32 = 2;
const PARTITIONS: u32 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cut_under_load() {
    let mut row = Row::begin("R5", "power cut");
    let mut rng = row.rng();
    for _ in 0..sized(1, RELEASE_CYCLES / ROUND_CYCLES) {
        if !row.has_time(CI_ROUND_MAX) {
            break;
        }
        let mut house = match House::build(Durability::Durable, &mut rng).await {
            Ok(house) => house,
            Err(why) => return row.skipped(&why),
        };
        for _ in 0..ROUND_CYCLES {
            if !row.has_time(CI_ROUND_MAX) {
                break;
            }
            house.live_and_cut(rng.u64(LIFE_MS)).await;
            row.count("cuts", 1);
        }
        let House { mut broker, crowd, shared, mount } = house;
        let client = load::connect(&broker.context()).await;
        let (unanswered, consumed) = crowd.finish(&client).await;
        let topics = load::read_all(&client, true).await;
        load::expect_nothing_wrong(&shared, &topics, &broker);
        assert!(unanswered.refused.is_empty(), "{:#?}", unanswered.refused);
        broker.stop();
        drop(mount);
        row.count("events", shared.ledger().len() as u64);
        row.count("unknown", unanswered.unknown);
        row.count("consumed", consumed.events);
    }
    row.passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_syncs_a_power_cut_loses_what_was_answered() {
    let mut row = Row::begin("R5", "control: durability os");
    let mut rng = row.rng();
    for _ in 0..BLIND_CYCLES_MAX {
        let mut house = match House::build(Durability::Os, &mut rng).await {
            Ok(house) => house,
            Err(why) => return row.skipped(&why),
        };
        house.live_and_cut(*LIFE_MS.end()).await;
        row.count("cuts", 1);
        let House { mut broker, crowd, shared, mount } = house;
        // Nobody sends any more: what the ledger has is what was answered before the cut.
        drop(crowd);
        let client = load::connect(&broker.context()).await;
        let topics = load::read_all(&client, true).await;
        let lost = shared.ledger().check(&topics);
        broker.kill();
        drop(mount);
        let lost = lost.iter().filter(|violation| violation.invariant == "I1").count();
        if lost > 0 {
            row.count("answered and lost", lost as u64);
            return row.passed();
        }
    }
    panic!("{BLIND_CYCLES_MAX} power cuts lost nothing that was never synced: nothing was cut");
}

/// A broker on a file system that can be cut, and its load.
struct House {
    // The broker goes before its disk.
    broker: Broker,
    crowd: Crowd,
    shared: Shared,
    mount: Mount,
}

impl House {
    async fn build(durability: Durability, rng: &mut fastrand::Rng) -> Result<Self, String> {
        machine::program("xfs_io", "xfsprogs")?;
        let mount = Mount::ext4(DISK_BYTES)?;
        let mut broker = Broker::for_crashes();
        broker.set_data_dir(mount.path().join("weir-data"));
        broker.start_again();
        let client = load::connect(&broker.context()).await;
        let admin = client.admin().unwrap();
        load::create_topic(&admin, load::NOTICES, 1, durability).await;
        load::create_topic(&admin, load::EVENTS, PARTITIONS, durability).await;
        load::push_rule(&admin).await;
        load::bind_rule(&admin, 0).await;
        let shared = Shared::new(Some(LIMIT));
        let crowd = Crowd::start(&broker.context(), PRODUCERS, CONSUMERS, &shared, rng).await;
        Ok(Self { broker, crowd, shared, mount })
    }

    /// From here the machine works: a failure is the test's own.
    async fn live_and_cut(&mut self, life_ms: u64) {
        let knife = self.mount.knife().unwrap();
        self.crowd.work(Duration::from_millis(life_ms)).await;
        // A processor without power runs nothing. Not stopped, the broker goes on above a dead file
        // system, and there an fdatasync can come back with success, as it does once in a hundred
        // cuts: the answer it lets out would be one that nobody hears in a real power cut. What is
        // in the kernel by now goes on, and is cut in the middle.
        self.broker.signal(Signal::STOP);
        knife.cut().unwrap();
        self.broker.kill();
        self.mount.repair().unwrap();
        self.broker.start_again();
    }
}
