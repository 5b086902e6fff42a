//! Where the story is told: lines on stdout, in colour where it is a terminal.

use std::io::{self, IsTerminal, Write};

/// How a word looks.
#[derive(Debug, Clone, Copy)]
pub enum Ink {
    /// What is good.
    Green,
    /// What was refused.
    Red,
    /// What changes, or goes out.
    Yellow,
    /// Headings.
    Bold,
}

/// Tells, or keeps silent when only the figures are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Screen {
    is_silent: bool,
    has_colour: bool,
}

impl Screen {
    /// Stdout.
    pub fn new(is_silent: bool) -> Self {
        Self { is_silent, has_colour: io::stdout().is_terminal() }
    }

    /// Says a line. Who closed the pipe does not want to hear it.
    pub fn say(self, line: impl AsRef<str>) {
        if !self.is_silent {
            let _ = writeln!(io::stdout().lock(), "{}", line.as_ref());
        }
    }

    /// Says a numbered step.
    pub fn step(self, number: u32, line: impl AsRef<str>) {
        self.say(format!("\n{}  {}", self.paint(Ink::Bold, &number.to_string()), line.as_ref()));
    }

    /// Says what happened while something runs: a word of eight letters, and the rest.
    pub fn event(self, ink: Ink, word: &str, line: impl AsRef<str>) {
        self.say(format!("     {}{}", self.paint(ink, &format!("{word:<9}")), line.as_ref()));
    }

    /// The text in colour.
    pub fn paint(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Green => 32,
            Ink::Red => 31,
            Ink::Yellow => 33,
            Ink::Bold => 1,
        };
        if self.has_colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
