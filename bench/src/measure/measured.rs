//! What a run came to.

use super::latency::Latency;
use super::process::Usage;
use super::tally::Tally;
use super::window::Window;

/// What a run came to: only what happened while its window was open.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Events answered.
    pub events: u64,
    /// How long that took.
    pub seconds: f64,
    /// Of the events' keys and values.
    pub event_bytes: u64,
    /// From the intended time to the answer; only for a load with a rate.
    pub latency: Option<Latency>,
    /// What the processes used up; `None` where there was nothing to look at.
    pub usage: Option<Usage>,
    /// Of the run's time, the share in which the machine was slow; `None` if nobody looked.
    pub slow_share: Option<f64>,
}

impl Measured {
    /// Puts together what lanes counted and what processes used, for events of so many bytes.
    pub fn of(window: &Window, tally: Tally, usage: Option<Usage>, event_bytes: usize) -> Self {
        let events = tally.counted();
        Self {
            events,
            seconds: window.duration.as_secs_f64(),
            event_bytes: events * event_bytes as u64,
            latency: tally.into_latency(),
            usage,
            slow_share: None,
        }
    }

    /// Events a second.
    pub fn events_per_second(&self) -> f64 {
        self.events as f64 / self.seconds
    }
}
