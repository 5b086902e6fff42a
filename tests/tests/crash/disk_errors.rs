//! R6: the disk fails the K-th write or sync of a partition's segment file, for every K. Nothing
//! that failed is answered as stored, nothing more is written to that file, the partition stands
//! still with a typed fault while its readers and the other partitions go on, and a restart mends
//! it. The same at the K-th call on any file of the broker: there only the ledger is asked.

use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use weir_client::{Client, ClientError, ProducerOptions, Route};
use weir_tests::broker::Broker;
use weir_tests::load::{self, Sender, Shared};
use weir_tests::machine;
use weir_tests::strace::{self, Fault};
use weir_tests::torture::{Row, sized};
use weir_wire::admin::Durability;
use weir_wire::fault::Code;
use weir_wire::ids::PartitionId;

/// What fails: everything the log does to a segment file that is there.
const SYSCALLS: [&str; 2] = ["pwrite64", "fdatasync"];
/// What fails on any file.
const ANYWHERE: [&str; 3] = ["pwrite64", "fdatasync", "fsync"];
/// Beyond them come only wake-ups of threads.
const WRITES_MAX: u64 = 40;
/// With every landing, every so many points run.
const CI_STEP: usize = 4;
/// How long each of the two may take there.
const CI_MAX: Duration = Duration::from_secs(45);
/// Batches of a run, one after another.
const BATCHES: u64 = 20;
const EVENTS_PER_BATCH: u64 = 5;
/// Partition 0 is the one that fails.
const PARTITIONS: u32 = 2;
/// How long a producer tries: long enough to be refused a few times.
const GIVE_UP: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_cannot_be_written_stops_its_partition() {
    let mut row = Row::begin("R6", "EIO on a segment");
    if let Err(why) = machine::program("strace", "strace") {
        return row.skipped(&why);
    }
    let mut rng = row.rng();
    for syscall in SYSCALLS {
        let step = sized(CI_STEP, 1);
        let mut when = 1 + rng.u64(..step as u64);
        while row.has_time(CI_MAX) {
            let failed = fail_segment(syscall, when, &mut rng).await;
            row.count("points", 1);
            row.count("failed", u64::from(failed));
            if !failed {
                break;
            }
            when += step as u64;
        }
    }
    row.passed();
}

/// Whether the call was reached.
async fn fail_segment(syscall: &str, when: u64, rng: &mut fastrand::Rng) -> bool {
    eprint!("({syscall}, {when}) ");
    let (mut broker, shared) = broker_with_topics().await;
    let trace = broker.folder().join("trace");
    let fault = Fault {
        syscalls: SYSCALLS.join(","),
        when: when.to_string(),
        effect: "error=EIO".to_owned(),
        paths: vec![segment(&broker).into()],
    };
    broker.start_under(&strace::inject_one(&fault, syscall, &trace)).expect("it fails later");
    let client = load::connect(&broker.context()).await;
    // The first sync is part of opening: a log that fails there is not opened, and has no readers.
    let is_open = stopped(&client).await[0].is_none();
    let mut doomed = sender(&client, 0, 0, &shared).await;
    let mut other = sender(&client, 1, 1, &shared).await;
    let mut failures = Vec::new();
    for _ in 0..BATCHES {
        let refused = doomed.publish(rng, EVENTS_PER_BATCH).await;
        let lucky = other.publish(rng, EVENTS_PER_BATCH).await;
        assert!(lucky.is_empty(), "the other partition goes on: {lucky:?}");
        failures.extend(refused);
        if !failures.is_empty() {
            break;
        }
    }
    if !failures.is_empty() {
        stands_still(&client, &mut doomed, rng).await;
        if is_open {
            readers_go_on(&client, &shared).await;
        }
    }
    broker.end(Signal::TERM);
    let reached = nothing_written_after_the_failure(&trace);
    // A sync that fails while the broker goes down, or a mark: nobody waits for those.
    assert!(reached || failures.is_empty(), "refused, and nothing had failed: {failures:?}");

    broker.start_again();
    let mut again = sender(&client, 2, 0, &shared).await;
    let refused = again.publish(rng, EVENTS_PER_BATCH).await;
    assert!(refused.is_empty(), "a restart mends it: {refused:?}");
    let topics = load::read_all(&client, false).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    broker.stop();
    reached
}

/// The operator sees it, and a publisher hears it by its name.
async fn stands_still(client: &Client, doomed: &mut Sender, rng: &mut fastrand::Rng) {
    let [Some(why), None] = &stopped(client).await[..] else {
        panic!("it alone should stand still: {:?}", stopped(client).await);
    };
    assert!(why.contains(Code::StorageBroken.as_str()), "{why}");
    let heard = doomed.publish(rng, 1).await;
    // The code says that the batch may be stored, so the SDK calls it unknown in the end.
    let is_typed = |error: &ClientError| match error {
        ClientError::Unknown => true,
        ClientError::Fault(fault) => fault.code == Code::StorageBroken,
        _ => false,
    };
    assert!(heard.len() == 1 && is_typed(&heard[0]), "{heard:?}");
}

/// Why each partition stands still, if it does.
async fn stopped(client: &Client) -> Vec<Option<String>> {
    let seen = client.admin().unwrap().topic(&load::topic(load::EVENTS)).await.unwrap();
    seen.partitions.into_iter().map(|partition| partition.stopped).collect()
}

/// What was answered as stored can be read meanwhile.
async fn readers_go_on(client: &Client, shared: &Shared) {
    let read = load::read_topic(client, load::EVENTS).await;
    let stored: usize = read.iter().map(Vec::len).sum();
    assert!(shared.ledger().answered() <= stored, "readers miss what was answered");
    for (partition, events) in (0..).zip(&read) {
        for event in events {
            shared.ledger().given(partition, event);
        }
    }
}

/// Whether the trace has the failure; fails if the file was written after it.
fn nothing_written_after_the_failure(trace: &std::path::Path) -> bool {
    let trace = std::fs::read_to_string(trace).unwrap();
    let mut lines = trace.lines().skip_while(|line| !line.contains("(INJECTED)"));
    let failure = lines.next();
    // What another thread had begun before may end after it.
    let after: Vec<_> = lines.filter(|line| line.contains("pwrite64(")).collect();
    assert!(after.is_empty(), "written after {failure:?}: {after:?}");
    failure.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_once_anywhere_loses_nothing() {
    let mut row = Row::begin("R6", "EIO on any file");
    if let Err(why) = machine::program("strace", "strace") {
        return row.skipped(&why);
    }
    let mut rng = row.rng();
    for syscall in ANYWHERE {
        let step = sized(2 * CI_STEP as u64, 1);
        let mut when = 1 + rng.u64(..step);
        while row.has_time(CI_MAX) {
            let failed = fail_anywhere(syscall, when, &mut rng).await;
            row.count("points", 1);
            row.count("failed", u64::from(failed));
            if !failed || (syscall == "write" && when > WRITES_MAX) {
                break;
            }
            when += step;
        }
    }
    row.passed();
}

async fn fail_anywhere(syscall: &str, when: u64, rng: &mut fastrand::Rng) -> bool {
    eprint!("({syscall}, {when}) ");
    let (mut broker, shared) = broker_with_topics().await;
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let fault = Fault {
        syscalls: syscall.to_owned(),
        when: when.to_string(),
        effect: "error=EIO".to_owned(),
        paths: Vec::new(),
    };
    // A start that cannot do its work says so and ends; an operator starts it again.
    if broker.start_under(&strace::inject(&fault, &trace)).is_err() {
        broker.start_again();
    }
    let client = load::connect(&broker.context()).await;
    let work = async {
        let one = Sender::try_open_with(&client, 0, &shared, options(0)).await;
        let two = Sender::try_open_with(&client, 1, &shared, options(1)).await;
        let (mut one, mut two) = match (one, two) {
            (Ok(one), Ok(two)) => (one, two),
            // It was the catalog that could not be written, which remembers producers' numbers.
            (Err(error), _) | (_, Err(error)) => {
                assert!(is_broken(&error), "{error}");
                return;
            }
        };
        for _ in 0..BATCHES / 2 {
            let failed = one.publish(rng, EVENTS_PER_BATCH).await;
            let also = two.publish(rng, EVENTS_PER_BATCH).await;
            if !failed.is_empty() || !also.is_empty() {
                break;
            }
        }
    };
    load::tend(&mut broker, work).await;
    broker.end(Signal::TERM);
    let reached = std::fs::read_to_string(&trace).unwrap().contains("(INJECTED)");
    broker.start_again();
    for partition in 0..PARTITIONS {
        let mut again = sender(&client, 2 + partition, partition, &shared).await;
        let refused = again.publish(rng, EVENTS_PER_BATCH).await;
        assert!(refused.is_empty(), "a restart mends it: {refused:?}");
    }
    let topics = load::read_all(&client, false).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    broker.stop();
    reached
}

/// A broker that was stopped after it made a topic without a rule, and the ledger for it.
async fn broker_with_topics() -> (Broker, Shared) {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    let client = load::connect(&broker.context()).await;
    let admin = client.admin().unwrap();
    load::create_topic(&admin, load::EVENTS, PARTITIONS, Durability::Durable).await;
    broker.stop();
    (broker, Shared::new(None))
}

/// The one segment of partition 0.
pub fn segment(broker: &Broker) -> std::path::PathBuf {
    let logs = std::fs::read_dir(broker.data_dir().join("log")).unwrap();
    let mut of_topic = logs
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(load::EVENTS));
    let folder = of_topic.next().unwrap().join("0");
    std::fs::canonicalize(folder.join("00000000000000000000.log")).unwrap()
}

/// A producer for one partition that gives up soon.
async fn sender(client: &Client, number: u32, partition: u32, shared: &Shared) -> Sender {
    Sender::open_with(client, number, shared, options(partition)).await
}

fn options(partition: u32) -> ProducerOptions {
    ProducerOptions {
        delivery_timeout: GIVE_UP,
        route: Route::To(PartitionId(partition)),
        ..ProducerOptions::default()
    }
}

/// Whether the broker says that its log is broken and a restart mends it.
fn is_broken(error: &ClientError) -> bool {
    matches!(error, ClientError::Fault(fault) if fault.code == Code::StorageBroken)
}
