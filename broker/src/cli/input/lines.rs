//! Cuts a stream of bytes into lines, numbered from 1.
//!
//! A line ends with "\n" or with the input. Of JSON lines, a "\r" before it belongs to the line end
//! and blank lines at the end of the input are none; a blank line before others is a bad line, since
//! something that should be an event may be missing there. Raw lines are kept as they are.
//! Promises: never holds more than one line of the largest size.

use std::io::{self, BufRead, Read};

use weir_wire::frame::EVENT_BYTES_MAX;

use super::event_line::{self, Format};

/// Bytes of a line at most, with its end: a longer one makes no event.
const LINE_BYTES_MAX: u64 = EVENT_BYTES_MAX as u64 + 2;

/// Why there is no next line.
#[derive(Debug)]
pub enum LineError {
    /// The input cannot be read.
    Io(io::Error),
    /// Line `number` cannot be an event; `why` completes the sentence "FILE line N …".
    Bad {
        /// Which line.
        number: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// The lines of an input.
pub struct Lines<R> {
    input: R,
    format: Format,
    number: u64,
    line: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// The lines of `input` from its beginning.
    pub fn new(input: R, format: Format) -> Self {
        Self { input, format, number: 0, line: Vec::new() }
    }

    /// The next line's number, and its bytes without their end; `None` after the last.
    pub fn next(&mut self) -> Result<Option<(u64, &[u8])>, LineError> {
        let mut first_blank = None;
        while self.read_line()? {
            if self.format == Format::Raw {
                return Ok(Some((self.number, &self.line)));
            }
            if self.line.trim_ascii().is_empty() {
                first_blank.get_or_insert(self.number);
                continue;
            }
            if let Some(number) = first_blank {
                let why = "is blank, but lines follow; remove it".to_owned();
                return Err(LineError::Bad { number, why });
            }
            if self.line.ends_with(b"\r") {
                self.line.pop();
            }
            return Ok(Some((self.number, &self.line)));
        }
        Ok(None)
    }

    /// The input behind the last line.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Reads one line without its "\n" into `self.line`; false at the end of the input.
    fn read_line(&mut self) -> Result<bool, LineError> {
        self.line.clear();
        let mut limited = (&mut self.input).take(LINE_BYTES_MAX);
        let bytes = limited.read_until(b'\n', &mut self.line).map_err(LineError::Io)?;
        if bytes == 0 {
            return Ok(false);
        }
        self.number += 1;
        if self.line.ends_with(b"\n") {
            self.line.pop();
        } else if bytes as u64 == LINE_BYTES_MAX {
            return Err(LineError::Bad { number: self.number, why: event_line::too_long(bytes) });
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, input: &str, expected: &str) {
        let mut lines = Lines::new(input.as_bytes(), format);
        let mut said = Vec::new();
        loop {
            match lines.next() {
                Ok(Some((number, line))) => {
                    said.push(format!("{number}:{:?}", str::from_utf8(line).unwrap()));
                }
                Ok(None) => break,
                Err(LineError::Bad { number, why }) => {
                    said.push(format!("{number} {why}"));
                    break;
                }
                Err(LineError::Io(error)) => panic!("{error}"),
            }
        }
        assert_eq!(said.join(" "), expected, "{input:?}");
    }

    #[test]
    fn json_lines_end_with_lf_crlf_or_the_input() {
        check(Format::Jsonl, "", "");
        check(Format::Jsonl, "a\nb\n", r#"1:"a" 2:"b""#);
        check(Format::Jsonl, "a\nb", r#"1:"a" 2:"b""#);
        check(Format::Jsonl, "a\r\nb\r", r#"1:"a" 2:"b""#);
        check(Format::Jsonl, "a\n\r\n  \n\n", r#"1:"a""#);
        check(Format::Jsonl, "a\n\n\nb\n", r#"1:"a" 2 is blank, but lines follow; remove it"#);
    }

    #[test]
    fn raw_lines_are_kept_as_they_are() {
        check(Format::Raw, "a\r\n\n b", r#"1:"a\r" 2:"" 3:" b""#);
        check(Format::Raw, "a\n\n", r#"1:"a" 2:"""#);
    }

    #[test]
    fn a_line_that_does_not_end_is_given_up_at_the_limit() {
        let mut endless = Lines::new(io::BufReader::new(io::repeat(b'x')), Format::Jsonl);
        let Err(LineError::Bad { number: 1, why }) = endless.next() else { panic!("a line?") };
        assert!(why.starts_with("makes an event of 1048578 bytes or more"), "{why}");
    }
}
