//! R11 and R13: what happens at the same time, under as many schedules as there is time for; and races that
//! were planted, which have to be seen.
//!
//! A schedule that failed is played again with
//! `WEIR_SEED=n cargo test --workspace --test schedules one_schedule -- --nocapture`.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout, reason = "tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use weir_log::planted::Bug;
use weir_tests::schedules::{Scene, Threads, run, slow_disk};
use weir_tests::torture::{Row, sized};

/// Of each scene, where the time is enough.
const SCHEDULES: u64 = 5_000;
const SCHEDULES_RELEASE: u64 = 100_000;
/// CI has other things to do, and there are five scenes.
const TIME_MAX: Duration = Duration::from_secs(12);
/// A planted race has to show within so many.
const SCHEDULES_PER_BUG: u64 = 5_000;

fn plays(what: &'static str, scene: Scene) {
    let mut row = Row::begin("R11", what);
    let (threads, first) = (Threads::default(), row.seed() << 20);
    let (mut different, mut cuts, mut done) = (BTreeSet::new(), 0, 0);
    for seed in first..first + sized(SCHEDULES, SCHEDULES_RELEASE) {
        if !row.has_time(TIME_MAX) {
            break;
        }
        let report = run(scene, seed, None, &threads);
        assert!(report.findings.is_empty(), "{scene:?}, seed {seed}: {:#?}", report.findings);
        different.insert(report.choices);
        (cuts, done) = (cuts + u64::from(report.was_cut), done + 1);
    }
    row.count("schedules", done);
    row.count("different ones", different.len() as u64);
    row.count("cut short", cuts);
    // The power may go before there was any choice; else chance does not choose twice the same.
    assert!(done * 9 / 10 <= different.len() as u64, "{} of {done}", different.len());
    row.passed();
}

#[test]
fn group_commit() {
    plays("group commit", Scene::GroupCommit);
}

#[test]
fn hot_swap() {
    plays("hot swap", Scene::HotSwap);
}

#[test]
fn shutdown() {
    plays("shutdown", Scene::Shutdown);
}

#[test]
fn cursor() {
    plays("cursor", Scene::Cursor);
}

#[test]
fn wake_up() {
    plays("wake-up", Scene::WakeUp);
}

/// R13, without the real program: see `crash/slow_disk.rs` for that.
#[test]
fn a_slow_disk_takes_a_bounded_number_of_batches_and_sends_the_others_away() {
    let mut row = Row::begin("R13", "slow disk, in process");
    let first = row.seed() << 20;
    for seed in first..first + sized(10, 200) {
        if !row.has_time(TIME_MAX) {
            break;
        }
        let slow = slow_disk::run(seed);
        assert!(slow.findings.is_empty(), "seed {seed}: {:#?}", slow.findings);
        row.count("runs", 1);
        row.count("sent away", slow.overloaded);
    }
    row.passed();
}

#[test]
fn one_schedule() {
    let seed = std::env::var("WEIR_SEED").map_or(1, |seed| seed.parse().unwrap());
    let threads = Threads::default();
    for scene in [Scene::GroupCommit, Scene::HotSwap, Scene::Shutdown, Scene::Cursor, Scene::WakeUp]
    {
        let (once, again) = (run(scene, seed, None, &threads), run(scene, seed, None, &threads));
        println!("{scene:?}: {once:?}");
        assert_eq!(once.choices, again.choices, "{scene:?} under {seed} is not reproducible");
        assert_eq!(once.findings, Vec::<String>::new(), "{scene:?}");
    }
}

fn is_caught(what: &'static str, scene: Scene, bug: Bug) {
    let threads = Threads::default();
    let mut findings =
        (0..SCHEDULES_PER_BUG).map(|seed| (seed, run(scene, seed, Some(bug), &threads).findings));
    let found = findings.find(|(_, findings)| !findings.is_empty());
    let (seed, finding) = found.expect("no schedule shows this race");
    let mut row = Row::begin("R2", what);
    row.count("caught by schedule", seed);
    row.passed();
    println!("{bug:?} under {seed}: {finding:?}");
}

#[test]
fn an_early_answer_is_caught() {
    is_caught("an early answer is caught", Scene::GroupCommit, Bug::AckBeforeSync);
}

#[test]
fn a_sync_that_ends_too_early_is_caught() {
    is_caught("a sync that ends too early is caught", Scene::GroupCommit, Bug::SyncEndsEarly);
}

#[test]
fn a_roll_without_a_sync_is_caught() {
    is_caught("a roll without a sync is caught", Scene::GroupCommit, Bug::RollUnsynced);
}

#[test]
fn a_gap_in_a_swap_is_caught() {
    is_caught("a gap in a swap is caught", Scene::HotSwap, Bug::SwapGap);
}

#[test]
fn answers_given_for_closing_are_caught() {
    is_caught("answers given for closing are caught", Scene::Shutdown, Bug::AnswerAtClose);
}

#[test]
fn an_early_cursor_is_caught() {
    is_caught("an early cursor is caught", Scene::Cursor, Bug::CommitOffsetsEarly);
}

#[test]
fn a_lost_wake_up_is_caught() {
    is_caught("a lost wake-up is caught", Scene::WakeUp, Bug::LookAfterFetch);
}
