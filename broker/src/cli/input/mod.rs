//! The events of `weir publish`: from a file or a stream of lines.
//!
//! Promises: of a file every line is checked before the first event leaves, so a bad line means
//! that nothing was published. A stream (stdin, a pipe) is checked as it comes; of it nothing
//! leaves until a key was found where `--key` points, or [`LOOK_AHEAD_LINES`] lines have none.
//! Not here: sending.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::ProgressBar;
use tokio::sync::mpsc;
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::Event;

use self::event_line::Parsed;
use self::lines::{LineError, Lines};
use super::Failure;
use super::event_json;

pub use self::event_line::{Format, LineRule, rfc3339};
pub use self::pointer::{Pointer, printable};

mod lines;
mod event_line;
mod pointer;

/// Lines of a stream in which `--key` has to find something before any event leaves: more would
/// keep a slow stream's events waiting, fewer would refuse input whose first keys come late.
pub const LOOK_AHEAD_LINES: usize = 1_000;
/// Events handed to the sender at a time: enough that the channel costs nothing per event.
const CHUNK_EVENTS: usize = 512;
/// Chunks read ahead of the sender: one being sent, one waiting, two being read.
const CHUNKS_AHEAD: usize = 4;
/// Bytes of lines that [`Input::read_all`] holds at most: a million events, and no file by mistake.
const HELD_BYTES_MAX: usize = 512 << 20;
/// Bytes read from the input at a time.
const READ_BYTES: usize = 256 << 10;

/// An event and the number of its line.
#[derive(Debug)]
pub struct Numbered {
    /// From 1.
    pub line: u64,
    /// The event.
    pub event: Event,
}

/// What comes out of an input: events in order, then nothing, or one sentence and nothing more.
pub type Chunks = mpsc::Receiver<Result<Vec<Numbered>, Failure>>;

/// Where events are read from.
pub enum Input {
    /// A file that can be read twice.
    File {
        /// As the user named it.
        path: PathBuf,
        /// Its size in bytes when it was opened.
        bytes: u64,
    },
    /// Something that can be read once.
    Stream {
        /// What sentences call it.
        name: String,
        /// It.
        source: Box<dyn Read + Send>,
    },
}

impl Input {
    /// Opens what `--input` names; `-` is stdin.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stream { name: "stdin".to_owned(), source: Box::new(io::stdin()) });
        }
        let unreadable = |error| unreadable(path, &error);
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if metadata.is_dir() {
            return Err(Failure::new(format!(
                "{} is a folder; give --input a file of lines, or - for stdin",
                path.display()
            )));
        }
        Ok(if metadata.is_file() {
            Self::File { path: path.to_owned(), bytes: metadata.len() }
        } else {
            Self::Stream { name: path.display().to_string(), source: Box::new(file) }
        })
    }

    /// Reads a file through and counts its events; the error names the first bad line. A stream
    /// is not read: `None`.
    pub fn check(&self, rule: &LineRule, progress: &ProgressBar) -> Result<Option<u64>, Failure> {
        let Self::File { path, .. } = self else { return Ok(None) };
        let name = path.display().to_string();
        let source = File::open(path).map_err(|error| unreadable(path, &error))?;
        let mut lines = Lines::new(BufReader::with_capacity(READ_BYTES, source), rule.format);
        let mut keys = KeySearch::new(rule);
        let mut events = 0;
        while let Some((line, bytes)) =
            lines.next().map_err(|error| failure(&name, error, NOTHING))?
        {
            let parsed = rule.parse(bytes, Timestamp(0));
            let parsed = parsed.map_err(|why| bad_line(&name, line, &why, NOTHING))?;
            keys.saw(bytes, parsed.has_key_field);
            events += 1;
            progress.inc(bytes.len() as u64 + 1);
        }
        match keys.missing {
            Some(fields) if events > 0 => {
                Err(no_key_anywhere(rule, &name, events, &fields, NOTHING))
            }
            _ => Ok(Some(events)),
        }
    }

    /// Reads everything, for a command that judges and sends nothing: of an input with a bad line
    /// nothing comes back. `stamp` is the time of events that no pointer gives one; with
    /// `whole_events` the lines are events as `weir consume` prints them.
    pub fn read_all(
        self,
        rule: &LineRule,
        stamp: Timestamp,
        whole_events: bool,
    ) -> Result<Vec<Numbered>, Failure> {
        let (name, source): (String, Box<dyn Read + Send>) = match self {
            Self::Stream { name, source } => (name, source),
            Self::File { path, .. } => {
                let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
                (path.display().to_string(), Box::new(file))
            }
        };
        let source = BufReader::with_capacity(READ_BYTES, source);
        let mut lines = Lines::new(source, rule.format);
        let mut keys = KeySearch::new(rule);
        let (mut events, mut bytes_held) = (Vec::new(), 0);
        while let Some((line, bytes)) =
            lines.next().map_err(|error| failure(&name, error, NOTHING_JUDGED))?
        {
            let parsed = if whole_events {
                event_json::read(bytes).map(|event| Parsed { event, has_key_field: true })
            } else {
                rule.parse(bytes, stamp)
            };
            let parsed = parsed.map_err(|why| bad_line(&name, line, &why, NOTHING_JUDGED))?;
            keys.saw(bytes, parsed.has_key_field);
            bytes_held += bytes.len();
            if HELD_BYTES_MAX < bytes_held {
                return Err(Failure::new(format!(
                    "{name} has more than {} MiB; give a part of it; {NOTHING_JUDGED}",
                    HELD_BYTES_MAX >> 20
                )));
            }
            events.push(Numbered { line, event: parsed.event });
        }
        match keys.missing {
            Some(fields) if !events.is_empty() => {
                let lines = events.len() as u64;
                Err(no_key_anywhere(rule, &name, lines, &fields, NOTHING_JUDGED))
            }
            _ => Ok(events),
        }
    }

    /// Starts reading. `is_checked`: [`check`](Self::check) found this file good.
    pub fn read(self, rule: LineRule, is_checked: bool) -> Chunks {
        let (chunks, receiver) = mpsc::channel(CHUNKS_AHEAD);
        // A thread of its own, since stdin may block for ever: nobody waits for it at the end.
        std::thread::spawn(move || {
            let (name, source) = match self {
                Self::Stream { name, source } => (name, source),
                Self::File { path, .. } => match File::open(&path) {
                    Ok(file) => (path.display().to_string(), Box::new(file) as Box<_>),
                    Err(error) => {
                        let _ = chunks.blocking_send(Err(unreadable(&path, &error)));
                        return;
                    }
                },
            };
            let reader = Reader { name, rule, chunk: Vec::new(), chunks };
            reader.run(BufReader::with_capacity(READ_BYTES, source), is_checked);
        });
        receiver
    }
}

/// Reads lines and hands them over in chunks.
struct Reader {
    name: String,
    rule: LineRule,
    chunk: Vec<Numbered>,
    chunks: mpsc::Sender<Result<Vec<Numbered>, Failure>>,
}

impl Reader {
    fn run<R: Read>(mut self, source: BufReader<R>, is_checked: bool) {
        let mut lines = Lines::new(source, self.rule.format);
        let mut keys = KeySearch::new(&self.rule);
        if is_checked {
            keys.missing = None;
        }
        let end = loop {
            let published = if keys.missing.is_some() { NOTHING } else { THE_REST };
            let (line, bytes) = match lines.next() {
                Ok(Some(next)) => next,
                Ok(None) => break Ok(()),
                Err(error) => break Err(failure(&self.name, error, published)),
            };
            match self.rule.parse(bytes, now()) {
                Ok(parsed) => {
                    keys.saw(bytes, parsed.has_key_field);
                    self.chunk.push(Numbered { line, event: parsed.event });
                }
                Err(why) => break Err(bad_line(&self.name, line, &why, published)),
            }
            if keys.missing.is_some() {
                if self.chunk.len() < LOOK_AHEAD_LINES {
                    continue;
                }
                break Ok(());
            }
            // What was typed or piped so far goes out at once, however little it is.
            let nothing_waits = lines.input().buffer().is_empty();
            if (self.chunk.len() >= CHUNK_EVENTS || nothing_waits) && !self.hand_over() {
                return;
            }
        };
        let end = match keys.missing.take() {
            Some(fields) => {
                let looked_at = std::mem::take(&mut self.chunk).len() as u64;
                end.and_then(|()| match looked_at {
                    0 => Ok(()),
                    _ => Err(no_key_anywhere(&self.rule, &self.name, looked_at, &fields, NOTHING)),
                })
            }
            None => end,
        };
        if self.hand_over()
            && let Err(failure) = end
        {
            let _ = self.chunks.blocking_send(Err(failure));
        }
    }

    /// False when nobody listens any more.
    fn hand_over(&mut self) -> bool {
        let chunk = std::mem::take(&mut self.chunk);
        chunk.is_empty() || self.chunks.blocking_send(Ok(chunk)).is_ok()
    }
}

/// Whether `--key` found anything yet, null included.
struct KeySearch {
    /// While nothing was found: the fields of the first line, empty before it.
    missing: Option<String>,
}

impl KeySearch {
    fn new(rule: &LineRule) -> Self {
        Self { missing: rule.key.is_some().then(String::new) }
    }

    fn saw(&mut self, line: &[u8], has_key_field: bool) {
        if has_key_field {
            self.missing = None;
        } else if let Some(fields) = &mut self.missing
            && fields.is_empty()
        {
            *fields = pointer::fields(&String::from_utf8_lossy(line));
        }
    }
}

/// The end of a sentence about an input that is only judged.
const NOTHING_JUDGED: &str = "nothing was judged";
/// The end of a sentence about a file.
const NOTHING: &str = "nothing was published";
/// The end of a sentence about a stream.
const THE_REST: &str = "the lines before it were sent, it and the rest were not";

fn failure(name: &str, error: LineError, published: &str) -> Failure {
    match error {
        LineError::Io(error) => Failure::new(format!("cannot read {name}: {error}; {published}")),
        LineError::Bad { number, why } => bad_line(name, number, &why, published),
    }
}

fn bad_line(name: &str, line: u64, why: &str, published: &str) -> Failure {
    Failure::new(format!("{name} line {line} {why}; {published}"))
}

fn no_key_anywhere(
    rule: &LineRule,
    name: &str,
    lines: u64,
    fields: &str,
    nothing: &str,
) -> Failure {
    let pointer = rule.key.as_ref().map(ToString::to_string).unwrap_or_default();
    let lines =
        if lines == 1 { "the one line".to_owned() } else { format!("any of the {lines} lines") };
    Failure::new(format!(
        "--key {pointer} finds nothing in {lines} read from {name}; the first has the fields {fields}; {nothing}"
    ))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot read {}: {error}; check the path", path.display()))
}

fn now() -> Timestamp {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::io::Write;

    fn rule(key: Option<&str>) -> LineRule {
        let key = key.map(|text| text.parse().expect(text));
        LineRule { format: Format::Jsonl, key, timestamp: None }
    }

    /// The lines that would be sent, and the sentence at the end.
    fn drain(mut chunks: Chunks) -> String {
        let (mut lines, mut end) = (0, "end".to_owned());
        while let Some(chunk) = chunks.blocking_recv() {
            match chunk {
                Ok(events) => lines += events.len(),
                Err(failure) => end = failure.to_string(),
            }
        }
        format!("{lines} sent; {end}")
    }

    fn check_stream(key: Option<&str>, text: String, expected: Expect) {
        let source = Box::new(io::Cursor::new(text.into_bytes()));
        let stream = Input::Stream { name: "stdin".to_owned(), source };
        expected.assert_eq(&drain(stream.read(rule(key), false)));
    }

    fn check_file(key: Option<&str>, text: &str, expected: Expect) {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(text.as_bytes()).expect("written");
        let input = Input::open(file.path()).unwrap_or_else(|error| panic!("{error}"));
        let said = match input.check(&rule(key), &ProgressBar::hidden()) {
            Ok(events) => {
                let drained = drain(input.read(rule(key), true));
                format!("{} checked, {drained}", events.expect("a file is counted"))
            }
            Err(failure) => failure.to_string(),
        };
        expected.assert_eq(&said.replace(&file.path().display().to_string(), "FILE"));
    }

    #[test]
    fn a_file_is_checked_before_anything_leaves() {
        check_file(None, "", expect!["0 checked, 0 sent; end"]);
        check_file(Some("/k"), "", expect!["0 checked, 0 sent; end"]);
        check_file(Some("/k"), "{\"k\":1}\n{}", expect!["2 checked, 2 sent; end"]);
        check_file(Some("/k"), "{\"k\":null}\n", expect!["1 checked, 1 sent; end"]);
        check_file(
            None,
            "{}\n{}\n{\"a\":",
            expect![
                "FILE line 3 is not valid JSON (EOF while parsing a value at column 5): {\"a\":; nothing was published"
            ],
        );
        check_file(
            None,
            "{}\n\n{}\n",
            expect!["FILE line 2 is blank, but lines follow; remove it; nothing was published"],
        );
        check_file(
            Some("/j"),
            "{\"k\":1}\n{}\n",
            expect![
                "--key /j finds nothing in any of the 2 lines read from FILE; the first has the fields /k; nothing was published"
            ],
        );
    }

    #[test]
    fn a_stream_is_checked_as_it_comes() {
        check_stream(None, "{}\n{}\n".to_owned(), expect!["2 sent; end"]);
        check_stream(
            None,
            "{}\n{}\n{".to_owned(),
            expect![
                "2 sent; stdin line 3 is not valid JSON (EOF while parsing an object at column 1): {; the lines before it were sent, it and the rest were not"
            ],
        );
    }

    #[test]
    fn of_a_stream_nothing_leaves_before_a_key_was_found() {
        let late = |line: usize| "{}\n".repeat(line - 1) + "{\"k\":1}\n";
        check_stream(Some("/k"), late(LOOK_AHEAD_LINES), expect!["1000 sent; end"]);
        check_stream(
            Some("/k"),
            late(LOOK_AHEAD_LINES + 1),
            expect![
                "0 sent; --key /k finds nothing in any of the 1000 lines read from stdin; the first has the fields none; nothing was published"
            ],
        );
        check_stream(
            Some("/k"),
            "{}\n".to_owned(),
            expect![
                "0 sent; --key /k finds nothing in the one line read from stdin; the first has the fields none; nothing was published"
            ],
        );
        check_stream(
            Some("/k"),
            "{}\nno\n".to_owned(),
            expect![
                "0 sent; stdin line 2 is not valid JSON (expected ident at column 2): no; nothing was published"
            ],
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let said = |path: &Path| match Input::open(path) {
            Err(failure) => failure.to_string(),
            Ok(_) => "opened".to_owned(),
        };
        expect!["cannot read no/such/file: No such file or directory (os error 2); check the path"]
            .assert_eq(&said(Path::new("no/such/file")));
        expect!["/ is a folder; give --input a file of lines, or - for stdin"]
            .assert_eq(&said(Path::new("/")));
    }
}
