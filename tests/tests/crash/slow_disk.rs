//! R13: syncs of half a second, and writes that stand still for seconds, under more publishers than
//! the partition takes. Memory stays bounded, whoever waits hears in the end, nothing is lost or
//! doubled, and everything goes on. That the fault is typed is seen in process, where time is the
//! test's: `tests/schedules.rs`.

use std::ffi::OsString;
use std::time::Duration;

use rustix::process::Signal;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use weir_client::ProducerOptions;
use weir_tests::broker::Broker;
use weir_tests::load::{self, Sender, Shared};
use weir_tests::machine;
use weir_tests::strace;
use weir_tests::torture::{Row, sized};
use weir_wire::admin::Durability;

use super::disk_errors::segment;

/// How long CI takes part.
const CI_MAX: Duration = Duration::from_secs(60);
/// Microseconds that every sync of the segment takes longer.
const SYNC_TAKES_US: u64 = 500_000;
/// And that some writes do: longer than a publisher waits at the door.
const WRITE_STALLS_US: u64 = 6_500_000;
/// Enough for a stall and what follows it.
const LOAD_TIME: Duration = Duration::from_secs(9);
/// Each with a stream of its own, and up to 16 batches on the way.
const SENDERS: u32 = 24;
const EVENT_BYTES: usize = 16 << 10;
/// What the broker may take for batches of all clients, and as much for what they become.
const MEMORY_MAX: u64 = 2 * (256 << 20);
/// From an event to its answer.
const DELIVERY_WAIT_MAX: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_costs_bounded_memory_and_no_event() {
    let mut row = Row::begin("R13", "slow disk under the real program");
    if let Err(why) = machine::program("strace", "strace") {
        return row.skipped(&why);
    }
    let mut rng = row.rng();
    for _ in 0..sized(2, 200) {
        if row.has_time(CI_MAX) {
            run(&mut row, &mut rng).await;
        }
    }
    row.passed();
}

async fn run(row: &mut Row, rng: &mut fastrand::Rng) {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    let client = load::connect(&broker.context()).await;
    load::create_topic(&client.admin().unwrap(), load::EVENTS, 1, Durability::Durable).await;
    broker.stop();

    let (shared, trace) = (Shared::new(None), broker.folder().join("trace"));
    broker.start_under(&slow(&broker, 2 + rng.u64(..4), &trace)).expect("it is only slow");
    let before = broker.memory_peak();
    let mut senders = JoinSet::new();
    let stop = tokio::sync::watch::Sender::new(false);
    for number in 0..SENDERS {
        let options = ProducerOptions {
            batch_events: 1,
            window: 16,
            delivery_timeout: DELIVERY_WAIT_MAX,
            ..ProducerOptions::default()
        };
        let client = load::connect(&broker.context()).await;
        let mut sender = Sender::open_with(&client, number, &shared, options).await;
        sender.padding = EVENT_BYTES;
        senders.spawn(sender.run(rng.fork(), stop.subscribe()));
    }
    let until = Instant::now() + LOAD_TIME;
    while Instant::now() < until {
        let peak = broker.memory_peak() - before;
        assert!(peak < MEMORY_MAX, "{peak} bytes more than without publishers");
        sleep(Duration::from_millis(100)).await;
    }
    stop.send_replace(true);
    while let Some(ended) = senders.join_next().await {
        let unanswered = ended.unwrap();
        assert!(unanswered.refused.is_empty() && unanswered.unknown == 0, "{unanswered:?}");
    }
    let peak = broker.memory_peak() - before;
    assert!(peak < MEMORY_MAX, "{peak} bytes more than without publishers");
    // As slow as its disk, but in order: it would end with another status.
    assert!(broker.end(Signal::TERM).success(), "{}", broker.log());
    broker.start_again();
    let topics = load::read_all(&client, false).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    let answered = shared.ledger().answered();
    let sent = shared.ledger().len();
    assert_eq!(answered, sent, "everyone has an answer");
    broker.stop();
    let trace = std::fs::read_to_string(&trace).unwrap();
    row.count("runs", 1);
    row.count("events", sent as u64);
    row.count("slow calls", trace.matches("(DELAYED)").count() as u64);
    row.count("MiB at most", peak >> 20);
}

/// The words that make every sync of the segment slow, and each thread's `when`-th write of it stand
/// still.
fn slow(broker: &Broker, when: u64, trace: &std::path::Path) -> Vec<OsString> {
    let fault = strace::Fault {
        syscalls: "fdatasync,pwrite64".to_owned(),
        when: "1+".to_owned(),
        effect: format!("delay_enter={SYNC_TAKES_US}"),
        paths: vec![segment(broker).into()],
    };
    let mut words = strace::inject_one(&fault, "fdatasync", trace);
    let stall = format!("inject=pwrite64:delay_enter={WRITE_STALLS_US}:when={when}");
    words.extend(["-e".into(), stall.into()]);
    words
}
