//! `cargo xtask fuzz`: hostile bytes for every decoder, by the targets in `fuzz/src/bin/`.
//!
//! libFuzzer on stable Rust: the compiler's coverage passes are switched on by flags, which are
//! unlike the workspace's, so the builds stand apart in `target/fuzz`. Each target first meets its
//! corpus, then mutations of it for a number of seconds. Inputs that chance found go to
//! `target/fuzz/found`, which the next run begins with; `fuzz/corpus` is what is committed.
//!
//! Promises: an input that crashes is written down and named, with the command that repeats it.
//! Not here: what a target asserts, and its bounds of time and memory (`fuzz/src/lib.rs`).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::root;

/// What a run of a target lasts, if nothing else is said: row R17's for every landing.
pub const SECONDS_DEFAULT: u64 = 30;
/// How many targets there are, more or less: a row of the torture shares its minutes among them.
pub const TARGETS_ABOUT: u64 = 10;
/// In `cargo xtask test`: enough to reach what a change broke near the corpus; hours are for nights.
const SECONDS_IN_TESTS: u64 = 5;
/// Bytes of an input at most: a segment of many commits, and a bomb of 64 MiB of zeros.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// What libFuzzer itself sees: memory that C allocates, and an input that never ends. An input may
/// work one second of processor time (`fuzz/src/lib.rs`); this is wall clock on a busy machine.
const RSS_MIB_MAX: usize = 512;
const HANG_SECONDS: u64 = 20;
/// Bytes of a crashing input that are shown; all of them are in its file.
const SHOWN_BYTES_MAX: usize = 256;

/// Coverage of edges as counters, and of comparisons, so that the fuzzer learns what a magic is.
const FLAGS: [&str; 7] = [
    "--cfg",
    "fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Builds and runs the named targets, or all, for so many seconds each. Each writes a line into
/// `results`, or into what `WEIR_TORTURE_RESULTS` names.
pub fn run(targets: &[String], seconds: u64, results: Option<&Path>) -> Result<(), String> {
    let known = known_targets()?;
    if let Some(wrong) = targets.iter().find(|target| !known.contains(target)) {
        return Err(format!("there is no target {wrong}; there are: {}", known.join(" ")));
    }
    let targets = if targets.is_empty() { &known } else { targets };
    let programs = build()?;
    let results = results.map(Path::to_owned);
    let results = results.or_else(|| std::env::var_os("WEIR_TORTURE_RESULTS").map(PathBuf::from));
    let results = results.as_deref();
    targets
        .iter()
        .try_for_each(|target| run_target(&programs.join(target), target, seconds, results))
}

/// The step of `cargo xtask test`.
pub fn run_all_briefly() -> Result<(), String> {
    run(&[], SECONDS_IN_TESTS, None)
}

/// Clippy for the project that the workspace's does not see, with the doors of its builds open.
pub fn clippy() -> Result<(), String> {
    let mut command = cargo("clippy")?;
    command.args(["--lib", "--bins", "--examples", "--target", &host()?, "--", "-D", "warnings"]);
    succeed(&mut command)
}

/// The same for its formatting.
pub fn format() -> Result<(), String> {
    succeed(cargo("fmt")?.env_remove("RUSTFLAGS").arg("--check"))
}

fn known_targets() -> Result<Vec<String>, String> {
    let folder = root().join("fuzz/src/bin");
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let name = |path: PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let mut names: Vec<_> = files.flatten().filter_map(|file| name(file.path())).collect();
    names.sort();
    Ok(names)
}

/// Returns the folder of the programs.
fn build() -> Result<PathBuf, String> {
    find_cxx()?;
    let host = host()?;
    succeed(cargo("build")?.args(["--release", "--bins", "--target", &host]))?;
    Ok(target_dir().join(host).join("release"))
}

fn run_target(
    program: &Path,
    target: &str,
    seconds: u64,
    results: Option<&Path>,
) -> Result<(), String> {
    let corpus = root().join("fuzz/corpus").join(target);
    let found = target_dir().join("found").join(target);
    let crashes = target_dir().join("crashes");
    for folder in [&found, &crashes] {
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let began = Instant::now();
    let log = crashes.join(format!("{target}.log"));
    let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    // All of the corpus first, in a run of its own, so that it is met however short the other is.
    let mut replay = Command::new(program);
    replay.arg("-runs=0").arg(&corpus);
    let mut search = Command::new(program);
    search.arg(format!("-max_total_time={seconds}")).args([&found, &corpus]);
    let mut runs = 0;
    for command in [&mut replay, &mut search] {
        command
            .arg(format!("-rss_limit_mb={RSS_MIB_MAX}"))
            .arg(format!("-timeout={HANG_SECONDS}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-artifact_prefix={}/{target}-", crashes.display()))
            .arg("-print_final_stats=1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(|error| error.to_string())?)
            .stderr(output.try_clone().map_err(|error| error.to_string())?);
        let status = command.status().map_err(|error| format!("{}: {error}", program.display()))?;
        let said = fs::read(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let said = String::from_utf8_lossy(&said);
        if !status.success() {
            record(target, "failed", runs, began.elapsed(), results);
            return Err(crash(program, target, &said, &log));
        }
        runs = said.lines().filter_map(executed).sum();
    }
    record(target, "passed", runs, began.elapsed(), results);
    Ok(())
}

fn executed(line: &str) -> Option<u64> {
    line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok()
}

/// What to tell of an input that did not end well.
fn crash(program: &Path, target: &str, said: &str, log: &Path) -> String {
    let mut told = format!("fuzz target {target} failed");
    let panicked = said.lines().skip_while(|line| !line.contains("panicked at"));
    let why = said.lines().filter(|line| line.contains("ERROR: libFuzzer"));
    for line in panicked.take(2).chain(why.take(1)) {
        let _ = write!(told, "\n  {line}");
    }
    let input = said.lines().find_map(|line| line.split_once("Test unit written to "));
    if let Some((_, input)) = input {
        let input = input.trim();
        let _ = write!(told, "\n  input: {input}\n  hex: {}", hex(Path::new(input)));
        let _ = write!(told, "\n  again: {} {input}", program.display());
    }
    let _ = write!(told, "\n  all of it: {}", log.display());
    told
}

fn hex(path: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(SHOWN_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return format!("cannot be read: {error}");
    }
    let shown = bytes.iter().take(SHOWN_BYTES_MAX);
    let mut hex: String = shown.map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN_BYTES_MAX {
        hex.push('…');
    }
    hex
}

/// One line of JSON, to the file of results too, as the tests of the other
/// rows write theirs (`tests/src/torture.rs`).
fn record(target: &str, result: &str, runs: u64, took: Duration, results: Option<&Path>) {
    let line = format!(
        r#"{{"row":"R17","what":"{target}","result":"{result}","seed":"-","seconds":{:.1},"counts":{{"runs":{runs}}}}}"#,
        took.as_secs_f64()
    );
    println!("{line}");
    let Some(path) = results else { return };
    let file = File::options().create(true).append(true).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        eprintln!("{}: {error}", path.display());
    }
}

/// libFuzzer is C++ and is built with the first target.
fn find_cxx() -> Result<(), String> {
    let is_there = || {
        ["c++", "g++", "clang++"].iter().any(|name| {
            let version = Command::new(name).arg("--version").stdout(Stdio::null()).status();
            version.is_ok_and(|status| status.success())
        })
    };
    if std::env::var_os("CXX").is_some() || is_there() {
        return Ok(());
    }
    let missing = "libFuzzer needs a C++ compiler: on Debian, apt-get install g++";
    let is_root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !is_root {
        return Err(missing.to_owned());
    }
    let apt = |arguments: &[&str]| {
        succeed(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-qq"])
        .and_then(|()| apt(&["install", "-qq", "-y", "--no-install-recommends", "g++"]))
        .map_err(|error| format!("{missing} ({error})"))?;
    if is_there() { Ok(()) } else { Err(missing.to_owned()) }
}

/// The triple that rustc builds for.
fn host() -> Result<String, String> {
    let version = Command::new("rustc").arg("-vV").output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&version.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc -vV names no host".to_owned())
}

fn target_dir() -> PathBuf {
    root().join("target/fuzz")
}

/// What compiles names its target: then the flags are for it alone, and not for build scripts and
/// macros, which cannot be linked with them.
fn cargo(subcommand: &str) -> Result<Command, String> {
    let folder = root().join("fuzz");
    if !folder.is_dir() {
        return Err(format!("{} is missing", folder.display()));
    }
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(folder);
    command.env("CARGO_TARGET_DIR", target_dir()).env("RUSTFLAGS", FLAGS.join(" "));
    Ok(command)
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => {
            let arguments: Vec<_> = command.get_args().map(|part| part.to_string_lossy()).collect();
            Err(format!("{name} {}: {status}", arguments.join(" ")))
        }
        Err(error) => Err(format!("{name}: cannot be started: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_told_with_its_input_and_the_way_to_repeat_it() {
        let folder = target_dir().join("crashes");
        fs::create_dir_all(&folder).expect("a folder");
        let input = folder.join("told-by-a-test");
        fs::write(&input, b"\x00\xff").expect("a file");
        let said = format!(
            "thread 'x' panicked at src/lib.rs:1:2:\nwhy\n== ERROR: libFuzzer: deadly signal\n\
             artifact_prefix='x'; Test unit written to {}\n",
            input.display()
        );
        let told = crash(Path::new("/bin/frame"), "frame", &said, Path::new("/tmp/log"));
        for part in ["panicked at src/lib.rs", "\n  why", "hex: 00ff", "again: /bin/frame /"] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
        fs::remove_file(input).expect("it was there");
    }

    #[test]
    fn runs_are_counted() {
        assert_eq!(executed("stat::number_of_executed_units: 1234"), Some(1234));
        assert_eq!(executed("stat::average_exec_per_sec:     17"), None);
        assert!(known_targets().is_ok_and(|targets| targets.contains(&"record_batch".to_owned())));
    }

    #[test]
    fn a_target_that_is_none_is_answered_with_those_that_are() {
        let told = run(&["no-such".to_owned()], 1, None).expect_err("there is none");
        assert!(told.contains("no-such") && told.contains("segment"), "{told}");
    }
}
