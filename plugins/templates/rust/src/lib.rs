//! PLUGIN_NAME: lets each key through a number of times, then refuses it until it was quiet for a
//! minute. The config is that number, as 3.

use std::sync::atomic::{AtomicI64, Ordering};

use weir::plugin::state;
use weir::plugin::types::Rejection;

wit_bindgen::generate!({ path: "wit", world: "filter" });

const QUIET_MS: u64 = 60_000;

static LIMIT: AtomicI64 = AtomicI64::new(0);

struct Rule;

export!(Rule);

impl Guest for Rule {
    /// Called once, before the first event. An error refuses the binding.
    fn configure(config: String) -> Result<(), String> {
        LIMIT.store(limit_of(&config)?, Ordering::Relaxed);
        Ok(())
    }

    /// Called for each event.
    fn process(event: Event) -> Verdict {
        let limit = LIMIT.load(Ordering::Relaxed);
        let Some(key) = event.key else {
            return reject("no-key", "Publish with a key: each has its own limit.", None);
        };
        // What a refusal does to the state stands as well: who goes on trying stays out.
        if limit < state::increment(&key, 1, Some(QUIET_MS)) {
            let message = format!("That was more than {limit}; be quiet for a minute.");
            return reject("too-many", &message, Some(QUIET_MS));
        }
        Verdict::Accept
    }
}

fn limit_of(config: &str) -> Result<i64, String> {
    match config.parse() {
        Ok(limit @ 1..) => Ok(limit),
        _ => Err("write how often a key may pass, as 3".into()),
    }
}

fn reject(code: &str, message: &str, retry_after_ms: Option<u64>) -> Verdict {
    Verdict::Reject(Rejection { code: code.into(), message: message.into(), retry_after_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_from_1() {
        assert_eq!(limit_of("3"), Ok(3));
        for wrong in ["", "0", "-1", "3.5", "\"3\"", "null"] {
            assert!(limit_of(wrong).is_err(), "{wrong}");
        }
    }
}
