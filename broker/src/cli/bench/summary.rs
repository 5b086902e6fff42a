//! What all events add up to: counts, and what the plugin used of what it may.
//!
//! Promises: all but the times follows from the input.

use std::collections::BTreeMap;

use serde::Serialize;
use weir_plugin_host::{FaultCause, StageCounters};
use weir_wire::admin::Limits;

use super::report::{Report, microseconds};
use crate::table::{Align, Table, bytes, thousands};

/// The sum.
#[derive(Debug, Default)]
pub struct Tally {
    events: u64,
    verdicts: BTreeMap<&'static str, u64>,
    codes: BTreeMap<String, u64>,
    side_events: u64,
    fuel: Vec<u64>,
    ns: Vec<u64>,
}

/// How a number is spread over the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    median: u64,
    p99: u64,
    max: u64,
}

/// Something that has a limit.
#[derive(Debug, Serialize)]
struct Used {
    used: u64,
    limit: u64,
}

/// The last line.
#[derive(Debug, Serialize)]
pub struct Summary {
    events: u64,
    verdicts: BTreeMap<&'static str, u64>,
    codes: BTreeMap<String, u64>,
    side_events: u64,
    fuel: Spread,
    fuel_limit: u64,
    memory_bytes: Used,
    state_keys: Used,
    state_bytes: Used,
    instances: u64,
    log_bytes_cut: u64,
    now: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<Spread>,
}

impl Tally {
    /// Adds an event.
    pub fn add(&mut self, report: &Report<'_>) {
        self.events += 1;
        *self.verdicts.entry(report.verdict).or_default() += 1;
        if let Some(code) = report.code {
            *self.codes.entry(code.to_owned()).or_default() += 1;
        }
        self.side_events += report.side_events();
        self.fuel.push(report.fuel());
        self.ns.push(report.ns());
    }

    /// The sum, beside the limits.
    pub fn summary(
        self,
        limits: &Limits,
        (counters, memory_bytes): (StageCounters, u64),
        (state_keys, state_bytes): (u64, u64),
        now: u64,
        is_timed: bool,
    ) -> Summary {
        Summary {
            events: self.events,
            verdicts: self.verdicts,
            codes: self.codes,
            side_events: self.side_events,
            fuel: Spread::of(self.fuel),
            fuel_limit: limits.fuel,
            memory_bytes: Used { used: memory_bytes, limit: limits.memory_bytes },
            state_keys: Used { used: state_keys, limit: limits.state_keys },
            state_bytes: Used { used: state_bytes, limit: limits.state_bytes },
            instances: counters.instances,
            log_bytes_cut: counters.log_bytes_cut,
            now,
            ns: is_timed.then(|| Spread::of(self.ns)),
        }
    }
}

impl Spread {
    /// By the nearest rank; zeros of nothing.
    fn of(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        let rank = |percent: usize| {
            let place = (numbers.len() * percent).div_ceil(100).saturating_sub(1);
            numbers.get(place).copied().unwrap_or(0)
        };
        Self { median: rank(50), p99: rank(99), max: rank(100) }
    }
}

impl Summary {
    /// For people.
    pub fn text(&self) -> String {
        let mut verdicts = Table::new([("VERDICT", Align::Left), ("EVENTS", Align::Right)]);
        for (verdict, count) in &self.verdicts {
            verdicts.row([(*verdict).to_owned(), thousands(*count)]);
        }
        for (code, count) in &self.codes {
            verdicts.row([format!("  {code}"), thousands(*count)]);
        }
        verdicts.row(["side events".to_owned(), thousands(self.side_events)]);
        let mut used = Table::new([
            ("USED", Align::Left),
            ("MEDIAN", Align::Right),
            ("P99", Align::Right),
            ("MAX", Align::Right),
            ("LIMIT", Align::Right),
        ]);
        let Spread { median, p99, max } = self.fuel;
        used.row([
            "fuel per event".to_owned(),
            thousands(median),
            thousands(p99),
            thousands(max),
            thousands(self.fuel_limit),
        ]);
        if let Some(ns) = self.ns {
            let [median, p99, max] = [ns.median, ns.p99, ns.max].map(microseconds);
            used.row(["time per event".to_owned(), median, p99, max, "-".to_owned()]);
        }
        for (what, Used { used: number, limit }, show) in [
            ("memory", &self.memory_bytes, bytes as fn(u64) -> String),
            ("state keys", &self.state_keys, thousands),
            ("state bytes", &self.state_bytes, bytes),
        ] {
            let none = || "-".to_owned();
            used.row([what.to_owned(), none(), none(), show(*number), show(*limit)]);
        }
        let mut text = format!("{verdicts}\n{used}");
        if self.codes.contains_key(FaultCause::BreakerOpen.as_str()) {
            text += "\nthe breaker is open for a second after five failures in a row; where time stands \
                     still it stays open (--timestamp moves time)\n";
        }
        if 1 < self.instances {
            text += &format!(
                "\n{} instances: one was thrown away after each failure, or had too much memory\n",
                thousands(self.instances)
            );
        }
        if 0 < self.log_bytes_cut {
            text += &format!(
                "\n{} of log lines were over their limit and cut\n",
                bytes(self.log_bytes_cut)
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_events_that_happened() {
        let spread = |numbers: &[u64]| {
            let Spread { median, p99, max } = Spread::of(numbers.to_vec());
            [median, p99, max]
        };
        assert_eq!(spread(&[]), [0, 0, 0]);
        assert_eq!(spread(&[7]), [7, 7, 7]);
        assert_eq!(spread(&[4, 1, 3, 2]), [2, 4, 4]);
        assert_eq!(spread(&(1..=1_000).collect::<Vec<_>>()), [500, 990, 1_000]);
    }
}
