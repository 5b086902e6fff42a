//! `cargo xtask bench`: builds everything as it is released, and hands over to `weir-bench`.

use std::process::Command;

use clap::Args;

use crate::release;

#[derive(Args)]
pub struct Bench {
    /// Two results to compare instead of measuring
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    compare: Vec<String>,
    /// What `weir-bench run` takes: --short, --only CHART, --no-peers, --label NAME, --out DIR ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    run: Vec<String>,
}

/// Builds and runs it.
pub fn run(wanted: &Bench) -> Result<(), String> {
    let mut bench = Command::new(release::build(&["--bins"])?.join("weir-bench"));
    if wanted.compare.is_empty() {
        bench.arg("run").args(&wanted.run);
    } else {
        bench.arg("compare").args(&wanted.compare);
    }
    call(&mut bench)
}

fn call(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?} cannot be run: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
