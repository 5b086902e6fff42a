//! What commands print to stdout: a table for people, or with `--json` one line for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::Failure;

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    /// As one line of JSON.
    pub json: bool,
}

impl Output {
    /// Prints an answer: as JSON, or as `human` writes it (whole lines).
    pub fn answer<T: Serialize>(
        self,
        answer: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            serde_json::to_string(answer).expect("answers are made of strings and numbers") + "\n"
        } else {
            human(answer)
        };
        print(&text)
    }
}

/// Writes to stdout.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(unwritable)
}

/// A closed pipe is no failure: who reads has seen enough.
pub fn unwritable(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::ReaderGone,
        _ => Failure::new(format!("cannot write to stdout: {error}")),
    }
}
