//! Which events are sent, and which of them the rule has to refuse.
//!
//! Promises: what is to be refused follows from numbers, event by event, so that every answer can be
//! checked. A share of refusals is made of keys that were used up beforehand: their events are refused,
//! and those of the others never come to the limit.

use crate::load::{Event, Events, Load};

/// One event, and whether it has to be refused.
#[derive(Debug)]
pub struct Sent {
    /// What is sent.
    pub event: Event,
    /// What is to come of it.
    pub is_refused: bool,
}

/// The events of one lane.
pub type Stream = Box<dyn Iterator<Item = Sent> + Send>;

/// A share of events that are over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusing {
    /// Of a hundred events.
    pub percent: u32,
}

impl Refusing {
    /// What daily-limit is to be told. Few enough to use a key up quickly, and more than any other
    /// key's events come to in a run.
    pub const LIMIT: u64 = 10_000;
    /// Keys of each lane that are used up.
    const USED_UP: u32 = 4;

    /// Events that use up the keys whose later events are refused.
    pub fn preparation(self, load: &Load, lane: u32) -> Stream {
        let mut events = Events::of_lane(load, lane);
        let keys = if self.percent == 0 { 0 } else { Self::USED_UP };
        let all = (0..Self::LIMIT).flat_map(move |_| 0..keys);
        Box::new(all.map(move |key| Sent { event: events.event(key), is_refused: false }))
    }

    /// Events of which exactly the share is refused, evenly spread.
    pub fn events(self, load: &Load, lane: u32) -> Stream {
        let mut events = Events::of_lane(load, lane);
        let others = u64::from(events.keys().saturating_sub(Self::USED_UP).max(1));
        let numbers = (0..).map(move |number: u64| {
            let is_refused = is_of_share(number, self.percent);
            let key = match is_refused {
                true => number as u32 % Self::USED_UP,
                false => Self::USED_UP + (number % others) as u32,
            };
            Sent { event: events.event(key), is_refused }
        });
        Box::new(numbers)
    }
}

/// Events that are all to be accepted, their keys in turns.
pub fn accepted(load: &Load, lane: u32) -> Stream {
    let mut events = Events::of_lane(load, lane);
    Box::new(std::iter::repeat_with(move || Sent { event: events.make(), is_refused: false }))
}

/// One event of each key.
pub fn each_key(load: &Load, lane: u32) -> Stream {
    let keys = Events::of_lane(load, lane).keys();
    Box::new(accepted(load, lane).take(keys as usize))
}

/// Whether the `number`-th of all is one of so many in a hundred.
fn is_of_share(number: u64, percent: u32) -> bool {
    let percent = u64::from(percent);
    (number * percent / 100) < ((number + 1) * percent / 100)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::load::Size;

    #[test]
    fn a_share_is_exact_and_evenly_spread() {
        for percent in [0, 1, 10, 50, 99, 100] {
            let share = |from: u64| {
                (from..from + 100).filter(|number| is_of_share(*number, percent)).count() as u32
            };
            assert!((0..250).all(|from| share(from) == percent), "{percent}");
        }
    }

    /// The rule in the fewest words, on both streams of a lane.
    #[test]
    fn a_limit_refuses_what_is_expected() {
        for percent in [0, 10, 50, 100] {
            let load =
                Load { keys: 64, partitions: 2, connections: 1, ..Load::of(64, Size::Short) };
            let refusing = Refusing { percent };
            let mut counts: BTreeMap<_, u64> = BTreeMap::new();
            let later = refusing.events(&load, 1).take(100_000);
            for Sent { event, is_refused } in refusing.preparation(&load, 1).chain(later) {
                let count = counts.entry(event.key).or_default();
                assert_eq!(Refusing::LIMIT <= *count, is_refused, "{percent}");
                *count += u64::from(!is_refused);
            }
        }
    }
}
