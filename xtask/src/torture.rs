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

use crate::root;

/// What runs a row: its name, what cargo's `test --workspace` gets, which tests of that.
const ROWS: &[(&str, &[&str], &str)] = &[
    ("R1", &["--test", "simulation"], "nothing_is_lost"),
    ("R2", &["--test", "simulation"], "caught"),
    ("R3", &["--test", "crash"], "crash::every_syscall::"),
    ("R4", &["--test", "crash"], "crash::kill_loop::"),
    ("R5", &["--test", "crash"], "crash::power_cut::"),
    ("R6", &["--test", "crash"], "crash::disk_errors::"),
    ("R7", &["--test", "crash"], "crash::full_disk::"),
    ("R8", &["--lib"], "segment::tests::torn_tail::"),
    ("R9", &["--lib"], "segment::tests::bit_rot::"),
    ("R25", &["--test", "plugins"], "plugins::failure_matrix::"),
    ("R26", &["--test", "crash"], "crash::swaps::"),
    ("B1", &["--test", "plugins"], "plugins::bombs::b01_"),
    ("B2", &["--test", "plugins"], "plugins::bombs::b02_"),
    ("B3", &["--test", "plugins"], "plugins::bombs::b03_"),
    ("B4", &["--test", "plugins"], "plugins::bombs::b04_"),
    ("B5", &["--test", "plugins"], "plugins::bombs::b05_"),
    ("B6", &["--test", "plugins"], "plugins::bombs::b06_"),
    ("B7", &["--test", "plugins"], "plugins::bombs::b07_"),
    ("B8", &["--test", "plugins"], "plugins::bombs::b08_"),
    ("B9", &["--test", "plugins"], "plugins::bombs::b09_"),
    ("B10", &["--test", "plugins"], "plugins::bombs::b10_"),
    ("B11", &["--test", "plugins"], "plugins::uploads::b11_"),
    ("B12", &["--test", "plugins"], "plugins::mutants::"),
    ("B13", &["--test", "plugins"], "plugins::uploads::b13_"),
    ("B14", &["--test", "plugins"], "plugins::bombs::b14_"),
    ("B15", &["--test", "plugins"], "plugins::bombs::b15_"),
    ("B16", &["--test", "plugins"], "plugins::bombs::b16_"),
];

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
        if !ROWS.iter().any(|(name, ..)| name == row) {
            let known: Vec<&str> = ROWS.iter().map(|(name, ..)| *name).collect();
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
    for (row, target, filter) in ROWS {
        if wanted.rows.is_empty() || wanted.rows.iter().any(|name| name == row) {
            println!("\n== {row}");
            done.extend(run_row(row, target, filter, wanted, seed, &lines)?);
        }
    }
    let date = said("date", &["-u", "+%Y-%m-%d"]);
    let path = folder.join(format!("{date}-{}.md", wanted.size.name()));
    fs::write(&path, page(&date, wanted.size, &done)).map_err(|error| error.to_string())?;
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
fn run_row(
    row: &str,
    target: &[&str],
    filter: &str,
    wanted: &Torture,
    seed: u64,
    lines: &Path,
) -> Result<Vec<Value>, String> {
    // What an earlier run left is not this one's.
    fs::write(lines, "").map_err(|error| format!("{}: {error}", lines.display()))?;
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).arg("test").arg("--workspace").args(target);
    // One at a time: rows measure times, and their results should not depend on each other.
    command.args(["--", "--nocapture", "--test-threads=1", filter]);
    command.env("WEIR_TORTURE_SIZE", wanted.size.name()).env("WEIR_SEED", seed.to_string());
    command.env("WEIR_TORTURE_RESULTS", lines);
    if let Some(minutes) = wanted.minutes {
        command.env("WEIR_TORTURE_MINUTES", minutes.to_string());
    }
    let began = Instant::now();
    let status = command.status().map_err(|error| format!("cargo cannot be started: {error}"))?;
    let told = fs::read_to_string(lines).map_err(|error| error.to_string())?;
    let mut done: Vec<Value> =
        told.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let tells_of_failure = done.iter().any(|line| line["result"] != "passed");
    if done.is_empty() || (!status.success() && !tells_of_failure) {
        let result = if status.success() { "passed" } else { "failed" };
        done.push(json!({
            "row": row, "what": filter.trim_end_matches("::"), "result": result, "seed": seed,
            "seconds": began.elapsed().as_secs(), "counts": {},
        }));
    }
    Ok(done)
}

fn page(date: &str, size: Size, done: &[Value]) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut page = format!(
        "# Torture, {date}, size {}\n\n\
         Made by `cargo xtask torture`; the rows are those of ARCHITECTURE.md.\n\n\
         - weir: {}\n- machine: {cores} cores, Linux {}\n\n\
         | row | what | result | seed | seconds | counts |\n|---|---|---|---|---|---|\n",
        size.name(),
        said("git", &["describe", "--always", "--dirty"]),
        said("uname", &["-r"]),
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
        let result = if result == "passed" { result } else { format!("**{result}**") };
        let counts = counts.join(", ");
        // Writing to a String does not fail.
        let _ = writeln!(page, "| {row} | {what} | {result} | {seed} | {seconds} | {counts} |");
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
        let page = page("2026-01-31", Size::Ci, &[line]);
        assert!(
            page.ends_with("| R4 | SIGKILL loop | **failed** | 7 | 1.5 | kills: 3 |\n"),
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
