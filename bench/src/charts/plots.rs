//! What several charts have: pictures, bars on an even scale where a chart says nothing else, and an x.

use crate::report::{Axis, Metric, Plot, Shape};

/// By the event's size.
pub const EVENT_BYTES: Axis =
    Axis { label: "bytes of an event", is_log: true, write: |x| format!("{x} B") };

/// How many events a second.
pub const RATE: Plot = Plot {
    title: "The most events a second",
    suffix: "rate",
    metrics: &[Metric::EventsPerSecond],
    values: "events/s",
    shape: Shape::Bars,
    is_log: false,
};

/// How long one waits.
pub const LATENCY: Plot = Plot {
    title: "From event to verdict, at half of the most",
    suffix: "latency",
    metrics: &[Metric::P50Us, Metric::P99Us, Metric::P999Us],
    values: "µs",
    shape: Shape::Bars,
    is_log: false,
};

/// What it costs.
pub const CPU: Plot = Plot {
    title: "Processor time of a million events",
    suffix: "cpu",
    metrics: &[Metric::ServersCpuSecondsPerMillion, Metric::LoadCpuSecondsPerMillion],
    values: "seconds",
    shape: Shape::Bars,
    is_log: false,
};
