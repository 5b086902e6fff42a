//! How fast weir is, beside what people use today and what the machine could do.
//!
//! ```text
//! cli ─▶ charts ─▶ weir, peers: subjects under a load ─▶ measured ─▶ report: rows, table, plots
//! ```
//! Promises: a latency counts from when an event was meant to be sent, so that a stall costs every event
//! that it delayed; every run checks its answers, and one that was answered wrongly gives no figure.
//! Not here on purpose: a bound that fails, since what is measured depends on the machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "talking to people is what it does")]

mod cli;
mod charts;
mod report;
mod peers;
mod weir;
mod load;
mod measure;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("weir-bench: {why}");
            ExitCode::FAILURE
        }
    }
}
