//! The steps of `cargo xtask test` and `cargo xtask lint`: each named and timed, the first failure
//! ends the run.
//!
//! Promises: the last step is the tests themselves, so that their runner's closing line is among
//! the last lines of the output. Not here: a check for a C compiler; without one Rust could not
//! have linked this program.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::{bindings, codegen, fuzz, guests, instructions, languages, layers, root};

/// A step's name and what it does. An error is what to tell, whole.
type Step = (&'static str, fn() -> Result<(), String>);

/// What CI runs. Cheap steps stand first: a missing blank must not cost ten minutes.
pub const TEST: &[Step] = &[
    ("tools", tools),
    ("format", format),
    ("layers", || layers::run(&root())),
    ("codegen is current", || codegen::run(true).and_then(|()| bindings::run(true))),
    ("clippy", clippy),
    ("docs", docs),
    ("build", build),
    ("guests are current", || guests::run(true)),
    ("guests' own tests", guests::test),
    ("other languages", || languages::run(true, &[])),
    ("doc examples", doc_examples),
    ("fuzz", fuzz::run_all_briefly),
    ("instructions", instructions::check),
    ("tests", tests),
];

/// What to run before a commit.
pub const LINT: &[Step] = &[
    ("tools", tools),
    ("format", format),
    ("layers", || layers::run(&root())),
    ("clippy", clippy),
    ("docs", docs),
];

/// Runs the steps in order until one fails.
pub fn run(chore: &str, steps: &[Step]) -> Result<(), String> {
    let began = Instant::now();
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let step_began = Instant::now();
        step().map_err(|why| {
            format!(
                "{why}\n\ncargo xtask {chore}: FAILED at step {} of {}: {name}, after {} ({})",
                done.len() + 1,
                steps.len(),
                seconds(began.elapsed()),
                times(&done)
            )
        })?;
        done.push((name, step_began.elapsed()));
    }
    println!(
        "\ncargo xtask {chore}: all {} steps passed in {} ({})",
        steps.len(),
        seconds(began.elapsed()),
        times(&done)
    );
    Ok(())
}

/// What each step took.
fn times(done: &[(&str, Duration)]) -> String {
    let times = done.iter().map(|(name, took)| format!("{name} {}", seconds(*took)));
    times.collect::<Vec<_>>().join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// rustup's minimal profile has neither formatter nor lints; they come with the toolchain.
fn tools() -> Result<(), String> {
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if !answers(&[subcommand, "--version"]) {
            call(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

fn format() -> Result<(), String> {
    cargo(&["fmt", "--all", "--check"])?;
    guests::format()?;
    fuzz::format()
}

fn clippy() -> Result<(), String> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    guests::clippy()?;
    fuzz::clippy()
}

fn docs() -> Result<(), String> {
    call(cargo_command(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// With all targets at once, so that the tests find the `weir` program, and every crate is
/// compiled with one set of features and not with two.
fn build() -> Result<(), String> {
    cargo(&["build", "--workspace", "--all-targets"])
}

fn doc_examples() -> Result<(), String> {
    cargo(&["test", "--workspace", "--doc"])
}

fn tests() -> Result<(), String> {
    if answers(&["nextest", "--version"]) {
        cargo(&["nextest", "run", "--workspace"])
    } else {
        cargo(&["test", "--workspace", "--lib", "--bins", "--tests"])
    }
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    call(&mut cargo_command(arguments))
}

/// Whether cargo knows a subcommand.
fn answers(arguments: &[&str]) -> bool {
    let status = cargo_command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

fn cargo_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

fn call(command: &mut Command) -> Result<(), String> {
    let line = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{line}: {status}")),
        Err(e) => Err(format!("{line}: cannot be started: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_ends_the_run() {
        let steps: &[Step] = &[
            ("one", || Ok(())),
            ("two", || Err("why".into())),
            ("three", || panic!("not reached")),
        ];
        let told = run("lint", steps).expect_err("two fails");
        assert!(
            told.starts_with("why\n\ncargo xtask lint: FAILED at step 2 of 3: two, after "),
            "{told}"
        );
        assert!(told.ends_with(" s (one 0.0 s)"), "{told}");
    }

    #[test]
    fn a_failing_command_is_named() {
        assert_eq!(
            call(Command::new("sh").args(["-c", "exit 3"])),
            Err("sh -c exit 3: exit status: 3".into())
        );
        assert!(
            call(&mut Command::new("/nowhere/tool"))
                .is_err_and(|told| told.contains("cannot be started"))
        );
        assert!(answers(&["--version"]) && !answers(&["no-such-subcommand"]));
    }
}
