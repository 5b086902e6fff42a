//! The events themselves: keys in turns, values that nothing can compress.
//!
//! Promises: the same seed gives the same events; a lane's keys are no other lane's, and each comes as
//! often as any other, so that what a rule has to say follows from numbers; making an event copies
//! nothing, so that the load costs little beside what it measures.

use bytes::Bytes;
use fastrand::Rng;

use super::{KEY_BYTES, Load};

/// Random bytes of which values are pieces, beside the size of one value: more than a compressor's
/// window, and than most caches. A prime, so that values repeat late. They follow one upon another, as
/// what a service has just written: a load that jumps about in memory is measured with it.
const POOL_BYTES: usize = 4_194_319;
/// By how many keys a lane goes on: a prime larger than any number of keys here has factors, so that
/// neighbours in time are none in the order of keys.
const KEY_STEP: u64 = 2_654_435_761;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Of [`KEY_BYTES`].
    pub key: Bytes,
    /// The rest.
    pub value: Bytes,
}

/// The events of one lane, without an end.
#[derive(Debug, Clone)]
pub struct Events {
    keys: Bytes,
    pool: Bytes,
    value_bytes: usize,
    at: usize,
    made: u64,
}

impl Events {
    /// Those of lane `lane` of the load.
    pub fn of_lane(load: &Load, lane: u32) -> Self {
        let lanes = load.lanes();
        // Lane 0 has keys 0, lanes, 2 lanes ...: shared out evenly, and at least one for each.
        let count = load.keys.saturating_sub(lane).div_ceil(lanes).max(1);
        let mut keys = Vec::with_capacity(count as usize * KEY_BYTES);
        (0..count).for_each(|index| keys.extend(key(lane + index * lanes)));
        let value_bytes = load.event_bytes.saturating_sub(KEY_BYTES);
        let mut pool = vec![0; POOL_BYTES + value_bytes];
        Rng::with_seed(load.seed << 32 | u64::from(lane)).fill(&mut pool);
        Self { keys: keys.into(), pool: pool.into(), value_bytes, at: 0, made: 0 }
    }

    /// How many keys this lane has.
    pub fn keys(&self) -> u32 {
        (self.keys.len() / KEY_BYTES) as u32
    }

    /// The next event.
    pub fn make(&mut self) -> Event {
        let count = u64::from(self.keys());
        // Each round over the keys has its own beginning in the order.
        let key = (self.made % count).wrapping_mul(KEY_STEP) % count;
        self.made += 1;
        self.event(key as u32)
    }

    /// An event of the lane's `key`-th key.
    pub fn event(&mut self, key: u32) -> Event {
        let key = key as usize * KEY_BYTES;
        let value = self.pool.slice(self.at..self.at + self.value_bytes);
        self.at = (self.at + self.value_bytes) % POOL_BYTES;
        Event { key: self.keys.slice(key..key + KEY_BYTES), value }
    }
}

/// The text of a key.
fn key(number: u32) -> [u8; KEY_BYTES] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    std::array::from_fn(|place| DIGITS[(number >> (28 - 4 * place) & 0xf) as usize])
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::load::Size;

    fn load(keys: u32, partitions: u32) -> Load {
        Load { keys, partitions, connections: 1, ..Load::of(128, Size::Short) }
    }

    #[test]
    fn a_key_is_its_number_in_base_16() {
        assert_eq!(&key(0), b"00000000");
        assert_eq!(&key(0x9ab_cdef0), b"9abcdef0");
    }

    #[test]
    fn every_key_is_in_one_lane_and_comes_as_often_as_any() {
        for (keys, lanes) in [(10, 3), (1_000, 4), (7, 7), (4_096, 2)] {
            let load = load(keys, lanes);
            let mut seen = BTreeSet::new();
            for lane in 0..lanes {
                let mut events = Events::of_lane(&load, lane);
                let mut counts: BTreeMap<Bytes, u32> = BTreeMap::new();
                (0..events.keys() * 3)
                    .for_each(|_| *counts.entry(events.make().key).or_default() += 1);
                assert!(counts.values().all(|count| *count == 3), "{keys} {lanes} {counts:?}");
                seen.extend(counts.into_keys().inspect(|key| assert_eq!(key.len(), KEY_BYTES)));
            }
            assert_eq!(seen.len(), keys as usize);
        }
    }

    #[test]
    fn a_seed_gives_the_same_events_and_another_gives_others() {
        let of = |seed| {
            let mut events = Events::of_lane(&Load { seed, ..load(10, 1) }, 0);
            [events.make(), events.make()]
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7)[0].value, of(8)[0].value);
        assert_ne!(of(7)[0].value, of(7)[1].value);
        assert_eq!(of(7)[0].value.len(), 120);
    }
}
