//! Sends side events by rules about the value: a copy of the event, or a value built from it, to
//! another topic; the event itself goes on, or is dropped.
//!
//! A side event stands and falls with its cause: it is sent exactly once if the chain admits the
//! event, or if this rule dropped it. There is no state.
//!
//! README.md says all of this for those who use the rule.

mod config;
mod condition;
mod template;

use std::borrow::Cow;

use parts::json::{self, RawValue};
use parts::key::Purpose;
use weir_plugin::{Event, Filter, Verdict, export, outbox};

use config::{Config, Emit, Matches};

/// A key that is not found is left out: nobody reads these words.
const PURPOSE: Purpose = Purpose { by: "", by_it: "", done: "" };

/// The rule.
pub struct Route(Config);

impl Filter for Route {
    fn configure(config: &str) -> Result<Self, String> {
        Config::parse(config).map(Route)
    }

    fn process(&mut self, event: Event) -> Verdict {
        let root = json::parse(&event.value).ok();
        let mut drops = false;
        for rule in &self.0.rules {
            let holds =
                rule.when.iter().all(|condition| root.is_some_and(|root| condition.holds(root)));
            if !holds {
                continue;
            }
            if let Some(emit) = &rule.emit {
                outbox::emit(&emit.topic, &emit.side_event(&event, root));
            }
            drops |= rule.drops;
            if self.0.matches == Matches::First {
                break;
            }
        }
        if drops { Verdict::Drop } else { Verdict::Accept }
    }
}

export!(Route);

impl Emit {
    fn side_event(&self, event: &Event, root: Option<&RawValue>) -> Event {
        Event {
            key: self.key.find(event, &PURPOSE).ok().map(Cow::into_owned),
            value: match &self.value {
                Some(template) => template.fill(event, root).into_bytes(),
                None => event.value.clone(),
            },
            headers: event.headers.clone(),
            timestamp: event.timestamp,
        }
    }
}
