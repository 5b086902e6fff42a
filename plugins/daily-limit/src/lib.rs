//! Lets so many events of one key pass per UTC day, and refuses the rest of that day to their
//! publisher, with the time when the key opens again.
//!
//! Counted is what is admitted: a refused event counts towards nothing, and if a later rule of the
//! chain refuses the event, the broker takes this rule's count back with it.
//!
//! The state of a key and day is one counter that goes up to the limit, so that an event costs one call
//! of the host, whether it is accepted or refused. The flag makes it larger than any limit, so that it
//! stays where it is: a look at its bits is wanted only then.
//!
//! ```text
//! bit  63        62         61 ............ 0
//!     | 0 | notice sent | events admitted     |
//! ```
//!
//! With `"time":"broker"` it lives until the day is over. With `"time":"event"` late events of a
//! past day must still be counted, so it lives 32 days of partition time after its last change.
//!
//! README.md says all of this for those who use the rule.

mod config;
mod key;
mod notice;

pub mod day;

use weir_plugin::{Event, Filter, Rejection, Verdict, context, export, outbox, state};

use config::{Config, TimeSource};
use day::{DAY_MS, Day};
use parts::key::Key;

/// The refusal of an event that is one too many.
pub const OVER_LIMIT: &str = "daily-limit";
/// The refusal of an event that says of nothing what it is about.
pub const NO_KEY: &str = "no-key";

const NOTICE_SENT: i64 = 1 << 62;

/// How long a day of event time is remembered after its last change: a month of stragglers.
const EVENT_TIME_TTL_MS: u64 = 32 * DAY_MS;

/// The rule.
pub struct DailyLimit(Config);

impl Filter for DailyLimit {
    fn configure(config: &str) -> Result<Self, String> {
        Config::parse(config).map(DailyLimit)
    }

    fn process(&mut self, event: Event) -> Verdict {
        let time = match self.0.time {
            TimeSource::Broker => context::now(),
            TimeSource::Event => event.timestamp,
        };
        match key::of(&event, &self.0.key) {
            Ok(key) => self.count(&key, time),
            Err(why) => Rejection::new(NO_KEY, why).into(),
        }
    }
}

export!(DailyLimit);

impl DailyLimit {
    fn count(&self, key: &Key<'_>, time: u64) -> Verdict {
        let day = Day::of(time);
        let cell = key.cell(&day.to_be_bytes());
        let ttl = match self.0.time {
            TimeSource::Broker => day.end_ms() - time,
            TimeSource::Event => EVENT_TIME_TTL_MS,
        };
        let stored = match state::increment_up_to(&cell, 1, self.0.limit, Some(ttl)) {
            Ok(_) => return Verdict::Accept,
            Err(stored) => stored,
        };
        // Behind a notice the limit was raised.
        if stored & !NOTICE_SENT < self.0.limit {
            state::increment(&cell, 1, Some(ttl));
            return Verdict::Accept;
        }
        if let Some(topic) = &self.0.notice
            && stored & NOTICE_SENT == 0
        {
            outbox::emit(topic, &notice::event(key, day, self.0.limit, time));
            state::increment(&cell, NOTICE_SENT, Some(ttl));
        }
        let (name, limit) = (key.short(), self.0.limit);
        let message =
            format!("{name} has used its {limit} for {day} (UTC); it opens again at {day:#}");
        Rejection::new(OVER_LIMIT, message).retry_after_ms(day.end_ms() - time).into()
    }
}
