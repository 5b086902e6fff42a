//! How large a test of the torture runs, with which seed, and where it writes down what it did.
//!
//! Four variables of the environment, which `cargo xtask torture` sets: `WEIR_TORTURE_SIZE` (`ci`,
//! the default, or `release`), `WEIR_SEED` (a number; by default chance's), `WEIR_TORTURE_MINUTES`
//! (a row of the release begins nothing new after them; by default it runs to its end), and
//! `WEIR_TORTURE_RESULTS` (a file that gets one line of JSON from each [`Row`]).
//!
//! Promises: a row that was begun leaves exactly one line, also when it panics.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

/// How much of a row runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// With every landing.
    Ci,
    /// By `cargo xtask torture`, for hours.
    Release,
}

/// See [`Size`].
pub fn size() -> Size {
    match std::env::var("WEIR_TORTURE_SIZE").as_deref() {
        Ok("release") => Size::Release,
        Ok("ci") | Err(_) => Size::Ci,
        Ok(other) => panic!("WEIR_TORTURE_SIZE is {other:?}; write ci or release"),
    }
}

/// `ci` or `release`, by the size.
pub fn sized<T>(ci: T, release: T) -> T {
    match size() {
        Size::Ci => ci,
        Size::Release => release,
    }
}

/// One row of the table of goals, at work.
pub struct Row {
    row: &'static str,
    what: &'static str,
    seed: u64,
    began: Instant,
    counts: Map<String, Value>,
    is_done: bool,
}

impl Row {
    /// Begins a row of that name; `what` tells it from its neighbours of the same name.
    pub fn begin(row: &'static str, what: &'static str) -> Self {
        let seed = match std::env::var("WEIR_SEED") {
            Ok(seed) => seed.parse().expect("WEIR_SEED is a number"),
            Err(_) => u64::from(fastrand::u32(..)),
        };
        eprintln!("{row} {what}: WEIR_SEED={seed} repeats it");
        Self { row, what, seed, began: Instant::now(), counts: Map::new(), is_done: false }
    }

    /// The seed of everything that is chance in it.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Chance.
    pub fn rng(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed)
    }

    /// Whether it may begin something new. With every landing it has `ci_max`.
    pub fn has_time(&self, ci_max: Duration) -> bool {
        let minutes = std::env::var("WEIR_TORTURE_MINUTES").ok();
        let minutes = minutes.map(|text| text.parse().expect("WEIR_TORTURE_MINUTES is a number"));
        let release_max =
            minutes.map_or(Duration::MAX, |minutes: u64| Duration::from_secs(minutes * 60));
        self.began.elapsed() < sized(ci_max, release_max)
    }

    /// Adds to one of its counts.
    pub fn count(&mut self, of: &str, more: u64) {
        let before = self.counts.get(of).and_then(Value::as_u64).unwrap_or(0);
        self.counts.insert(of.to_owned(), json!(before + more));
    }

    /// It held.
    pub fn passed(mut self) {
        self.write("passed");
    }

    /// This machine cannot run it: said aloud, and a failure where the release is at stake.
    pub fn skipped(mut self, why: &str) {
        eprintln!("\n!!! {} {} WAS NOT RUN: {why}\n", self.row, self.what);
        self.counts.insert("why".to_owned(), json!(why));
        self.write("skipped");
        assert!(size() == Size::Ci, "{} {} has to run for a release: {why}", self.row, self.what);
    }

    fn write(&mut self, result: &str) {
        self.is_done = true;
        let seconds = (self.began.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        let line = json!({
            "row": self.row, "what": self.what, "result": result, "seed": self.seed,
            "seconds": seconds, "counts": self.counts,
        });
        eprintln!("{line}");
        let Some(path) = std::env::var_os("WEIR_TORTURE_RESULTS") else { return };
        let results = File::options().create(true).append(true).open(&path);
        // One write, so that rows side by side do not mix their lines.
        if let Err(error) =
            results.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        {
            eprintln!("{}: {error}", path.display());
        }
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if !self.is_done {
            self.write("failed");
        }
    }
}
