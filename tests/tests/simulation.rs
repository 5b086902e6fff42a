//! The whole broker under thousands of seeds (R1), and under bugs that were planted in it (R2).
//!
//! A seed that failed is run alone, and tells what it does, with
//! `WEIR_SEED=n cargo test --workspace --test simulation one_seed -- --nocapture`; with
//! `WEIR_TRACE=file` it writes down everything that happened.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_log::planted::Bug;
use weir_tests::simulation::trace::Trace;
use weir_tests::simulation::{Action, Finding, Lie, Report, Script, run};
use weir_tests::torture::{Row, sized};

/// Seeds of a CI run, where the time is enough: each run takes others, and says which.
const SEEDS: u64 = 4_000;
/// And of a release.
const SEEDS_RELEASE: u64 = 1_000_000;
/// CI has other things to do.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Between the first seeds of two runs: more than a run has, so that none is taken twice.
const SEEDS_APART: u64 = 10_000_019;
/// A planted bug has to show within so many seeds.
const SEEDS_PER_BUG: u64 = 4_000;

/// A run that cannot end the others: code that falls over is a finding too.
fn attempt(script: &Script, trace: Trace) -> Report {
    let kept = trace.clone();
    catch_unwind(AssertUnwindSafe(|| run(script, trace))).unwrap_or_else(|panic| {
        weir_log::planted::plant(None);
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let findings = vec![Finding::Panic(why.unwrap_or_default())];
        Report { findings, trace: kept, events: (0, 0), milliseconds: 0 }
    })
}

/// Calls `each` with the seeds from `first` on, on every core, until it returns false or `count`
/// were done.
fn with_seeds(first: u64, count: u64, each: impl Fn(u64) -> bool + Sync) -> u64 {
    let next = AtomicU64::new(first);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count || !each(seed) {
                        next.store(first + count, Ordering::SeqCst);
                        return;
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    done.into_inner()
}

#[test]
fn one_seed() {
    let seed = std::env::var("WEIR_SEED").map_or(1, |seed| seed.parse().unwrap());
    let file = std::env::var_os("WEIR_TRACE");
    let script = Script::of(seed);
    println!("{script:?}");
    let trace = if file.is_some() { Trace::with_lines() } else { Trace::default() };
    let report = run(&script, trace);
    if let Some(file) = file {
        std::fs::write(file, report.trace.lines().join("\n")).unwrap();
    }
    println!("{:016x} {:?} {} ms", report.trace.hash(), report.events, report.milliseconds);
    assert_eq!(report.findings, []);
}

#[test]
fn nothing_is_lost_doubled_or_invented_whatever_the_seed() {
    let mut row = Row::begin("R1", "simulation of the whole broker");
    let first = row.seed() * SEEDS_APART;
    let failed = Mutex::new(Vec::new());
    let (events, slept) = (AtomicU64::new(0), AtomicU64::new(0));
    let done = with_seeds(first, sized(SEEDS, SEEDS_RELEASE), |seed| {
        let script = Script::of(seed);
        let report = attempt(&script, Trace::default());
        events.fetch_add(report.events.0 as u64, Ordering::Relaxed);
        slept.fetch_add(report.milliseconds, Ordering::Relaxed);
        if !report.findings.is_empty() {
            let mut failed = failed.lock().unwrap();
            failed.push(format!("WEIR_SEED={seed}: {:?}\n  {script:?}", report.findings));
            return failed.len() < 5;
        }
        // One of a hundred is run again: the same to the last packet.
        if seed % 100 == 0 {
            let again = attempt(&script, Trace::default());
            assert_eq!(again.trace.hash(), report.trace.hash(), "seed {seed} is not reproducible");
        }
        row.has_time(TIME_MAX)
    });
    row.count("first seed", first);
    row.count("seeds", done);
    row.count("events", events.into_inner());
    row.count("simulated seconds", slept.into_inner() / 1_000);
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
    row.passed();
}

/// In these a client's handshake with a broker that was killed goes on to its successor. Its keys are
/// nobody's seed, and must make no difference.
#[test]
fn keys_decide_nothing() {
    for seed in [2_742, 27_667_914_418_941_400] {
        let run = || attempt(&Script::of(seed), Trace::default()).trace.hash();
        let first = run();
        assert!((0..8).all(|_| run() == first), "seed {seed} is not reproducible");
    }
}

/// The first seed that shows the bug, and how.
fn caught(plant: impl Fn(&mut Script) + Sync) -> Option<(u64, Finding)> {
    let found = Mutex::new(None);
    with_seeds(0, SEEDS_PER_BUG, |seed| {
        let mut script = Script::of(seed);
        plant(&mut script);
        let report = attempt(&script, Trace::default());
        match report.findings.into_iter().next() {
            None => true,
            Some(finding) => {
                found.lock().unwrap().get_or_insert((seed, finding));
                false
            }
        }
    });
    found.into_inner().unwrap()
}

macro_rules! planted {
    ($($name:ident: $plant:expr,)*) => {
        $(
            #[test]
            fn $name() {
                let plant: fn(&mut Script) = $plant;
                let (seed, finding) = caught(plant).expect("the simulation does not see this bug");
                let mut row = Row::begin("R2", stringify!($name));
                row.count("caught by seed", seed);
                row.passed();
                println!("seed {seed}: {finding:?}");
            }
        )*
    };
}

planted! {
    a_skipped_file_sync_is_caught: |script| script.disk_lies = Some(Lie::Files),
    a_skipped_folder_sync_is_caught: |script| script.disk_lies = Some(Lie::Folders),
    an_early_answer_is_caught: |script| script.bug = Some(Bug::AckBeforeSync),
    an_early_read_is_caught: |script| {
        script.bug = Some(Bug::ReadBeforeSync);
        // What is read has to be lost before it is synced, which on a quick disk happens in one of
        // thousands of runs.
        script.actions.insert(0, (0, Action::DiskTakes(20)));
    },
    ignored_checksums_are_caught: |script| script.bug = Some(Bug::IgnoreChecksums),
    a_reused_offset_is_caught: |script| script.bug = Some(Bug::ReuseOffset),
    a_lost_state_change_is_caught: |script| script.bug = Some(Bug::LoseStateChange),
    forgotten_duplicates_are_caught: |script| script.bug = Some(Bug::ForgetDuplicates),
    forgotten_relayed_events_are_caught: |script| script.bug = Some(Bug::ForgetRelayed),
    an_early_mark_of_the_relay_is_caught: |script| script.bug = Some(Bug::RelayMarkEarly),
    falling_time_is_caught: |script| script.bug = Some(Bug::TimeFalls),
    a_gap_in_a_swap_is_caught: |script| script.bug = Some(Bug::SwapGap),
    early_committed_offsets_are_caught: |script| script.bug = Some(Bug::CommitOffsetsEarly),
    an_ignored_mark_is_caught: |script| script.bug = Some(Bug::IgnoreTheMark),
    an_ignored_sync_failure_is_caught: |script| script.bug = Some(Bug::SyncFailureIgnored),
    a_mark_before_its_sync_is_caught: |script| script.bug = Some(Bug::MarkBeforeSync),
    a_tail_not_written_again_is_caught: |script| script.bug = Some(Bug::TailNotWrittenAgain),
    forgotten_refusals_are_caught: |script| script.bug = Some(Bug::ForgetRefusals),
    a_horizon_off_by_one_is_caught: |script| script.bug = Some(Bug::HorizonOffByOne),
    a_forgotten_outbox_is_caught: |script| script.bug = Some(Bug::OutboxForgotten),
}
