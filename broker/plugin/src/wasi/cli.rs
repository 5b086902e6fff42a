//! A process without arguments, variables, terminal or input.

use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::cli::{
    environment, exit, stderr, stdin, stdout, terminal_input, terminal_output, terminal_stderr,
    terminal_stdin, terminal_stdout,
};
use wasmtime_wasi::p2::pipe::{ClosedInputStream, SinkOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream};

use super::World;
use crate::FaultCause;
use crate::fault::fault;

impl environment::Host for World<'_> {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }
    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}

fn exited() -> wasmtime::Error {
    fault(FaultCause::Trap, "called exit").into()
}

impl exit::Host for World<'_> {
    fn exit(&mut self, _status: Result<(), ()>) -> Result<()> {
        Err(exited())
    }
    fn exit_with_code(&mut self, _code: u8) -> Result<()> {
        Err(exited())
    }
}

impl stdin::Host for World<'_> {
    fn get_stdin(&mut self) -> Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.inert.table.push(stream)?)
    }
}

// The stream is a mere handle: `streams` writes to the plugin's log instead.
fn output(table: &mut ResourceTable) -> Result<Resource<DynOutputStream>> {
    let stream: DynOutputStream = Box::new(SinkOutputStream);
    Ok(table.push(stream)?)
}

impl stdout::Host for World<'_> {
    fn get_stdout(&mut self) -> Result<Resource<DynOutputStream>> {
        output(&mut self.inert.table)
    }
}

impl stderr::Host for World<'_> {
    fn get_stderr(&mut self) -> Result<Resource<DynOutputStream>> {
        output(&mut self.inert.table)
    }
}

impl terminal_input::Host for World<'_> {}
impl terminal_input::HostTerminalInput for World<'_> {
    fn drop(&mut self, terminal: Resource<terminal_input::TerminalInput>) -> Result<()> {
        self.inert.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_output::Host for World<'_> {}
impl terminal_output::HostTerminalOutput for World<'_> {
    fn drop(&mut self, terminal: Resource<terminal_output::TerminalOutput>) -> Result<()> {
        self.inert.table.delete(terminal)?;
        Ok(())
    }
}

impl terminal_stdin::Host for World<'_> {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<terminal_input::TerminalInput>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for World<'_> {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for World<'_> {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<terminal_output::TerminalOutput>>> {
        Ok(None)
    }
}
