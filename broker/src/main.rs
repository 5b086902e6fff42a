//! The binary `weir`: everything is in the library, so that tests can start a broker too.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::cli::main()
}
