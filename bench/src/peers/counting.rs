//! The rule of the plugin daily-limit as a service would write it: so many events of one key a day, and
//! what is refused counts towards nothing. Pure.

use std::collections::HashMap;

/// Milliseconds of a UTC day.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// What is counted of a key: its latest day alone, so that memory is bound by keys and not by days.
#[derive(Debug, Clone, Copy)]
struct Count {
    day: u64,
    events: u64,
}

/// The counts of all keys.
#[derive(Debug)]
pub struct DailyLimit {
    limit: u64,
    counts: HashMap<Box<[u8]>, Count>,
}

impl DailyLimit {
    /// Lets `limit` events of a key pass a day.
    pub fn new(limit: u64) -> Self {
        Self { limit, counts: HashMap::new() }
    }

    /// Whether an event of this key passes at this time (ms since 1970), which never falls.
    pub fn admit(&mut self, key: &[u8], now_ms: u64) -> bool {
        let day = now_ms / DAY_MS;
        // Looked up before it is made, so that a key that is known costs no copy of it.
        let Some(count) = self.counts.get_mut(key) else {
            let events = self.limit.min(1);
            self.counts.insert(key.into(), Count { day, events });
            return events == 1;
        };
        if count.day != day {
            *count = Count { day, events: 0 };
        }
        let passes = count.events < self.limit;
        count.events += u64::from(passes);
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_of_a_day_is_refused_and_the_next_day_is_another() {
        let mut rule = DailyLimit::new(10);
        let verdicts = |rule: &mut DailyLimit, key: &[u8], now_ms| -> Vec<bool> {
            (0..12).map(|_| rule.admit(key, now_ms)).collect()
        };
        let ten_pass: Vec<bool> = (0..12).map(|event| event < 10).collect();
        assert_eq!(verdicts(&mut rule, b"alice", DAY_MS - 1), ten_pass);
        assert_eq!(verdicts(&mut rule, b"bob", DAY_MS - 1), ten_pass, "keys do not share");
        assert_eq!(verdicts(&mut rule, b"alice", DAY_MS), ten_pass, "another day");
        assert_eq!(verdicts(&mut rule, b"alice", DAY_MS + 1), vec![false; 12]);
    }

    #[test]
    fn a_limit_of_nothing_lets_nothing_pass() {
        let mut rule = DailyLimit::new(0);
        assert_eq!([0; 2].map(|_| rule.admit(b"alice", 0)), [false; 2]);
    }
}
