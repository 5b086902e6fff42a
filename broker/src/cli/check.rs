//! `weir check DIR`: is everything in a data directory as it should be?

use std::path::PathBuf;

use super::Failure;
use super::output::Output;
use crate::check::{Findings, check};
use crate::home::hold_still;
use crate::table::{Align, Table};

/// Verify a data directory while no broker runs in it; changes nothing.
///
/// Reads every byte: checksums, the chain of commits, offsets, whether the checkpoints are what the
/// logs add up to, whether side events arrived, whether components are what they were. Exits with 0
/// if nothing is damaged; what a crash left behind and the next start puts right is no damage.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  weir check weir-data")]
pub struct Check {
    /// The data directory.
    #[arg(value_name = "DIR", default_value = "weir-data")]
    dir: PathBuf,
}

impl Check {
    /// Does it.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let _still = hold_still(&self.dir).map_err(|error| Failure::new(error.to_string()))?;
        let findings = check(&self.dir, |log| tracing::debug!(log, "reading"));
        output.answer(&findings, described)?;
        match findings.damage.len() {
            0 => Ok(()),
            count => Err(Failure::new(format!(
                "{count} things are damaged in {}: nothing was changed. Restore what is named from a copy; the broker serves the rest",
                self.dir.display()
            ))),
        }
    }
}

fn described(findings: &Findings) -> String {
    let mut table = Table::new([
        ("log", Align::Left),
        ("commits", Align::Right),
        ("events", Align::Right),
        ("segments", Align::Right),
        ("bytes", Align::Right),
    ]);
    for log in &findings.logs {
        table.row([
            log.log.clone(),
            log.commits.to_string(),
            log.events.to_string(),
            log.segments.to_string(),
            log.bytes.to_string(),
        ]);
    }
    let mut text = table.to_string();
    for note in &findings.notes {
        text += &format!("note     {note}\n");
    }
    for damage in &findings.damage {
        text += &format!("DAMAGE   {damage}\n");
    }
    if findings.damage.is_empty() {
        text += "nothing is damaged\n";
    }
    text
}
