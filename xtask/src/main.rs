//! The project's chores. `cargo xtask test` is what CI runs; the others are its parts.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "talking to people is what it does")]

mod checks;
mod instructions;
mod bench;
mod release;
mod bindings;
mod torture;
mod codegen;
mod fuzz;
mod languages;
mod guests;
mod layers;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The project's chores", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything CI checks: lint, generated files, build, doc examples, tests
    Test,
    /// Formatting, clippy, docs without warnings, layers
    Lint,
    /// Who may use whom: crates, rooms of heavy guests, modules
    Layers,
    /// Crashes, power cuts and failing disks at the size of a release; writes tests/results/
    Torture(torture::Torture),
    /// How fast weir is, beside its peers: builds the release programs and runs weir-bench
    Bench(bench::Bench),
    /// Feeds hostile bytes to every decoder
    Fuzz {
        /// Names of files in fuzz/src/bin; all if none is given
        targets: Vec<String>,
        /// How long each is searched with mutations, after its corpus
        #[arg(long, default_value_t = fuzz::SECONDS_DEFAULT)]
        seconds: u64,
    },
    /// Counts the instructions of the pure parts, beside the counts that are kept
    Instructions(instructions::Instructions),
    /// Generates what is made from schemas: sdk/wire/src/proto.rs, the bindings of the templates
    Codegen {
        /// Change nothing; fail where the file is not current
        #[arg(long)]
        check: bool,
    },
    /// Builds the components in plugins/ that are written in Rust
    Guests {
        /// Change nothing; fail where a component is not current
        #[arg(long)]
        check: bool,
    },
    /// Builds daily-limit and the template in every other language; wants `weir` to be built
    Languages {
        /// Change nothing in plugins/; fail where a component is not current
        #[arg(long)]
        check: bool,
        /// c, js, ts, python, go, rust; all if none is given
        languages: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().chore {
        Chore::Test => checks::run("test", checks::TEST),
        Chore::Lint => checks::run("lint", checks::LINT),
        Chore::Layers => layers::run(&root()),
        Chore::Torture(wanted) => torture::run(&wanted),
        Chore::Bench(wanted) => bench::run(&wanted),
        Chore::Fuzz { targets, seconds } => fuzz::run(&targets, seconds, None),
        Chore::Instructions(wanted) => instructions::run(&wanted),
        Chore::Codegen { check } => codegen::run(check).and_then(|()| bindings::run(check)),
        Chore::Guests { check } => guests::run(check),
        Chore::Languages { check, languages } => languages::run(check, &languages),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder.
fn root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().expect("xtask is a folder of the workspace").to_owned()
}
