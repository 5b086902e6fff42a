//! R4: the broker is killed again and again while eight idempotent producers and four consumers
//! work; in the end every event was judged once, and what was answered is what stands there.

use std::time::Duration;

use rustix::process::Signal;
use weir_tests::broker::Broker;
use weir_tests::load::{self, Crowd, LIMIT, Shared};
use weir_tests::torture::{Row, sized};
use weir_wire::admin::Durability;

/// Kills between two checks: reading everything costs as much as some of them.
const ROUND_CYCLES: u64 = 200;
/// How long a round may take where every landing runs it; what does not fit is not run.
const CI_ROUND_MAX: Duration = Duration::from_secs(90);
/// What a release runs.
const RELEASE_CYCLES: u64 = 10_000;
/// From a start to the kill, in ms.
const LIFE_MS: std::ops::RangeInclusive<u64> = 5..=500;
const PRODUCERS: u32 = 8;
const CONSUMERS: u32 = 4;
const PARTITIONS: u32 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_again_and_again_under_load() {
    let mut row = Row::begin("R4", "SIGKILL loop");
    let mut rng = row.rng();
    for _ in 0..sized(1, RELEASE_CYCLES / ROUND_CYCLES) {
        if row.has_time(CI_ROUND_MAX) {
            round(&mut row, &mut rng).await;
        }
    }
    row.passed();
}

async fn round(row: &mut Row, rng: &mut fastrand::Rng) {
    let mut broker = Broker::for_crashes();
    broker.start_again();
    let shared = Shared::new(Some(LIMIT));
    let client = load::connect(&broker.context()).await;
    let admin = client.admin().unwrap();
    load::create_topic(&admin, load::NOTICES, 1, Durability::Durable).await;
    load::create_topic(&admin, load::EVENTS, PARTITIONS, Durability::Durable).await;
    load::push_rule(&admin).await;
    load::bind_rule(&admin, 0).await;

    let mut crowd = Crowd::start(&broker.context(), PRODUCERS, CONSUMERS, &shared, rng).await;
    for _ in 0..ROUND_CYCLES {
        if !row.has_time(CI_ROUND_MAX) {
            break;
        }
        crowd.work(Duration::from_millis(rng.u64(LIFE_MS))).await;
        // An orderly stop under load, too: the next start finds checkpoints and no torn tail.
        let signal = if rng.u8(..10) == 0 { Signal::TERM } else { Signal::KILL };
        broker.end(signal);
        if rng.u8(..10) == 0 {
            broker.delete_views();
            row.count("views deleted", 1);
        }
        broker.start_again();
        row.count(if signal == Signal::TERM { "stops" } else { "kills" }, 1);
    }
    let (unanswered, consumed) = crowd.finish(&client).await;
    let topics = load::read_all(&client, true).await;
    load::expect_nothing_wrong(&shared, &topics, &broker);
    assert!(unanswered.refused.is_empty(), "{:#?}", unanswered.refused);

    // Everything is a fold of the log: without the views the same is there.
    broker.stop();
    broker.delete_views();
    broker.start_again();
    let again = load::read_all(&client, true).await;
    load::expect_nothing_wrong(&shared, &again, &broker);
    broker.stop();

    let events = shared.ledger().len() as u64;
    row.count("events", events);
    row.count("unknown", unanswered.unknown);
    row.count("consumed", consumed.events);
    row.count("commits", consumed.commits);
    assert!(shared.ledger().answered() as u64 > events / 2, "{unanswered:?} of {events}");
    assert!(consumed.events > 0 && consumed.commits > 0, "the consumers did nothing: {consumed:?}");
}
