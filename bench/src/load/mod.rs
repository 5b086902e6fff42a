//! What is asked of a subject: which events, how many at once, how fast.

mod events;
mod subject;

use std::time::{Duration, Instant};

use crate::measure::{Schedule, Window};

pub use events::{Event, Events};
pub use subject::{Fsync, Setting, Size, Subject};

/// Bytes of every key: a number in base 16.
pub const KEY_BYTES: usize = 8;

/// Of a batch that suits throughput and latency.
const BATCH_BYTES: usize = 256 << 10;

/// How fast events are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// As many as the subject takes, with a bounded number on their way: finds the most it can.
    AsFastAsItGoes,
    /// So many a second over all lanes, whatever becomes of them: the load under which latency is told.
    PerSecond(f64),
}

/// What is asked of a subject.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Key and value of one event together; more than [`KEY_BYTES`].
    pub event_bytes: usize,
    /// How many keys there are: users, say.
    pub keys: u32,
    /// Of the topic; what has no partitions takes as many streams or subjects as suits it.
    pub partitions: u32,
    /// To the server.
    pub connections: u32,
    /// Events of one batch at most.
    pub batch_events: u32,
    /// How fast.
    pub pace: Pace,
    /// What is sent before it counts.
    pub warm_up: Duration,
    /// How long it counts.
    pub duration: Duration,
    /// The values follow from it.
    pub seed: u64,
}

impl Load {
    /// Events of so many bytes of ten thousand users, as fast as it goes.
    pub fn of(event_bytes: usize, size: Size) -> Self {
        Self {
            event_bytes,
            keys: 10_000,
            partitions: 4,
            connections: 2,
            batch_events: (BATCH_BYTES / event_bytes).max(1) as u32,
            pace: Pace::AsFastAsItGoes,
            warm_up: size.warm_up(),
            duration: size.duration(),
            seed: 1,
        }
    }

    /// The same at a rate.
    pub fn at(self, per_second: f64) -> Self {
        Self { pace: Pace::PerSecond(per_second), ..self }
    }

    /// Publishers side by side: each partition has one, and each connection.
    pub fn lanes(&self) -> u32 {
        self.partitions.max(self.connections)
    }

    /// Whether events have an intended time.
    pub fn is_paced(&self) -> bool {
        self.pace != Pace::AsFastAsItGoes
    }

    /// The part of a run that begins now which counts.
    pub fn window(&self, began: Instant) -> Window {
        Window { began, warm_up: self.warm_up, duration: self.duration }
    }

    /// When a lane's events are meant to be sent, if the load says so.
    pub fn schedule(&self, window: &Window, lane: u32) -> Option<Schedule> {
        match self.pace {
            Pace::AsFastAsItGoes => None,
            Pace::PerSecond(rate) => {
                Some(Schedule::of_lane(window.began, rate, lane, self.lanes()))
            }
        }
    }
}
