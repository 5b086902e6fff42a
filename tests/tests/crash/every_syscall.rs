//! R3: the broker is killed at each of the syscalls with which it changes a file, one run for each,
//! while an operator and two producers go through a script: topics, a rule, batches, a committed
//! offset, a changed rule, a checkpoint, an orderly stop, a start, and more batches. After each kill
//! it is started again and the script goes on; in the end the ledger must hold.
//!
//! strace counts for each thread by itself, so "the N-th call" is that of the first thread that has
//! made so many. Which threads make which calls differs from run to run: points are hit more or
//! less often, and another seed hits others. Calls of `write` are the exception to "all": most wake
//! a thread and change no file, so only the first of each thread are tried, which are the small
//! files of a start.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use weir_client::{Client, ConsumerOptions, From};
use weir_tests::broker::Broker;
use weir_tests::load::{self, LIMIT, Sender, Shared};
use weir_tests::machine;
use weir_tests::strace::{self, Fault};
use weir_tests::torture::{Row, Size, size};
use weir_wire::admin::Durability;
use weir_wire::ids::GroupName;

/// Everything with which a file, a folder or a name changes.
const SYSCALLS: [&str; 16] = [
    "pwrite64",
    "pwritev",
    "pwritev2",
    "fdatasync",
    "fsync",
    "sync_file_range",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "write",
];
/// Calls of `write` that are tried per thread: beyond them come only wake-ups.
const WRITES_MAX: u64 = 40;
/// Every so many points run with every landing; which ones, the seed says.
const CI_STEP: usize = 8;
/// How long that may take. The points are in random order: what does not fit today fits another day.
const CI_MAX: Duration = Duration::from_secs(75);
/// Where a group of the script reads.
const GROUP: &str = "script";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_syscall_of_a_script() {
    let mut row = Row::begin("R3", "SIGKILL at every syscall");
    if let Err(why) = machine::program("strace", "strace") {
        return row.skipped(&why);
    }
    let mut points = points().await;
    row.count("points known", points.len() as u64);
    let mut rng = row.rng();
    if size() == Size::Ci {
        let first = rng.usize(..CI_STEP);
        points = points.into_iter().skip(first).step_by(CI_STEP).collect();
    }
    rng.shuffle(&mut points);
    let mut tried = BTreeSet::new();
    let mut points = VecDeque::from(points);
    while let Some((syscall, when)) = points.pop_front() {
        if !row.has_time(CI_MAX) {
            row.count("points left out for lack of time", 1);
            continue;
        }
        let kills = run(Some((syscall, when)), &mut rng).await;
        row.count("points", 1);
        row.count("kills", kills);
        // Threads share the calls differently each time, so a point near the end may be missed.
        row.count("undisturbed", u64::from(kills == 0));
        // Beyond what the watched run had: as long as there is such a call, there is a next one.
        let is_new =
            !points.contains(&(syscall, when + 1)) && !tried.contains(&(syscall, when + 1));
        let has_next = syscall != "write" || when < WRITES_MAX;
        tried.insert((syscall, when));
        if size() == Size::Release && kills > 0 && is_new && has_next {
            points.push_back((syscall, when + 1));
        }
    }
    row.passed();
}

/// Each point there is: a syscall, and how many of it a thread has made.
async fn points() -> Vec<(&'static str, u64)> {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    run_script(&mut fastrand::Rng::with_seed(0), |broker, second| {
        let trace = trace.with_extension(if second { "2" } else { "1" });
        broker.start_under(&strace::watch(&SYSCALLS.join(","), &trace)).expect("nothing kills it");
    })
    .await;
    let mut points = Vec::new();
    for syscall in SYSCALLS {
        let most = ["1", "2"].iter().map(|which| {
            let text = std::fs::read_to_string(trace.with_extension(which)).unwrap();
            most_in_one_thread(&text, syscall)
        });
        let most = most.max().unwrap_or(0);
        let most = if syscall == "write" { most.min(WRITES_MAX) } else { most };
        points.extend((1..=most).map(|when| (syscall, when)));
    }
    assert!(points.len() > 50, "the script changes few files, or strace tells little: {points:?}");
    points
}

fn most_in_one_thread(trace: &str, syscall: &str) -> u64 {
    let mut by_thread = BTreeMap::<&str, u64>::new();
    for (thread, _, _) in strace::calls(trace).filter(|(_, name, _)| *name == syscall) {
        *by_thread.entry(thread).or_default() += 1;
    }
    by_thread.into_values().max().unwrap_or(0)
}

/// The script with a kill at one point; gives how often the broker ended before its time.
async fn run(point: Option<(&'static str, u64)>, rng: &mut fastrand::Rng) -> u64 {
    let folder = TempDir::new().unwrap();
    let trace = folder.path().join("trace");
    let mut kills = 0;
    let wrapper = point.map(|(syscall, when)| {
        let fault = Fault {
            syscalls: syscall.to_owned(),
            when: when.to_string(),
            effect: "signal=SIGKILL".to_owned(),
            paths: Vec::new(),
        };
        strace::inject(&fault, &trace)
    });
    eprint!("{point:?} ");
    let more = run_script(rng, |broker, _| {
        if broker.start_under(wrapper.as_deref().unwrap_or_default()).is_err() {
            kills += 1;
            broker.start_again();
        }
    })
    .await;
    kills + more
}

/// The script; `start` starts the broker, the second time with `true`.
async fn run_script(rng: &mut fastrand::Rng, mut start: impl FnMut(&mut Broker, bool)) -> u64 {
    let mut broker = Broker::for_crashes();
    compile_once(&broker.data_dir()).await;
    let shared = Shared::new(Some(LIMIT));
    let context = broker.context();
    start(&mut broker, false);
    let (client, kills) = load::tend(&mut broker, first_act(&context, rng, &shared)).await;
    // The checkpoint is part of an orderly stop.
    let mut kills = kills + u64::from(!broker.end(Signal::TERM).success());
    start(&mut broker, true);
    kills += load::tend(&mut broker, second_act(&client, rng, &shared)).await.1;
    kills += u64::from(!broker.end(Signal::TERM).success());
    if rng.bool() {
        broker.delete_views();
    }
    broker.start_again();
    let topics = load::read_all(&client, true).await;
    load::look_at_cursor(&client, GROUP, &shared).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    let ledger = shared.ledger();
    assert_eq!(
        ledger.answered(),
        ledger.len(),
        "the producers had time enough to hear of everything"
    );
    drop(ledger);
    broker.stop();
    kills
}

async fn first_act(context: &Path, rng: &mut fastrand::Rng, shared: &Shared) -> Client {
    let client = load::connect(context).await;
    let admin = client.admin().unwrap();
    load::create_topic(&admin, load::NOTICES, 1, Durability::Durable).await;
    load::create_topic(&admin, load::EVENTS, 2, Durability::Durable).await;
    load::push_rule(&admin).await;
    load::bind_rule(&admin, 0).await;
    let mut one = Sender::open(&client, 1, shared).await;
    let mut two = Sender::open(&client, 2, shared).await;
    publish(&mut one, &mut two, rng, 5).await;
    read_and_commit(&client, shared).await;
    load::bind_rule(&admin, 1).await;
    publish(&mut one, &mut two, rng, 5).await;
    client
}

async fn second_act(client: &Client, rng: &mut fastrand::Rng, shared: &Shared) {
    // The same days again, by others: what the rule counted before the stop counts on.
    let mut three = Sender::open(client, 3, shared).await;
    let mut four = Sender::open(client, 4, shared).await;
    publish(&mut three, &mut four, rng, 3).await;
    read_and_commit(client, shared).await;
}

/// Batches of two producers, side by side.
async fn publish(one: &mut Sender, two: &mut Sender, rng: &mut fastrand::Rng, bursts: u32) {
    for _ in 0..bursts {
        let first = one.send(rng, 6).await;
        let second = two.send(rng, 6).await;
        let failures = [one.settle(first).await, two.settle(second).await].concat();
        assert!(failures.is_empty(), "{failures:?}");
    }
}

/// Reads what is there and commits it.
async fn read_and_commit(client: &Client, shared: &Shared) {
    load::look_at_cursor(client, GROUP, shared).await;
    let options = ConsumerOptions {
        from: From::Committed,
        until_end: true,
        group: Some(GroupName::parse(GROUP).unwrap()),
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer(&load::topic(load::EVENTS), options).await.unwrap();
    while let Some(batch) = consumer.next_batch().await {
        load::given(shared, &batch.unwrap());
    }
    assert!(load::commit(&mut consumer, GROUP, shared).await, "it has 30 s, and a start takes one");
}

/// Puts the compiled rule where the broker looks first: compiling costs more than all the rest.
async fn compile_once(data_dir: &Path) {
    static CACHE: OnceCell<(TempDir, PathBuf)> = OnceCell::const_new();
    let (_, cache) = CACHE
        .get_or_init(|| async {
            let mut broker = Broker::for_crashes();
            broker.start_again();
            load::push_rule(&load::connect(&broker.context()).await.admin().unwrap()).await;
            broker.stop();
            let kept = TempDir::new().unwrap();
            let cache = kept.path().join("cache");
            copy(&broker.data_dir().join("cache"), &cache);
            (kept, cache)
        })
        .await;
    std::fs::create_dir(data_dir).unwrap();
    copy(cache, &data_dir.join("cache"));
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success(), "cp: {status}");
}
