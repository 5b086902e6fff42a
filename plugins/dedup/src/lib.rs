//! Lets the same thing pass once within a window of partition time, and drops or refuses what
//! comes again.
//!
//! Remembered is what was admitted: if a later rule of the chain refuses an event, the broker takes
//! the memory of it back, so that a corrected event is no duplicate. What is kept of an event is
//!
//! ```text
//! key    'd' | SHA-256 over, for each thing compared: length, where it was found, length, it
//! value  the partition time at which the window ends, ms u64 LE
//! ```
//!
//! A cryptographic hash, since publishers choose what is compared, and a collision would be an
//! event that is lost. README.md says all of this for those who use the rule.

mod config;

use parts::config::duration;
use parts::key::Purpose;
use sha2::{Digest, Sha256};
use weir_plugin::{Event, Filter, Rejection, Verdict, context, export, state};

use config::{By, Config, Duplicate, Missing};

/// The refusal of what passed already.
pub const DUPLICATE: &str = "duplicate";
/// The refusal of an event in which something to compare by is missing.
pub const NO_KEY: &str = "no-key";

const PURPOSE: Purpose = Purpose {
    by: "duplicates are found by",
    by_it: "duplicates are found by it",
    done: "compared",
};

/// The rule.
#[derive(Debug)]
pub struct Dedup(Config);

impl Filter for Dedup {
    fn configure(config: &str) -> Result<Self, String> {
        Config::parse(config).map(Dedup)
    }

    fn process(&mut self, event: Event) -> Verdict {
        match (self.cell(&event), self.0.missing) {
            (Ok(cell), _) => self.look(&cell),
            (Err(_), Missing::Accept) => Verdict::Accept,
            (Err(why), Missing::Reject) => Rejection::new(NO_KEY, why).into(),
        }
    }
}

export!(Dedup);

impl Dedup {
    /// The state key of an event; or what was looked for and not found.
    fn cell(&self, event: &Event) -> Result<[u8; 33], String> {
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        for by in &self.0.by {
            match by {
                By::Value => {
                    add(b"value");
                    add(&event.value);
                }
                By::Found(source, words) => {
                    add(words.as_bytes());
                    add(&source.find(event, &PURPOSE)?);
                }
            }
        }
        let mut cell = [b'd'; 33];
        cell[1..].copy_from_slice(&hash.finalize());
        Ok(cell)
    }

    fn look(&self, cell: &[u8]) -> Verdict {
        let (now, window_ms) = (context::now(), self.0.window_ms);
        let begin = || {
            let ends = now.saturating_add(window_ms);
            state::set(cell, &ends.to_le_bytes(), Some(window_ms));
        };
        let Some(kept) = state::get(cell) else {
            begin();
            return Verdict::Accept;
        };
        if self.0.slides {
            begin();
        }
        if self.0.duplicate == Duplicate::Drop {
            return Verdict::Drop;
        }
        let ends = kept.try_into().map_or(now, u64::from_le_bytes);
        let rest_ms = if self.0.slides { window_ms } else { ends.saturating_sub(now) };
        let message = format!(
            "The same passed within the last {}; send it again after {rest_ms} ms if it is meant to be twice",
            duration(window_ms)
        );
        Rejection::new(DUPLICATE, message).retry_after_ms(rest_ms).into()
    }
}
