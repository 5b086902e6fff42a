//! How long answers took, in a histogram: all of them, and none thrown away.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart; what takes longer counts as this.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Three digits: a figure is off by a thousandth at most.
const DIGITS: u8 = 3;

/// Latencies by how often they were seen.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        let ns_max = LATENCY_MAX.as_nanos() as u64;
        // From a microsecond on; what is faster is told as one.
        let bounds = Histogram::new_with_bounds(1_000, ns_max, DIGITS);
        Self(bounds.expect("a microsecond is less than ten minutes"))
    }
}

impl Latency {
    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// All of another's.
    pub fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// What so many of a hundred stayed within.
    pub fn percentile(&self, of_hundred: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(of_hundred))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }
}
