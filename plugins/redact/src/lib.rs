//! Removes, replaces or hashes fields of the value, headers and the key, before anything is stored.
//!
//! What is not named keeps its bytes: the value is not written anew but cut where the fields lie.
//! An event in which nothing was found passes as it came. There is no state.
//!
//! README.md says all of this for those who use the rule.

mod config;
mod tree;
mod action;

use parts::{json, text};
use weir_plugin::{Event, Filter, Header, Rejection, Verdict, export};

use config::{Config, NotJson};

/// The refusal of a value in which fields could not be looked for.
pub const NOT_JSON: &str = "not-json";

/// What of the reader's complaint a refusal shows.
const WHY_BYTES_MAX: usize = 200;

/// The rule.
pub struct Redact(Config);

impl Filter for Redact {
    fn configure(config: &str) -> Result<Self, String> {
        Config::parse(config).map(Redact)
    }

    fn process(&mut self, mut event: Event) -> Verdict {
        let mut changed = match self.value(&event.value) {
            Ok(None) => false,
            Ok(Some(value)) => {
                event.value = value;
                true
            }
            Err(why) => return Rejection::new(NOT_JSON, why).into(),
        };
        changed |= self.headers(&mut event.headers);
        changed |= self.key(&mut event.key);
        if changed { Verdict::Replace(event) } else { Verdict::Accept }
    }
}

export!(Redact);

impl Redact {
    /// The value without what is to be hidden, if there is such a thing in it.
    fn value(&self, value: &[u8]) -> Result<Option<Vec<u8>>, String> {
        if value.is_empty() || self.0.fields.actions().next().is_none() {
            return Ok(None);
        }
        match (json::parse(value), self.0.not_json) {
            (Ok(root), _) => {
                let edits = self.0.fields.edits(root, value, self.0.secret.as_ref());
                Ok((!edits.is_empty()).then(|| tree::spliced(value, &edits)))
            }
            (Err(_), NotJson::Accept) => Ok(None),
            (Err(why), NotJson::Reject) => {
                let why = text::line(&why, WHY_BYTES_MAX);
                Err(format!(
                    "The value is not JSON, so nothing could be redacted ({why}); send JSON"
                ))
            }
        }
    }

    fn headers(&self, headers: &mut Vec<Header>) -> bool {
        let before = std::mem::take(headers);
        let mut changed = false;
        for mut header in before {
            if let Some((_, action)) = self.0.headers.iter().find(|(name, _)| *name == header.name)
            {
                changed = true;
                match action.on_bytes(&header.value, self.0.secret.as_ref()) {
                    Some(value) => header.value = value,
                    None => continue,
                }
            }
            headers.push(header);
        }
        changed
    }

    fn key(&self, key: &mut Option<Vec<u8>>) -> bool {
        let (Some(bytes), Some(action)) = (&key, &self.0.key) else { return false };
        *key = action.on_bytes(bytes, self.0.secret.as_ref());
        true
    }
}
