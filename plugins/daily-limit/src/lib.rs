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

use std::fmt::Write;

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
pub struct DailyLimit {
    config: Config,
    words: Words,
}

/// What every refusal of a day says behind the key. Kept, because writing dates takes more than all the
/// rest of a refusal.
struct Words {
    of: Option<Day>,
    text: String,
}

/// Room for the words of any day: what an instance keeps is allocated when it is configured.
const WORDS_BYTES: usize = 160;

impl Words {
    fn of(&mut self, day: Day, limit: i64) -> &str {
        if self.of != Some(day) {
            self.text.clear();
            let text = &mut self.text;
            write!(text, " has used its {limit} for {day} (UTC); it opens again at {day:#}")
                .expect("a text takes what is written");
            self.of = Some(day);
        }
        &self.text
    }
}

impl Filter for DailyLimit {
    fn configure(config: &str) -> Result<Self, String> {
        let words = Words { of: None, text: String::with_capacity(WORDS_BYTES) };
        Config::parse(config).map(|config| DailyLimit { config, words })
    }

    fn process(&mut self, event: Event) -> Verdict {
        let time = match self.config.time {
            TimeSource::Broker => context::now(),
            TimeSource::Event => event.timestamp,
        };
        match key::of(&event, &self.config.key) {
            Ok(key) => self.count(&key, time),
            Err(why) => Rejection::new(NO_KEY, why).into(),
        }
    }
}

export!(DailyLimit);

impl DailyLimit {
    fn count(&mut self, key: &Key<'_>, time: u64) -> Verdict {
        let Config { limit, time: source, ref notice, .. } = self.config;
        let day = Day::of(time);
        let cell = key.cell(&day.to_be_bytes());
        let ttl = match source {
            TimeSource::Broker => day.end_ms() - time,
            TimeSource::Event => EVENT_TIME_TTL_MS,
        };
        let stored = match state::increment_up_to(&cell, 1, limit, Some(ttl)) {
            Ok(_) => return Verdict::Accept,
            Err(stored) => stored,
        };
        // Behind a notice the limit was raised.
        if stored & !NOTICE_SENT < limit {
            state::increment(&cell, 1, Some(ttl));
            return Verdict::Accept;
        }
        if let Some(topic) = notice
            && stored & NOTICE_SENT == 0
        {
            outbox::emit(topic, &notice::event(key, day, limit, time));
            state::increment(&cell, NOTICE_SENT, Some(ttl));
        }
        let message = key.short() + self.words.of(day, limit);
        Rejection::new(OVER_LIMIT, message).retry_after_ms(day.end_ms() - time).into()
    }
}
