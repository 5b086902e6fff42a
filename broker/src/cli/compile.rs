//! `weir compile IN OUT`: compiles one component, under limits that no bomb gets around.
//!
//! The broker runs this as a child process and reads its complaint; nobody else needs it.

use std::path::PathBuf;

use clap::Args;
use weir_plugin_host::{HostOptions, compile_file, limit_this_process};

use super::Failure;
use crate::shelf::{COMPILE_CPU_SECONDS, COMPILE_MEMORY_BYTES};

/// What to compile, and where to.
#[derive(Debug, Args)]
pub struct Compile {
    /// The component.
    input: PathBuf,
    /// Where the machine code goes: there whole, or not at all.
    output: PathBuf,
}

impl Compile {
    /// Limits this process for good, and compiles.
    pub fn run(self) -> Result<(), Failure> {
        limit_this_process(COMPILE_MEMORY_BYTES, COMPILE_CPU_SECONDS).map_err(|error| {
            Failure::new(format!("cannot limit the compiling process: {error}"))
        })?;
        compile_file(&self.input, &self.output, HostOptions::default())
            .map_err(|error| Failure::new(error.to_string()))
    }
}
