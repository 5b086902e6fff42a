//! Which part of a run counts.

use std::time::{Duration, Instant};

/// A run begins, warms up, and then counts for a while.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// When the first event is meant to be sent.
    pub began: Instant,
    /// From then until it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub duration: Duration,
}

impl Window {
    /// The first moment that counts.
    pub fn opens(&self) -> Instant {
        self.began + self.warm_up
    }

    /// The first moment that does not count any more.
    pub fn closes(&self) -> Instant {
        self.opens() + self.duration
    }

    /// Whether what happens at `at` counts.
    pub fn counts(&self, at: Instant) -> bool {
        self.opens() <= at && at < self.closes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_beginning_counts_and_its_end_does_not() {
        let began = Instant::now();
        let (warm_up, duration) = (Duration::from_secs(1), Duration::from_secs(2));
        let window = Window { began, warm_up, duration };
        let counts = |ms| window.counts(began + Duration::from_millis(ms));
        assert_eq!([999, 1_000, 2_999, 3_000].map(counts), [false, true, true, false]);
    }
}
