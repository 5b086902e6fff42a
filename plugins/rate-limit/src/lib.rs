//! Lets the events of one key pass at a rate, with a burst, and refuses what is too fast to its
//! publisher, with the exact time after which it passes.
//!
//! Refused attempts take nothing from the bucket, and if a later rule of the chain refuses the
//! event, the broker gives the tokens back. A key costs one small value of state, which vanishes
//! when the bucket is full again.
//!
//! README.md says all of this for those who use the rule.

mod config;
mod bucket;

use parts::json;
use parts::key::{Key, Purpose};
use parts::number::Number;
use weir_plugin::{Event, Filter, Rejection, Verdict, context, export, state};

use bucket::{Level, Taken};
use config::{Config, TimeSource};

/// The refusal of an event that comes too fast.
pub const TOO_FAST: &str = "rate-limit";
/// The refusal of an event that says of nothing what it is about.
pub const NO_KEY: &str = "no-key";
/// The refusal of an event that does not say what it costs.
pub const NO_COST: &str = "no-cost";
/// The refusal of an event that costs more than the bucket ever holds.
pub const OVER_BURST: &str = "over-burst";

const PURPOSE: Purpose = Purpose {
    by: "its rate limit is counted by",
    by_it: "a rate limit is counted by it",
    done: "counted",
};

/// Event time may run slower than partition time: a bucket is remembered this much longer.
const EVENT_TIME_SLACK_MS: u64 = 24 * 60 * 60 * 1000;

/// The rule.
#[derive(Debug)]
pub struct RateLimit(Config);

impl Filter for RateLimit {
    fn configure(config: &str) -> Result<Self, String> {
        Config::parse(config).map(RateLimit)
    }

    fn process(&mut self, event: Event) -> Verdict {
        let key = match Key::of(&event, &self.0.key, &PURPOSE) {
            Ok(key) => key,
            Err(why) => return Rejection::new(NO_KEY, why).into(),
        };
        match self.cost(&event) {
            Ok(0) => Verdict::Accept,
            Ok(cost) => self.take(&key, cost, event.timestamp),
            Err(why) => Rejection::new(NO_COST, why).into(),
        }
    }
}

export!(RateLimit);

impl RateLimit {
    fn cost(&self, event: &Event) -> Result<u64, String> {
        let Some(path) = &self.0.cost else { return Ok(1) };
        let root = json::parse(&event.value)
            .map_err(|_| format!("The value is not JSON, so its cost was not found at {path}"))?;
        path.find(root).and_then(|piece| Number::parse(piece.get())?.as_u64()).ok_or_else(|| {
            format!("At {path} there must be what the event costs: a whole number from 0")
        })
    }

    fn take(&self, key: &Key<'_>, cost: u64, timestamp: u64) -> Verdict {
        let time = match self.0.time {
            TimeSource::Broker => context::now(),
            // A stamp of the far future would hold the bucket's time there.
            TimeSource::Event => timestamp.min(context::now()),
        };
        let cell = key.cell(&[]);
        let level = state::get(&cell).map_or(Level::default(), |kept| Level::from_bytes(&kept));
        match self.0.bucket.take(level, time, cost) {
            Taken::Yes { level, full_in_ms } => {
                let ttl = match self.0.time {
                    TimeSource::Broker => full_in_ms,
                    TimeSource::Event => {
                        self.0.bucket.fill_ms().saturating_add(EVENT_TIME_SLACK_MS)
                    }
                };
                state::set(&cell, &level.to_bytes(), Some(ttl));
                Verdict::Accept
            }
            Taken::Later { retry_after_ms } => {
                let (name, rate) = (key.short(), &self.0);
                let message =
                    format!("{name} has used its {rate}; it passes in {retry_after_ms} ms");
                Rejection::new(TOO_FAST, message).retry_after_ms(retry_after_ms).into()
            }
            Taken::Never => {
                let burst = self.0.bucket.burst;
                let message = format!(
                    "The event costs {cost}, and {burst} is the most that passes at once; send it in smaller parts"
                );
                Rejection::new(OVER_BURST, message).into()
            }
        }
    }
}
