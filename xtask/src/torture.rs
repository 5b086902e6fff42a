//! `cargo xtask torture`: the rows of the reliability goals at the size of a release, one after
//! another, and a file with what they did.
//!
//! Promises: a row that fails is written down with its seed, the others run all the same, and the
//! command fails. How a test takes part: see `tests/src/torture.rs`; one that does not is written
//! down by its exit code. A new row is a line in [`ROWS`].

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{fuzz, root};

/// What runs a row.
enum Work {
    /// What cargo's `test --workspace` gets, and which tests of that.
    Tests(&'static [&'static str], &'static [&'static str]),
    /// All targets of the fuzzer.
    Fuzz,
}

use Work::{Fuzz, Tests};

/// A row of the reliability goals.
struct Row {
    name: &'static str,
    work: Work,
    /// Its size with every landing, and for a release.
    asked: [&'static str; 2],
}

const fn row(name: &'static str, work: Work, asked: [&'static str; 2]) -> Row {
    Row { name, work, asked }
}

/// A row whose tests are of the plugins that attack.
const fn bomb(name: &'static str, tests: &'static [&'static str], asked: [&'static str; 2]) -> Row {
    row(name, Tests(&["--test", "plugins"], tests), asked)
}

/// How often a bomb goes off.
const BOMB: [&str; 2] = ["20 times", "1,000 times"];
const MUTANTS: [&str; 2] = ["1,500 mutants", "100,000 mutants"];
const UPLOAD: [&str; 2] = ["once", "20 times"];

/// In order of their names.
const ROWS: &[Row] = &[
    row(
        "R1",
        Tests(&["--test", "simulation"], &["nothing_is_lost"]),
        ["4,000 seeds in 2 minutes", "1,000,000 seeds"],
    ),
    row(
        "R2",
        Tests(&["--test", "simulation", "--test", "schedules", "--test", "worker"], &["caught"]),
        ["every planted bug", "every planted bug"],
    ),
    row(
        "R3",
        Tests(&["--test", "crash"], &["crash::every_syscall::"]),
        ["every 8th syscall", "every syscall"],
    ),
    row("R4", Tests(&["--test", "crash"], &["crash::kill_loop::"]), ["200 kills", "10,000 kills"]),
    row("R5", Tests(&["--test", "crash"], &["crash::power_cut::"]), ["100 cuts", "2,000 cuts"]),
    row(
        "R6",
        Tests(&["--test", "crash"], &["crash::disk_errors::"]),
        ["every 4th call", "every call"],
    ),
    row(
        "R7",
        Tests(&["--test", "crash"], &["crash::full_disk::"]),
        ["20 fills, every 8th write", "200 fills, every write"],
    ),
    row(
        "R8",
        Tests(&["--lib"], &["segment::tests::torn_tail::"]),
        ["every byte of 64 KiB, 5 fills", "the same"],
    ),
    row(
        "R9",
        Tests(&["--lib"], &["segment::tests::bit_rot::"]),
        ["every bit of 64 KiB", "the same"],
    ),
    row(
        "R10",
        Tests(&["--test", "worker"], &["the_worker_does_what_the_model_says"]),
        ["20,000 histories", "50,000 histories: 5,000,000 operations"],
    ),
    row(
        "R11",
        Tests(
            &["--test", "schedules"],
            &["commit", "swap", "shutdown", "cursor", "wake_up", "--skip", "caught"],
        ),
        ["5,000 schedules each in 12 seconds", "100,000 schedules each"],
    ),
    row(
        "R12",
        Tests(&["--lib", "--test", "worker"], &["no_scenario_makes_time_fall", "clocks_jump"]),
        ["500 scenarios of each kind", "the same"],
    ),
    row(
        "R13",
        Tests(&["--test", "crash", "--test", "schedules"], &["slow_disk"]),
        ["10 runs in process, 2 of the program", "200 of each"],
    ),
    row("R17", Fuzz, ["30 seconds a decoder", "2 hours a decoder"]),
    bomb("R25", &["plugins::failure_matrix::"], ["every cell", "every cell"]),
    row(
        "R26",
        Tests(&["--test", "crash"], &["crash::swaps::"]),
        ["50 swaps", "1,000 swaps, 200 with a kill"],
    ),
    row(
        "R27",
        Tests(&["--test", "crash"], &["crash::cleaning::"]),
        ["12 kills", "200 rounds of 12 kills"],
    ),
    bomb("B1", &["plugins::bombs::b01_"], BOMB),
    bomb("B2", &["plugins::bombs::b02_"], BOMB),
    bomb("B3", &["plugins::bombs::b03_"], BOMB),
    bomb("B4", &["plugins::bombs::b04_"], BOMB),
    bomb("B5", &["plugins::bombs::b05_"], BOMB),
    bomb("B6", &["plugins::bombs::b06_"], BOMB),
    bomb("B7", &["plugins::bombs::b07_"], BOMB),
    bomb("B8", &["plugins::bombs::b08_"], BOMB),
    bomb("B9", &["plugins::bombs::b09_"], BOMB),
    bomb("B10", &["plugins::bombs::b10_"], BOMB),
    bomb("B11", &["plugins::uploads::b11_"], UPLOAD),
    bomb("B12", &["plugins::mutants::"], MUTANTS),
    bomb("B13", &["plugins::uploads::b13_"], BOMB),
    bomb("B14", &["plugins::bombs::b14_"], BOMB),
    bomb("B15", &["plugins::bombs::b15_"], BOMB),
    bomb("B16", &["plugins::bombs::b16_"], BOMB),
];

/// What each target of the fuzzer is searched for a release: two hours make 200 million runs of most.
const FUZZ_SECONDS_RELEASE: u64 = 7_200;

#[derive(Args)]
pub struct Torture {
    /// Which rows; all if none is given
    rows: Vec<String>,
    /// How much of each
    #[arg(long, value_enum, default_value = "release")]
    size: Size,
    /// Repeats a run; by default chance's
    #[arg(long)]
    seed: Option<u64>,
    /// A row begins nothing new after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Size {
    Ci,
    Release,
}

impl Size {
    fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Release => "release",
        }
    }
}

/// Runs the rows and writes `tests/results/<date>-<size>.md`.
pub fn run(wanted: &Torture) -> Result<(), String> {
    for row in &wanted.rows {
        if !ROWS.iter().any(|known| known.name == row) {
            let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            return Err(format!("there is no row {row}; there are {}", known.join(", ")));
        }
    }
    let folder = root().join("tests/results");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let lines = root().join("target/torture.jsonl");
    // What is chance here is only where the numbers begin; the tests draw from them.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = wanted.seed.unwrap_or(now);
    let mut done = Vec::new();
    for row in ROWS {
        if wanted.rows.is_empty() || wanted.rows.iter().any(|name| name == row.name) {
            println!("\n== {}", row.name);
            done.extend(run_row(row, wanted, seed, &lines)?);
        }
    }
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let path = folder.join(format!("{date}-{}.md", wanted.size.name()));
    fs::write(&path, page(&date, wanted, &done)).map_err(|error| error.to_string())?;
    println!("\n{}", path.display());
    let failed: Vec<String> = done
        .iter()
        .filter(|line| line["result"] != "passed")
        .map(|line| {
            format!("{} {}: {}", text(&line["row"]), text(&line["what"]), text(&line["result"]))
        })
        .collect();
    let may_skip =
        matches!(wanted.size, Size::Ci) && failed.iter().all(|line| line.ends_with("skipped"));
    if failed.is_empty() || may_skip { Ok(()) } else { Err(failed.join("\n")) }
}

/// One row; gives the lines of its tests, or one of our own where they wrote none.
fn run_row(row: &Row, wanted: &Torture, seed: u64, lines: &Path) -> Result<Vec<Value>, String> {
    // What an earlier run left is not this one's.
    fs::write(lines, "").map_err(|error| format!("{}: {error}", lines.display()))?;
    let began = Instant::now();
    let (what, succeeded) = match row.work {
        Fuzz => ("decoders", fuzz::run(&[], fuzz_seconds(wanted), Some(lines)).is_ok()),
        Tests(target, filters) => {
            let mut command = tests(target, filters, wanted, seed);
            command.env("WEIR_TORTURE_RESULTS", lines);
            let status = command.status();
            let status = status.map_err(|error| format!("cargo cannot be started: {error}"))?;
            (filters[0].trim_end_matches("::"), status.success())
        }
    };
    let told = fs::read_to_string(lines).map_err(|error| error.to_string())?;
    let mut done: Vec<Value> =
        told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let tells_of_failure = done.iter().any(|line| line["result"] != "passed");
    if done.is_empty() || (!succeeded && !tells_of_failure) {
        let result = if succeeded { "passed" } else { "failed" };
        done.push(json!({
            "row": row.name, "what": what, "result": result, "seed": seed,
            "seconds": began.elapsed().as_secs(), "counts": {},
        }));
    }
    Ok(done)
}

fn tests(target: &[&str], filters: &[&str], wanted: &Torture, seed: u64) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).arg("test").arg("--workspace").args(target);
    // One at a time: rows measure times, and their results should not depend on each other.
    command.args(["--", "--nocapture", "--test-threads=1"]).args(filters);
    command.env("WEIR_TORTURE_SIZE", wanted.size.name()).env("WEIR_SEED", seed.to_string());
    if let Some(minutes) = wanted.minutes {
        command.env("WEIR_TORTURE_MINUTES", minutes.to_string());
    }
    command
}

/// How long each target is searched: the minutes of the row are shared by all of them.
fn fuzz_seconds(wanted: &Torture) -> u64 {
    match (wanted.size, wanted.minutes) {
        (Size::Ci, _) => fuzz::SECONDS_DEFAULT,
        (Size::Release, None) => FUZZ_SECONDS_RELEASE,
        (Size::Release, Some(minutes)) => (minutes * 60 / fuzz::TARGETS_ABOUT).max(1),
    }
}

fn page(date: &str, wanted: &Torture, done: &[Value]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut page = format!(
        "# Torture, {date}, size {}\n\n\
         Made by `cargo xtask torture`; the rows are those of ARCHITECTURE.md.\n\n\
         - weir: {}\n- machine: {cores} cores, Linux {}\n- bound: {}\n\n\
         | row | what | result | asked | seed | seconds | counts |\n|---|---|---|---|---|---|---|\n",
        wanted.size.name(),
        said("git", &["describe", "--always", "--dirty"]),
        said("uname", &["-r"]),
        wanted.minutes.map_or("none".to_owned(), |minutes| format!(
            "a test began nothing new after {minutes} min, so the counts say what was done of what \
             was asked"
        )),
    );
    for line in done {
        let counts: Vec<String> = line["counts"]
            .as_object()
            .map(|counts| {
                counts.iter().map(|(of, count)| format!("{of}: {}", text(count))).collect()
            })
            .unwrap_or_default();
        let [row, what, result, seed, seconds] =
            ["row", "what", "result", "seed", "seconds"].map(|field| text(&line[field]));
        let asked = ROWS.iter().find(|known| known.name == row);
        let asked = asked.map_or("", |known| known.asked[wanted.size as usize]);
        let result = if result == "passed" { result } else { format!("**{result}**") };
        let counts = counts.join(", ");
        // Writing to a String does not fail.
        let _ = writeln!(
            page,
            "| {row} | {what} | {result} | {asked} | {seed} | {seconds} | {counts} |"
        );
    }
    page
}

/// A value as it stands in a table.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), |text| text.replace('|', "/"))
}

/// The first line that a command says; "unknown" if it cannot.
fn said(command: &str, arguments: &[&str]) -> String {
    let output = Command::new(command).args(arguments).current_dir(root()).output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    said.ok().filter(|said| !said.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_stands_out_in_the_table() {
        let line = json!({
            "row": "R4", "what": "SIGKILL loop", "result": "failed", "seed": 7, "seconds": 1.5,
            "counts": { "kills": 3 },
        });
        let wanted = Torture { rows: vec![], size: Size::Ci, seed: None, minutes: None };
        let page = page("2026-01-31", &wanted, &[line]);
        assert!(
            page.ends_with("| R4 | SIGKILL loop | **failed** | 200 kills | 7 | 1.5 | kills: 3 |\n"),
            "{page}"
        );
    }

    #[test]
    fn a_row_that_is_not_there_is_named() {
        let rows = vec!["R99".to_owned()];
        let wanted = Torture { rows, size: Size::Ci, seed: None, minutes: None };
        assert!(
            run(&wanted).is_err_and(|why| why.starts_with("there is no row R99; there are R1"))
        );
    }
}
