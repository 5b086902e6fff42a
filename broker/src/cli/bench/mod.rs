//! `weir plugin test`: a plugin at work on a file of events, without a broker.
//!
//! Promises: the broker's own engine, admission, chain and view judge, so verdicts, effects and
//! limits are those of a broker; the same component, binding, state and events print the same, but
//! for times. Nothing is sent anywhere. Not here: chains of several plugins.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tracing_subscriber::layer::SubscriberExt;
use weir_partition::{Batch, Bench, Chain, Judge, Judged, Link, Mode, Origin, Source};
use weir_plugin_host::{BindingSettings, Host, HostOptions, Plugin};
use weir_wire::admin::Limits;
use weir_wire::frame::BATCH_EVENTS_MAX;
use weir_wire::ids::{ChainRevision, PartitionId, PluginName, Principal, Timestamp, TopicName};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, RecordBatch};

use self::expect::Differences;
use self::report::Report;
use self::said::Hearing;
use self::summary::{Summary, Tally};
use self::watch::{Notes, Watched};
use super::Failure;
use super::chain::{PolicyName, config};
use super::component_file;
use super::input::{Format, Input, LineRule, Numbered, Pointer, rfc3339};
use super::limits::{self, LimitFlag, limits};
use super::output::{Output, print};
use crate::components::ComponentStore;
use crate::control::check_limits;

mod summary;
mod report;
mod expect;
mod state_file;
mod watch;
mod said;

/// The time of events and of the partition where nothing gives another: 2026-01-01T00:00:00Z. One
/// that is fixed, so that the same file gives the same output.
const TIME_DEFAULT: Timestamp = Timestamp(1_767_225_600_000);
/// A plugin's name where its file's is none.
const NAME_DEFAULT: &str = "plugin";

/// Try a plugin on a file of events without a broker: verdicts, effects, logs, fuel and time.
///
/// The broker's own engine judges, so what is printed is what a broker would do: the same limits,
/// the same failure policy, the same breaker. Nothing is stored or sent; side events are printed.
///
/// Time stands still unless the events move it. A plugin sees the partition time: --now, or the
/// highest timestamp so far (--timestamp, --events), or 2026-01-01T00:00:00Z. So the same files
/// print the same, but for the times that events took (--no-times leaves those out).
///
/// With --expect it is a test: exit code 1 and the differences if anything is not as FILE says.
/// FILE has one JSON object per event, in order. What an object names has to be so, what it leaves
/// out may be anything, and {} takes everything; --update writes the file. The fields are those of
/// --json: line, verdict (accept, replace, drop, reject, fault, passed-open), code, message,
/// retry_after_ms, event, state, emitted, log, now, fuel.
#[derive(Debug, Args)]
#[command(after_help = help())]
pub struct Test {
    /// The component: a WebAssembly component of the world weir:plugin/filter.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// A file of events, one line of JSON each as for `weir publish`, or - for stdin.
    #[arg(long, value_name = "FILE|-")]
    input: PathBuf,
    /// The lines are whole events with key, headers and timestamp, as `weir consume` prints them.
    #[arg(long, conflicts_with_all = ["key", "timestamp"])]
    events: bool,
    /// Where in the JSON the event's key stands (RFC 6901).
    #[arg(long, value_name = "/JSON/POINTER")]
    key: Option<Pointer>,
    /// Where in the JSON the event's time stands: ms since 1970 or an RFC 3339 string.
    #[arg(long, value_name = "/JSON/POINTER")]
    timestamp: Option<Pointer>,
    /// Handed to the plugin: JSON, or @FILE with JSON in it.
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    config: String,
    /// A topic the plugin may emit to; may be given more than once. Without it: whatever the
    /// config names that can be a topic.
    #[arg(long, value_name = "TOPIC")]
    emit: Vec<TopicName>,
    /// What the plugin may use up; may be given more than once.
    #[arg(long = "limit", value_name = "KEY=VALUE")]
    limits: Vec<LimitFlag>,
    /// What becomes of an event on which the plugin fails.
    #[arg(long, default_value = "closed")]
    on_failure: PolicyName,
    /// What the plugin remembers from before: a file that --state-out wrote.
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// Gets what the plugin remembers in the end: one line {"key","value","expires_at"} per key.
    #[arg(long, value_name = "FILE")]
    state_out: Option<PathBuf>,
    /// Makes it a test: what should become of the events.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
    /// Writes the --expect file instead of comparing with it.
    #[arg(long, requires = "expect")]
    update: bool,
    /// The partition time: ms since 1970 or RFC 3339.
    #[arg(long, value_name = "MS|RFC3339", value_parser = time)]
    now: Option<Timestamp>,
    /// Events judged together, as in one batch of a publisher: they share one partition time.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(BATCH_EVENTS_MAX)))]
    batch: u32,
    /// The topic that the plugin is told.
    #[arg(long, default_value = "test")]
    topic: TopicName,
    /// The partition that the plugin is told.
    #[arg(long, value_name = "N", default_value_t = 0)]
    partition: u32,
    /// The publisher that the plugin is told.
    #[arg(long, value_name = "NAME", default_value = "admin")]
    publisher: Principal,
    /// Leaves out how long events took: what is printed is then the same in every run.
    #[arg(long)]
    no_times: bool,
}

fn help() -> String {
    format!(
        "\
Examples:
  weir plugin test daily-limit.wasm --input flights.jsonl --key /tailnum --timestamp /time \\
       --config '{{\"limit\":2,\"key\":\"event\",\"time\":\"event\",\"notice\":\"notices\"}}'
  weir plugin test rule.wasm --input cases.jsonl --expect cases.expect.jsonl --update    once, then
  weir plugin test rule.wasm --input cases.jsonl --expect cases.expect.jsonl             in your CI
  weir consume flights --until-end | weir plugin test rule.wasm --input - --events

{}",
        limits::help()
    )
}

/// Reads `--now`.
fn time(text: &str) -> Result<Timestamp, String> {
    let ms = text.parse().ok().filter(|ms| i64::try_from(*ms).is_ok()).map(Timestamp);
    ms.or_else(|| rfc3339(text)).ok_or_else(|| {
        "give a number of ms since 1970 or an RFC 3339 time such as 2013-06-01T00:00:00Z".to_owned()
    })
}

impl Test {
    /// Does it.
    pub fn run(self, output: Output) -> Result<(), Failure> {
        let rule = LineRule {
            format: Format::Jsonl,
            key: self.key.clone(),
            timestamp: self.timestamp.clone(),
        };
        let (limits, config) =
            (Limits::default().with(&limits(&self.limits)), config(&self.config)?);
        check_limits(&limits).map_err(|error| Failure::new(error.to_string()))?;
        let expected = self.expected()?;
        let state = self.state.as_deref().map(state_file::read).transpose()?.unwrap_or_default();
        let stamp = self.now.unwrap_or(TIME_DEFAULT);
        let events = Input::open(&self.input)?.read_all(&rule, stamp, self.events)?;

        let hearing = Hearing::default();
        let subscriber = tracing_subscriber::registry().with(hearing.clone());
        tracing::subscriber::with_default(subscriber, || {
            let notes = Notes::default();
            let plugin = self.plugin()?;
            let name = plugin.name().clone();
            let link = self.link(plugin, config, limits, notes.clone(), hearing)?;
            let chain = Chain { revision: ChainRevision(1), links: vec![link] };
            let mut bench = Bench::new(self.topic.clone(), PartitionId(self.partition), chain);
            let first = self.time_of(&events[..events.len().min(self.batch as usize)]);
            bench.remember(&name, state, first);
            let mut run =
                Run { test: &self, output, notes, tally: Tally::default(), got: Vec::new() };
            for batch in events.chunks(self.batch as usize) {
                run.judge(&mut bench, batch)?;
            }
            let state = bench.view().state(&name);
            if let Some(path) = &self.state_out {
                state_file::write(path, state.entries())?;
            }
            let (got, counters) = (run.got, run.notes.counters());
            let now = bench.view().time().0;
            let summary = run.tally.summary(
                &limits,
                counters,
                (state.keys(), state.bytes()),
                now,
                !self.no_times,
            );
            self.end(output, &summary, expected.as_deref(), &got)
        })
    }

    /// The component as a plugin under its file's name.
    fn plugin(&self) -> Result<Plugin, Failure> {
        let component = component_file::read(&self.file)?;
        let shown = self.file.display();
        let failure = |error: String| Failure::new(format!("{shown}: {error}"));
        let stem = self.file.file_stem().unwrap_or_default().to_string_lossy().replace('_', "-");
        let name = PluginName::parse(&stem)
            .or_else(|_| PluginName::parse(NAME_DEFAULT))
            .expect("the default is a name");
        let host = Host::new(HostOptions::default()).map_err(|error| failure(error.to_string()))?;
        let artefact = host.compile(&component).map_err(|error| failure(error.to_string()))?;
        host.load(name, ComponentStore::digest(&component), &artefact)
            .map_err(|error| failure(error.to_string()))
    }

    /// The plugin bound as a broker would.
    fn link(
        &self,
        plugin: Plugin,
        config: Value,
        limits: Limits,
        notes: Notes,
        hearing: Hearing,
    ) -> Result<Link, Failure> {
        let emit = match self.emit.is_empty() {
            true => topics_in(&config),
            false => self.emit.clone(),
        };
        let judge = Judge { plugin: plugin.name().clone(), version: 1, digest: plugin.digest() };
        let settings = BindingSettings { config: config.to_string(), emit, limits };
        let stage = plugin
            .stage(settings)
            .map_err(|error| Failure::new(format!("{}: {error}", self.file.display())))?;
        let stage = Watched::new(stage, notes, hearing);
        Ok(Link::new(judge, self.on_failure.into(), Box::new(stage)))
    }

    /// The partition time at which these events are judged, if they were the first.
    fn time_of(&self, events: &[Numbered]) -> Timestamp {
        let moved = self.events || self.timestamp.is_some();
        match self.now {
            Some(now) => now,
            None if moved => {
                let highest = events.iter().map(|numbered| numbered.event.timestamp).max();
                highest.unwrap_or(TIME_DEFAULT)
            }
            None => TIME_DEFAULT,
        }
    }

    fn expected(&self) -> Result<Option<Vec<Value>>, Failure> {
        let Some(path) = self.expect.as_deref().filter(|_| !self.update) else { return Ok(None) };
        let shown = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::new(format!("cannot read {shown}: {error}; --update writes it"))
        })?;
        let expected = expect::read(&text).map_err(|(line, why)| {
            Failure::new(format!("{shown} line {line} {why}; nothing was judged"))
        })?;
        Ok(Some(expected))
    }

    /// The summary, and whether everything was as expected.
    fn end(
        &self,
        output: Output,
        summary: &Summary,
        expected: Option<&[Value]>,
        got: &[Value],
    ) -> Result<(), Failure> {
        let differences = expected.map(|expected| expect::compare(expected, got));
        let line = Last { summary, differences: differences.as_ref() };
        output.answer(&line, |_| {
            let shown = differences.as_ref().map(|differences| &differences.shown[..]);
            let shown: String =
                shown.unwrap_or_default().iter().map(|line| format!("{line}\n")).collect();
            let rest = summary.text();
            match expected {
                Some(_) if shown.is_empty() => rest,
                Some(_) => format!("{shown}\n{rest}"),
                None => format!("\n{rest}"),
            }
        })?;
        let Some(path) = &self.expect else { return Ok(()) };
        let path = path.display();
        match differences {
            None => self.update_expected(got),
            Some(Differences { events: 0, .. }) => Ok(()),
            Some(Differences { events, .. }) => Err(Failure::new(format!(
                "{events} of {} events are not as {path} says; mend the plugin, or the file with --update",
                got.len(),
            ))),
        }
    }

    fn update_expected(&self, got: &[Value]) -> Result<(), Failure> {
        let Some(path) = &self.expect else { return Ok(()) };
        let text: String = got.iter().map(|got| format!("{}\n", expect::lasting(got))).collect();
        std::fs::write(path, text).map_err(|error| {
            Failure::new(format!(
                "cannot write {}: {error}; choose another --expect file",
                path.display()
            ))
        })
    }
}

/// The last line.
#[derive(Serialize)]
struct Last<'s> {
    summary: &'s Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<&'s Differences>,
}

/// A run over the events.
struct Run<'t> {
    test: &'t Test,
    output: Output,
    notes: Notes,
    tally: Tally,
    /// What became of each event, for `--expect`.
    got: Vec<Value>,
}

impl Run<'_> {
    fn judge(&mut self, bench: &mut Bench, events: &[Numbered]) -> Result<(), Failure> {
        let test = self.test;
        let now = test.time_of(events).max(bench.view().time());
        let Judged { verdicts, stored, .. } =
            bench.judge(&batch(events, &test.publisher)?, now).map_err(|fault| {
                let (first, last) = (events[0].line, events[events.len() - 1].line);
                Failure::new(format!("lines {first} to {last}: {fault}; none of them was stored"))
            })?;
        let seen = self.notes.take();
        let mut stored = stored.iter();
        let mut text = String::new();
        for (index, (numbered, verdict)) in (0..).zip(events.iter().zip(verdicts.iter())) {
            let is_stored = *verdict == weir_wire::verdict::Verdict::Accepted;
            let report = Report::new(
                numbered.line,
                now.0,
                verdict,
                seen.iter().find(|seen| seen.index == index),
                is_stored.then(|| stored.next()).flatten(),
            );
            self.tally.add(&report);
            let report = if test.no_times { report } else { report.timed() };
            if self.output.json {
                text += &format!("{}\n", report::json(&report));
            } else if test.expect.is_none() {
                text += &report.text();
            }
            if test.expect.is_some() {
                self.got.push(serde_json::to_value(&report).expect("strings and numbers"));
            }
        }
        print(&text)
    }
}

/// A publisher's batch of these events.
fn batch(events: &[Numbered], publisher: &Principal) -> Result<Batch, Failure> {
    let mut builder = BatchBuilder::default();
    for numbered in events {
        builder.push(&numbered.event.as_record());
    }
    let encoded = RecordBatch::parse(builder.finish(Compression::None));
    let opened = encoded.and_then(|encoded| {
        let records = encoded.open(&BatchLimits::default())?;
        Ok((encoded, records))
    });
    let (encoded, records) = opened.map_err(|error| {
        Failure::new(format!(
            "the events from line {} on make no batch: {error}; give a smaller --batch",
            events[0].line
        ))
    })?;
    Ok(Batch {
        publisher: publisher.clone(),
        mode: Mode::PerEvent,
        origin: Origin::Unnumbered,
        source: Source::Untold,
        encoded,
        records,
    })
}

/// Everything in a config that can be the name of a topic: a broker takes those that there are.
fn topics_in(config: &Value) -> Vec<TopicName> {
    match config {
        Value::String(text) => TopicName::parse(text).into_iter().collect(),
        Value::Array(values) => values.iter().flat_map(topics_in).collect(),
        Value::Object(fields) => fields.values().flat_map(topics_in).collect(),
        _ => Vec::new(),
    }
}
