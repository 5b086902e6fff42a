//! `weir dead-letter`: what plugins refused and a dead-letter topic keeps: looked at, and sent again.

use std::path::Path;

use clap::{Args, Subcommand};
use weir_wire::dead_letter::DeadLetter as Letter;
use weir_wire::ids::PluginName;

use super::Failure;
use super::output::Output;

mod list;
mod redrive;
mod memory;

/// What to do with the events that a dead-letter topic keeps.
#[derive(Debug, Subcommand)]
pub enum DeadLetter {
    List(list::List),
    Redrive(redrive::Redrive),
}

impl DeadLetter {
    /// Does it.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(context, output).await,
            Self::Redrive(redrive) => redrive.run(context, output).await,
        }
    }
}

/// Which letters are meant: all of them, if nothing is said.
#[derive(Debug, Clone, Default, Args)]
struct Selection {
    /// Only those that were refused with this code; may be given more than once.
    #[arg(long = "code", value_name = "CODE")]
    codes: Vec<String>,
    /// Only those that this plugin refused; may be given more than once.
    #[arg(long = "plugin", value_name = "NAME")]
    plugins: Vec<PluginName>,
}

impl Selection {
    fn is_all(&self) -> bool {
        self.codes.is_empty() && self.plugins.is_empty()
    }

    fn has(&self, letter: &Letter) -> bool {
        (self.codes.is_empty() || self.codes.contains(&letter.code))
            && (self.plugins.is_empty() || self.plugins.contains(&letter.plugin))
    }
}
