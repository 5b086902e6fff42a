//! What became of the events of one lane, and how long each took.

use std::time::Instant;

use super::latency::Latency;
use super::window::Window;

/// Counts answers. Each lane has its own; they are added up at the end.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    /// Of events that were meant to be sent while the window was open; none where the load has no
    /// rate, and therefore no intended times.
    latency: Option<Latency>,
    /// All that were admitted, whether they count or not.
    pub accepted: u64,
    /// All that were refused.
    pub refused: u64,
    /// Answers that came while the window was open.
    counted: u64,
}

impl Tally {
    /// An empty one. `is_paced`: events have intended times.
    pub fn new(window: Window, is_paced: bool) -> Self {
        let latency = is_paced.then(Latency::default);
        Self { window, latency, accepted: 0, refused: 0, counted: 0 }
    }

    /// An answer that came at `now`.
    pub fn answered(&mut self, intended: Instant, now: Instant, is_refused: bool) {
        if is_refused {
            self.refused += 1;
        } else {
            self.accepted += 1;
        }
        if self.window.counts(now) {
            self.counted += 1;
        }
        if let Some(latency) = &mut self.latency
            && self.window.counts(intended)
        {
            latency.record(now.saturating_duration_since(intended));
        }
    }

    /// Adds what another lane counted.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.counted += other.counted;
        if let (Some(mine), Some(others)) = (&mut self.latency, &other.latency) {
            mine.add(others);
        }
    }

    /// Events with a latency that counts.
    pub fn timed(&self) -> u64 {
        self.latency.as_ref().map_or(0, Latency::count)
    }

    /// Answers that came while the window was open.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    pub(super) fn into_latency(self) -> Option<Latency> {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stall_costs_every_event_that_it_delayed() {
        let began = Instant::now();
        let ms = |ms| began + Duration::from_millis(ms);
        let window = Window { began, warm_up: Duration::ZERO, duration: Duration::from_secs(1) };
        let mut tally = Tally::new(window, true);
        // One a millisecond; the server stands still until the hundredth, and all are answered then.
        (0..100).for_each(|due| tally.answered(ms(due), ms(100), false));
        let latency = tally.into_latency().unwrap();
        assert_eq!(latency.percentile(50.0).as_millis(), 50);
        assert_eq!(latency.max().as_millis(), 100);
    }

    #[test]
    fn what_is_outside_of_the_window_is_checked_and_not_counted() {
        let began = Instant::now();
        let ms = |ms| began + Duration::from_millis(ms);
        let [warm_up, duration] = [10, 10].map(Duration::from_millis);
        let mut tally = Tally::new(Window { began, warm_up, duration }, true);
        tally.answered(ms(5), ms(9), false);
        tally.answered(ms(9), ms(11), true);
        tally.answered(ms(19), ms(25), false);
        let mut all = Tally::new(Window { began, warm_up, duration }, true);
        all.add(&tally);
        assert_eq!((all.accepted, all.refused, all.counted()), (2, 1, 1));
        assert_eq!(all.timed(), 1);
        assert_eq!(all.into_latency().unwrap().max().as_millis(), 6);
    }
}
