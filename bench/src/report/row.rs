//! One measured point.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::Fsync;
use crate::measure::Measured;

/// What is told of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Answered events.
    EventsPerSecond,
    /// Their keys and values, in millions of bytes.
    MegabytesPerSecond,
    /// From the intended time to the answer; half of the events stayed within.
    P50Us,
    /// The same, 99 of a hundred.
    P99Us,
    /// The same, 999 of a thousand.
    P999Us,
    /// The longest.
    MaxUs,
    /// Of the time that latencies were measured in, what the machine was slow.
    MachineSlowPercent,
    /// Processor time of the servers.
    ServersCpuSecondsPerMillion,
    /// Processor time of the process that makes the load.
    LoadCpuSecondsPerMillion,
    /// The servers' resident memory at its most.
    ServersMemoryPeakMib,
    /// From one moment to another, where that is what is measured.
    Milliseconds,
    /// Changes of the chain that were made meanwhile.
    SwapsPerSecond,
    /// What one call costs its thread.
    NsPerEvent,
    /// Of a file, or of memory.
    Mib,
    /// Of memory, for each of many.
    KibEach,
    /// Of a file.
    SyncsPerSecond,
}

impl Metric {
    /// As tables and axes say it, with its unit.
    pub fn label(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::P50Us => "p50 µs",
            Self::P99Us => "p99 µs",
            Self::P999Us => "p99.9 µs",
            Self::MaxUs => "max µs",
            Self::MachineSlowPercent => "machine slow %",
            Self::ServersCpuSecondsPerMillion => "server CPU s/million",
            Self::LoadCpuSecondsPerMillion => "load CPU s/million",
            Self::ServersMemoryPeakMib => "server peak MiB",
            Self::Milliseconds => "ms",
            Self::SwapsPerSecond => "swaps/s",
            Self::NsPerEvent => "ns/event",
            Self::Mib => "MiB",
            Self::KibEach => "KiB each",
            Self::SyncsPerSecond => "syncs/s",
        }
    }

    /// Whether more of it is better.
    pub fn is_better_higher(self) -> bool {
        matches!(
            self,
            Self::EventsPerSecond
                | Self::MegabytesPerSecond
                | Self::SwapsPerSecond
                | Self::SyncsPerSecond
        )
    }
}

/// What several measurements of the same came to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The one in the middle; of an even number the lower of the two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
    /// How many.
    pub repeats: usize,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: sorted[(sorted.len() - 1) / 2], min, max, repeats: sorted.len() })
    }
}

/// One measured point: where it stands, and what was measured there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Which chart it is in.
    pub chart: String,
    /// Which line or bar of it.
    pub series: String,
    /// Where on the axis: the size, the number, or the place of a bar.
    pub x: f64,
    /// When what was answered is on the disk.
    pub fsync: Fsync,
    /// What was measured.
    pub metrics: BTreeMap<Metric, Spread>,
}

impl Row {
    /// A point of which nothing is known yet.
    pub fn new(chart: &str, series: &str, x: f64, fsync: Fsync) -> Self {
        let metrics = BTreeMap::new();
        Self { chart: chart.to_owned(), series: series.to_owned(), x, fsync, metrics }
    }

    /// The same with one metric measured several times.
    pub fn with(mut self, metric: Metric, values: &[f64]) -> Self {
        if let Some(spread) = Spread::of(values) {
            self.metrics.insert(metric, spread);
        }
        self
    }

    /// The same with how much was done, by runs that measured the most there is.
    pub fn with_throughput(self, runs: &[Measured]) -> Self {
        let rates: Vec<f64> = runs.iter().map(Measured::events_per_second).collect();
        let megabytes: Vec<f64> =
            runs.iter().map(|run| run.event_bytes as f64 / run.seconds / 1e6).collect();
        self.with(Metric::EventsPerSecond, &rates)
            .with(Metric::MegabytesPerSecond, &megabytes)
            .with_usage(runs)
    }

    /// The same with latencies, by runs at a rate.
    pub fn with_latency(mut self, runs: &[Measured]) -> Self {
        let latencies: Vec<_> = runs.iter().filter_map(|run| run.latency.as_ref()).collect();
        let us = |latency: Duration| latency.as_secs_f64() * 1e6;
        for (metric, of_hundred) in
            [(Metric::P50Us, 50.0), (Metric::P99Us, 99.0), (Metric::P999Us, 99.9)]
        {
            let values = latencies.iter().map(|latency| us(latency.percentile(of_hundred)));
            self = self.with(metric, &values.collect::<Vec<_>>());
        }
        let longest = latencies.iter().map(|latency| us(latency.max()));
        let slow = runs.iter().filter_map(|run| run.slow_share).map(|share| 100.0 * share);
        self.with(Metric::MaxUs, &longest.collect::<Vec<_>>())
            .with(Metric::MachineSlowPercent, &slow.collect::<Vec<_>>())
    }

    /// The same with what processes used up.
    pub fn with_usage(mut self, runs: &[Measured]) -> Self {
        let used: Vec<_> =
            runs.iter().filter_map(|run| Some((run.usage?, run.events as f64 / 1e6))).collect();
        let each = |of: &dyn Fn(&crate::measure::Usage, f64) -> f64| -> Vec<f64> {
            used.iter().map(|(usage, millions)| of(usage, *millions)).collect()
        };
        let servers = each(&|usage, millions| usage.servers_cpu.as_secs_f64() / millions);
        let load = each(&|usage, millions| usage.load_cpu.as_secs_f64() / millions);
        let peak = each(&|usage, _| usage.servers_memory_peak as f64 / f64::from(1 << 20));
        for (metric, values) in [
            (Metric::ServersCpuSecondsPerMillion, servers),
            (Metric::LoadCpuSecondsPerMillion, load),
            (Metric::ServersMemoryPeakMib, peak),
        ] {
            self = self.with(metric, &values);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Usage;

    #[test]
    fn a_spread_is_median_least_and_most() {
        let spread = |values: &[f64]| Spread::of(values).map(|it| (it.min, it.median, it.max));
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some((1.0, 2.0, 3.0)));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some((1.0, 2.0, 4.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn rates_and_costs_follow_from_what_was_counted() {
        let usage = Usage {
            servers_cpu: Duration::from_secs(3),
            load_cpu: Duration::from_secs(1),
            servers_memory_peak: 64 << 20,
        };
        let run = Measured {
            events: 2_000_000,
            seconds: 4.0,
            event_bytes: 256_000_000,
            latency: None,
            usage: Some(usage),
            slow_share: None,
        };
        let row = Row::new("c", "s", 1.0, Fsync::EachAnswer).with_throughput(&[run]);
        let median = |metric| row.metrics[&metric].median;
        assert_eq!(median(Metric::EventsPerSecond), 500_000.0);
        assert_eq!(median(Metric::MegabytesPerSecond), 64.0);
        assert_eq!(median(Metric::ServersCpuSecondsPerMillion), 1.5);
        assert_eq!(median(Metric::LoadCpuSecondsPerMillion), 0.5);
        assert_eq!(median(Metric::ServersMemoryPeakMib), 64.0);
        assert!(!row.metrics.contains_key(&Metric::P99Us));
    }
}
