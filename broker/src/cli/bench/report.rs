//! What became of one event, as a line of JSON and as lines for people.
//!
//! Promises: all but `ns` follows from the component, its binding, the state and the events.

use std::fmt::Write;

use serde::Serialize;
use weir_plugin_host::{FaultCause, StageVerdict};
use weir_wire::record_batch::Event;
use weir_wire::verdict::Verdict;

use super::super::event_json::EventLine;
use super::said::Said;
use super::state_file::Row;
use super::watch::Seen;
use crate::table::thousands;

/// What became of one event.
#[derive(Debug, Serialize)]
pub struct Report<'s> {
    line: u64,
    /// The publisher's: `accept`, `replace`, `drop`, `reject`, `fault` (it failed, and the policy
    /// is closed) or `passed-open` (it failed, and the policy is open).
    pub verdict: &'static str,
    /// Of a refusal, or of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// What would be stored, where that is not what was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventLine<'s>>,
    state: Vec<Row<'s>>,
    emitted: Vec<Side<'s>>,
    log: &'s [Said],
    now: u64,
    fuel: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<u64>,
    #[serde(skip)]
    took_ns: u64,
}

/// A side event.
#[derive(Debug, Serialize)]
struct Side<'s> {
    topic: &'s str,
    event: EventLine<'s>,
}

impl<'s> Report<'s> {
    /// Of the event of `line`, judged at partition time `now`. `seen` is missing where the breaker
    /// spared the plugin; `stored` is there if the event was admitted.
    pub fn new(
        line: u64,
        now: u64,
        verdict: &'s Verdict,
        seen: Option<&'s Seen>,
        stored: Option<&'s Event>,
    ) -> Self {
        let mut report = Self {
            line,
            verdict: "accept",
            code: None,
            message: None,
            retry_after_ms: None,
            event: None,
            state: Vec::new(),
            emitted: Vec::new(),
            log: &[],
            now,
            fuel: 0,
            ns: None,
            took_ns: 0,
        };
        if let Some(seen) = seen {
            report.look_at(seen);
        }
        match verdict {
            Verdict::Accepted => match seen.map(|seen| &seen.answer) {
                Some(Ok(StageVerdict::Replace(_))) => {
                    report.verdict = "replace";
                    report.event = stored.map(EventLine::of);
                }
                Some(Ok(_)) => {}
                failed => {
                    report.verdict = "passed-open";
                    report.event = stored.map(EventLine::of);
                    let fault = failed.and_then(|answer| answer.as_ref().err());
                    let cause = fault.map_or(FaultCause::BreakerOpen, |fault| fault.cause);
                    report.code = Some(cause.as_str());
                    report.message = fault.map(|fault| fault.detail.as_str());
                }
            },
            Verdict::Dropped { .. } => report.verdict = "drop",
            Verdict::Aborted => report.verdict = "aborted",
            Verdict::Rejected(why) => {
                report.verdict = if why.fault { "fault" } else { "reject" };
                report.code = Some(&why.code);
                report.message = Some(&why.message);
                report.retry_after_ms = why.retry_after_ms;
            }
        }
        report
    }

    fn look_at(&mut self, seen: &'s Seen) {
        let row = |change: &'s weir_plugin_host::Change| {
            let (value, expires_at) = match &change.value {
                Some((value, expires_at)) => (Some(&value[..]), *expires_at),
                None => (None, None),
            };
            Row::new(&change.key, value, expires_at)
        };
        self.state = seen.changes.iter().map(row).collect();
        self.emitted = seen
            .emitted
            .iter()
            .map(|side| Side { topic: side.topic.as_str(), event: EventLine::of(&side.event) })
            .collect();
        self.log = &seen.said;
        self.fuel = seen.fuel;
        self.took_ns = u64::try_from(seen.took.as_nanos()).unwrap_or(u64::MAX);
    }

    /// How many side events it caused.
    pub fn side_events(&self) -> u64 {
        self.emitted.len() as u64
    }

    /// Fuel it used.
    pub fn fuel(&self) -> u64 {
        self.fuel
    }

    /// How long it took.
    pub fn ns(&self) -> u64 {
        self.took_ns
    }

    /// The same, and its line of JSON says how long it took.
    pub fn timed(self) -> Self {
        Self { ns: Some(self.took_ns), ..self }
    }

    /// For people: the verdict in a line, and what the event did below it.
    pub fn text(&self) -> String {
        let mut text = format!("{:>6}  {:<11}", self.line, self.verdict);
        if let Some(code) = self.code {
            text += &format!("  {code}");
        }
        text += &format!("  [fuel {}", thousands(self.fuel));
        if let Some(ns) = self.ns {
            text += &format!(", {}", microseconds(ns));
        }
        text += "]\n";
        let mut below = |what: &str, how: String| {
            // Writing to a String does not fail.
            let _ = writeln!(text, "          {what:<7} {how}");
        };
        if let Some(message) = self.message {
            let retry = match self.retry_after_ms {
                Some(ms) => format!(" (try again after {} ms)", thousands(ms)),
                None => String::new(),
            };
            below("says", format!("{message}{retry}"));
        }
        if let Some(event) = &self.event {
            below("stores", json(event));
        }
        for row in &self.state {
            below("state", row.to_string());
        }
        for side in &self.emitted {
            below("emits", format!("to {}: {}", side.topic, json(&side.event)));
        }
        for said in self.log {
            below("log", format!("{:<5} {}", said.level, said.line.escape_debug()));
        }
        text
    }
}

/// Something as one line of JSON.
pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("it is made of strings and numbers")
}

/// A time for people.
pub fn microseconds(ns: u64) -> String {
    format!("{}.{} µs", thousands(ns / 1_000), ns % 1_000 / 100)
}
