//! `weir publish`: every line an event, and a verdict for each.
//!
//! Promises: refusals are answers, so they change no exit code; a line that is no event, a broker
//! that cannot judge or a result that nobody knows does. Whatever happens, the summary counts what
//! was sent until then.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use weir_client::{ClientError, Compression, Delivery, Mode, Outcome, Producer, ProducerOptions};
use weir_wire::ids::TopicName;

use super::Failure;
use super::context;
use super::input::{Chunks, Format, Input, LineRule, Numbered, Pointer};
use super::output::Output;
use super::progress;
use super::tally::{Line, RefusedFile, Tally};

/// Events whose verdicts are awaited at a time, 40 bytes each: enough to keep the windows of 64
/// partitions full while one of them is slow.
const DELIVERIES_MAX: usize = 1 << 18;

/// Publish the lines of a file, and count what became of each.
///
/// A line ends with a line feed, which is not part of the event. `jsonl`: each line is one JSON
/// value and its bytes are the event's value; a carriage return before the line feed is not part
/// of it. Blank lines may stand at the end only. `raw`: each line is one event, whatever is in it.
///
/// A file is checked to its end before the first event is sent. Refused events are counted by
/// their code, and are no error: the exit code is 0 when every event has a verdict.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weir publish flights --input flights.jsonl --key /tailnum --timestamp /time
  weir publish flights --input flights.jsonl --key /tailnum --rejected refused.jsonl --json
  tail -f app.log | weir publish logs --input - --format raw")]
pub struct Publish {
    /// Where to.
    topic: TopicName,
    /// A file of lines, or - for stdin.
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// What a line is.
    #[arg(long, default_value = "jsonl")]
    format: Format,
    /// Where in the JSON the event's key stands (RFC 6901): events with one key stay in order.
    /// A string gives its bytes, a number or bool its text, null or nothing no key.
    #[arg(long, value_name = "/JSON/POINTER")]
    key: Option<Pointer>,
    /// Where in the JSON the event's time stands: a number of ms since 1970 or an RFC 3339 string
    /// [default: the time of reading].
    #[arg(long, value_name = "/JSON/POINTER")]
    timestamp: Option<Pointer>,
    /// Whether one refused event refuses its whole batch (up to 10,000 events of one partition).
    #[arg(long, default_value = "per-event")]
    mode: ModeName,
    /// How batches travel and are stored.
    #[arg(long, default_value = "none")]
    compression: CompressionName,
    /// Gets one line {"line":N,"code":…,"message":…} per refused event.
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
}

/// `--mode`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ModeName {
    /// Each event stands for itself.
    PerEvent,
    /// A batch is accepted whole or not at all.
    AllOrNothing,
}

/// `--compression`.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum CompressionName {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::PerEvent => Self::PerEvent,
            ModeName::AllOrNothing => Self::AllOrNothing,
        }
    }
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Self::None,
            CompressionName::Gzip => Self::Gzip,
            CompressionName::Snappy => Self::Snappy,
            CompressionName::Lz4 => Self::Lz4,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}

/// Whether two paths lead to one file, by whatever links.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|it| (it.dev(), it.ino()));
    identity(one).is_some_and(|file| identity(other) == Some(file))
}

impl Publish {
    /// Checks, connects, sends, waits for every verdict, prints the summary.
    pub async fn run(self, context: Option<&Path>, output: Output) -> Result<(), Failure> {
        let rule = self.rule()?;
        let input = Input::open(&self.input)?;
        if let Some(rejected) = &self.rejected
            && is_same_file(&self.input, rejected)
        {
            return Err(Failure::new(
                "--rejected names the input itself; choose another file. Nothing was published",
            ));
        }
        // Connected first: a long file is not checked for a broker or a topic that is not there.
        let client = context::patient_client(context).await?;
        let options = ProducerOptions {
            mode: self.mode.into(),
            compression: self.compression.into(),
            ..ProducerOptions::default()
        };
        let producer = client.producer(&self.topic, options).await?;
        let total = check(&input, &rule)?;
        let mut sending = Sending {
            producer,
            pending: VecDeque::new(),
            tally: Tally::default(),
            refused: RefusedFile::create(self.rejected.as_deref())?,
            bar: progress::over_events(total, "publishing"),
        };
        let end = sending.run(input.read(rule, total.is_some())).await;
        let end = end.and_then(|()| match total {
            Some(lines) if lines != sending.tally.sent => Err(Failure::new(format!(
                "the file changed while it was read: it had {lines} events and {} were sent",
                sending.tally.sent
            ))),
            _ => Ok(()),
        });
        sending.bar.finish_and_clear();
        let printed = output.answer(&sending.tally, Tally::table);
        client.close().await;
        end.and(printed)
    }

    fn rule(&self) -> Result<LineRule, Failure> {
        if self.format == Format::Raw && (self.key.is_some() || self.timestamp.is_some()) {
            return Err(Failure::new(
                "--key and --timestamp look into JSON; leave them out with --format raw",
            ));
        }
        let (key, timestamp) = (self.key.clone(), self.timestamp.clone());
        Ok(LineRule { format: self.format, key, timestamp })
    }
}

fn check(input: &Input, rule: &LineRule) -> Result<Option<u64>, Failure> {
    let Input::File { bytes, .. } = input else { return Ok(None) };
    let bar = progress::over_bytes(*bytes, "checking");
    let total = input.check(rule, &bar);
    bar.finish_and_clear();
    total
}

/// Events on their way, and what became of those before them.
struct Sending {
    producer: Producer,
    /// Lines without a verdict so far, in file order: verdicts are counted in this order too.
    pending: VecDeque<(u64, Delivery)>,
    tally: Tally,
    refused: RefusedFile,
    bar: ProgressBar,
}

impl Sending {
    /// Sends all chunks and waits for every verdict. At the first failure nothing more is sent,
    /// and what is on its way is still awaited.
    async fn run(&mut self, mut chunks: Chunks) -> Result<(), Failure> {
        let mut end = Ok(());
        loop {
            tokio::select! {
                biased;
                (line, outcome) = first(&mut self.pending), if !self.pending.is_empty() => {
                    let settled = self.settle(line, &outcome);
                    end = end.and(settled);
                    if end.is_err() {
                        chunks.close();
                    }
                }
                chunk = chunks.recv(), if end.is_ok() && self.pending.len() < DELIVERIES_MAX => {
                    let Some(chunk) = chunk else { break };
                    end = match chunk {
                        Ok(events) => self.send(events).await,
                        Err(failure) => Err(failure),
                    };
                }
                else => break,
            }
        }
        self.producer.flush().await;
        while !self.pending.is_empty() {
            let (line, outcome) = first(&mut self.pending).await;
            let settled = self.settle(line, &outcome);
            end = end.and(settled);
        }
        self.refused.flush()?;
        end
    }

    async fn send(&mut self, events: Vec<Numbered>) -> Result<(), Failure> {
        for Numbered { line, event } in events {
            let delivery = self.producer.send(event).await.map_err(|error| at(line, &error))?;
            self.pending.push_back((line, delivery));
        }
        Ok(())
    }

    fn settle(&mut self, line: u64, outcome: &Result<Outcome, ClientError>) -> Result<(), Failure> {
        if let Some(refused) = self.tally.count(Line { line }, outcome) {
            self.refused.write(&refused)?;
        }
        if self.pending.is_empty() {
            self.refused.flush()?;
        }
        self.bar.inc(1);
        match outcome {
            Ok(_) => Ok(()),
            Err(ClientError::Unknown) => Err(Failure::new(format!(
                "from line {line} on the broker's answer was lost for good: events counted as \
                 unknown may be in the topic or not; read it before you send them again"
            ))),
            Err(error) => Err(at(line, error)),
        }
    }
}

/// The first pending event and its outcome. Dropped before that, it takes nothing away.
async fn first(pending: &mut VecDeque<(u64, Delivery)>) -> (u64, Result<Outcome, ClientError>) {
    let (line, delivery) = pending.front_mut().expect("asked for only while something is pending");
    let (line, outcome) = (*line, delivery.await);
    pending.pop_front();
    (line, outcome)
}

fn at(line: u64, error: &ClientError) -> Failure {
    Failure::new(format!("the events from line {line} on have no verdict: {error}"))
}
