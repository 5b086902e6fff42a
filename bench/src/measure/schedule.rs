//! When events are meant to be sent: at an even rate, whatever becomes of those before.
//!
//! Latency counts from here and not from when the generator came round to sending. Otherwise a
//! stalled server, which holds up the generator as well, would be asked less while it is slow, and
//! the events that waited longest would be those that nobody measured (coordinated omission).

use std::time::{Duration, Instant};

const NS_PER_SECOND: f64 = 1e9;

/// The times of one lane's events. All lanes together send at the asked rate, in turns.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    began: Instant,
    /// Between two events of this lane.
    interval_ns: f64,
    /// From the beginning to the lane's first event.
    phase_ns: f64,
}

impl Schedule {
    /// That of lane `lane` of `lanes`, which together send `per_second` events.
    pub fn of_lane(began: Instant, per_second: f64, lane: u32, lanes: u32) -> Self {
        let between_all_ns = NS_PER_SECOND / per_second;
        let interval_ns = between_all_ns * f64::from(lanes);
        Self { began, interval_ns, phase_ns: between_all_ns * f64::from(lane) }
    }

    /// When the `index`-th event of this lane is meant to be sent.
    pub fn at(&self, index: u64) -> Instant {
        let ns = self.phase_ns + self.interval_ns * index as f64;
        self.began + Duration::from_nanos(ns as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets_us(per_second: f64, lane: u32, lanes: u32) -> Vec<u128> {
        let began = Instant::now();
        let schedule = Schedule::of_lane(began, per_second, lane, lanes);
        [0, 1, 2, 1_000_000].map(|index| (schedule.at(index) - began).as_micros()).into()
    }

    #[test]
    fn lanes_take_turns_at_an_even_rate() {
        assert_eq!(offsets_us(1_000.0, 0, 1), [0, 1_000, 2_000, 1_000_000_000]);
        assert_eq!(offsets_us(1_000.0, 0, 4), [0, 4_000, 8_000, 4_000_000_000]);
        assert_eq!(offsets_us(1_000.0, 3, 4), [3_000, 7_000, 11_000, 4_000_003_000]);
    }

    #[test]
    fn a_rate_that_divides_badly_does_not_drift() {
        let began = Instant::now();
        let schedule = Schedule::of_lane(began, 300_007.0, 0, 1);
        let ten_seconds = schedule.at(3_000_070) - began;
        assert!(ten_seconds.abs_diff(Duration::from_secs(10)) < Duration::from_micros(1));
    }
}
