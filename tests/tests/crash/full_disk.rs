//! R7: the disk is full, again and again. Publishers hear `storage-full` at once, and nothing of
//! what they sent is stored; consumers, committed offsets and an orderly stop go on; when there is
//! room again the broker takes events again by itself.
//!
//! On a file system in memory, which a file fills and frees; and with ENOSPC at the K-th write.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use weir_client::{Client, Consumer, ConsumerOptions, From, ProducerOptions};
use weir_tests::broker::Broker;
use weir_tests::load::{self, Sender, Shared};
use weir_tests::machine::{self, Mount};
use weir_tests::strace::{self, Fault};
use weir_tests::torture::{Row, sized};
use weir_wire::admin::Durability;
use weir_wire::ids::GroupName;

/// Of the file system.
const DISK_BYTES: u64 = 64 << 20;
/// What the broker leaves for cursors and an orderly stop: 5 % of the file system.
const RESERVE_BYTES: u64 = DISK_BYTES / 20;
/// Of one event: a few dozen fill what the filler leaves.
const EVENT_BYTES: usize = 64 << 10;
/// Fills of one disk. Each leaves an event on it, and the first all those before: twice as many would
/// leave too little for a group, however empty the rest is.
const CYCLES: u32 = 20;
/// From an event to `storage-full`.
const FULL_HEARD_MAX: Duration = Duration::from_millis(100);
/// From the room that is there again to the next accepted event.
const ACCEPTS_AGAIN_MAX: Duration = Duration::from_secs(1);
const GROUP: &str = "reader";
/// Every so many writes, with every landing.
const CI_STEP: u64 = 8;
/// How long those may take.
const CI_MAX: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_and_free_again() {
    let mut row = Row::begin("R7", "full disk");
    let mut rng = row.rng();
    let mut slowest = [Duration::ZERO; 2];
    for _ in 0..sized(1, 10) {
        match Mount::tmpfs(DISK_BYTES) {
            Ok(mount) => fill_and_free(&mount, &mut row, &mut rng, &mut slowest).await,
            Err(why) => return row.skipped(&why),
        }
    }
    row.count("slowest refusal, ms", slowest[0].as_millis() as u64);
    row.count("slowest way back, ms", slowest[1].as_millis() as u64);
    row.passed();
}

async fn fill_and_free(
    mount: &Mount,
    row: &mut Row,
    rng: &mut fastrand::Rng,
    slowest: &mut [Duration; 2],
) {
    let (mut broker, shared) = broker_with_topic(Some(mount.path().join("weir-data"))).await;
    broker.start_again();
    let client = load::connect(&broker.context()).await;
    let mut reader = Reader::open(&client).await;
    let mut number = 0;
    for _ in 0..CYCLES {
        let filler = Filler::fill(&mount.path());
        // What is left above the reserve is used up by events.
        let heard = loop {
            number += 1;
            let mut sender = sender(&client, number, &shared, FULL_HEARD_MAX).await;
            let refused = send_one(&mut sender, &shared, rng).await;
            match refused {
                None => row.count("events before it is full", 1),
                Some(heard) => break heard,
            }
        };
        slowest[0] = slowest[0].max(heard);
        reader.read_and_commit(&client, &shared).await;

        drop(filler);
        let freed = Instant::now();
        loop {
            number += 1;
            let mut sender = sender(&client, number, &shared, FULL_HEARD_MAX).await;
            if send_one(&mut sender, &shared, rng).await.is_none() {
                break;
            }
            let waited = freed.elapsed();
            assert!(
                waited < ACCEPTS_AGAIN_MAX,
                "there is room, and it takes nothing for {waited:?}"
            );
        }
        slowest[1] = slowest[1].max(freed.elapsed());
        row.count("cycles", 1);
    }
    // An orderly stop on a full disk, and a start on it.
    let filler = Filler::fill(&mount.path());
    broker.stop();
    broker.start_again();
    let topics = load::read_all(&client, false).await;
    load::look_at_cursor(&client, GROUP, &shared).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    drop(filler);
    broker.stop();
}

/// Sends one event; how long it took to hear that the disk is full, if it is.
async fn send_one(
    sender: &mut Sender,
    shared: &Shared,
    rng: &mut fastrand::Rng,
) -> Option<Duration> {
    let began = Instant::now();
    let burst = sender.send(rng, 1).await;
    let names = burst.names();
    let refused = sender.settle(burst).await;
    let took = began.elapsed();
    let error = refused.first()?;
    assert!(load::is_full(error), "a full disk is said to be something else: {error:?}");
    assert!(took < 2 * FULL_HEARD_MAX, "it took {took:?} to say so");
    shared.refused(&names);
    Some(took)
}

/// Fills a file system up to the reserve, until it is dropped. Somebody who uses up the reserve,
/// too, leaves no room for anything: then weir can promise nothing but to lose nothing.
struct Filler(PathBuf);

impl Filler {
    fn fill(folder: &Path) -> Self {
        /// One write.
        static PIECE: [u8; 64 << 10] = [0x5a; 64 << 10];
        let path = folder.join("filler");
        let mut file = File::create(&path).unwrap();
        let space = || {
            let space = rustix::fs::statvfs(folder).unwrap();
            space.f_bavail * space.f_frsize
        };
        while space() > RESERVE_BYTES + PIECE.len() as u64 {
            file.write_all(&PIECE).unwrap();
        }
        Self(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// A consumer that goes on while the disk is full.
struct Reader(Consumer);

impl Reader {
    async fn open(client: &Client) -> Self {
        let options = ConsumerOptions {
            from: From::Earliest,
            group: Some(GroupName::parse(GROUP).unwrap()),
            ..ConsumerOptions::default()
        };
        Self(client.consumer(&load::topic(load::EVENTS), options).await.unwrap())
    }

    /// Reads up to the end and commits.
    async fn read_and_commit(&mut self, client: &Client, shared: &Shared) {
        let ends = client.latest_offsets(&load::topic(load::EVENTS)).await.unwrap();
        let is_behind = |reader: &Consumer| {
            let at: std::collections::BTreeMap<_, _> = reader.positions().collect();
            ends.iter().any(|(of, end)| at.get(of).map_or(end.0 > 0, |at| at < end))
        };
        while is_behind(&self.0) {
            let batch = self.0.next_batch().await.expect("it follows for ever").unwrap();
            load::given(shared, &batch);
        }
        assert!(load::commit(&mut self.0, GROUP, shared).await, "cursors go on on a full disk");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_space_at_the_kth_write_is_full_and_not_broken() {
    let mut row = Row::begin("R7", "ENOSPC at the K-th write");
    if let Err(why) = machine::program("strace", "strace") {
        return row.skipped(&why);
    }
    let mut rng = row.rng();
    let step = sized(CI_STEP, 1);
    let mut when = 1 + rng.u64(..step);
    while row.has_time(CI_MAX) {
        let failed = no_space(when, &mut rng).await;
        row.count("points", 1);
        row.count("failed", u64::from(failed));
        if !failed {
            break;
        }
        when += step;
    }
    row.passed();
}

/// Whether the call was reached.
async fn no_space(when: u64, rng: &mut fastrand::Rng) -> bool {
    let (mut broker, shared) = broker_with_topic(None).await;
    let trace = broker.folder().join("trace");
    let logs = std::fs::read_dir(broker.data_dir().join("log")).unwrap();
    let of_topic = logs
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(load::EVENTS))
        .unwrap();
    let segment = of_topic.join("0").join("00000000000000000000.log");
    let fault = Fault {
        syscalls: "pwrite64".to_owned(),
        when: when.to_string(),
        effect: "error=ENOSPC".to_owned(),
        paths: vec![std::fs::canonicalize(segment).unwrap().into()],
    };
    broker.start_under(&strace::inject(&fault, &trace)).expect("it fails later");
    let client = load::connect(&broker.context()).await;
    for number in 0..30 {
        // Long enough for one retry after `storage-full`: the disk has room again by then.
        let mut sender = sender(&client, number, &shared, Duration::from_secs(10)).await;
        sender.padding = 16;
        let refused = sender.publish(rng, 3).await;
        assert!(refused.is_empty(), "after one ENOSPC it goes on by itself: {refused:?}");
    }
    let reached = std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
    assert!(broker.end(Signal::TERM).success());
    broker.start_again();
    let topics = load::read_all(&client, false).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    broker.stop();
    reached
}

/// A broker that was stopped after it made a topic without a rule, and the ledger for it.
async fn broker_with_topic(data_dir: Option<PathBuf>) -> (Broker, Shared) {
    let mut broker = Broker::for_crashes();
    if let Some(data_dir) = data_dir {
        broker.set_data_dir(data_dir);
    }
    broker.start_again();
    let admin = load::connect(&broker.context()).await.admin().unwrap();
    load::create_topic(&admin, load::EVENTS, 1, Durability::Durable).await;
    broker.stop();
    (broker, Shared::new(None))
}

/// A producer that gives up after that time.
async fn sender(client: &Client, number: u32, shared: &Shared, give_up: Duration) -> Sender {
    let options = ProducerOptions {
        delivery_timeout: give_up,
        linger: Duration::ZERO,
        ..ProducerOptions::default()
    };
    let mut sender = Sender::open_with(client, number, shared, options).await;
    sender.padding = EVENT_BYTES;
    sender
}
