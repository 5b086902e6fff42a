//! What a plugin tells its operator, heard where the broker would write it into its log.
//!
//! Promises: the lines that an operator would read, no more: the limits per event and per second
//! lie before this.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// The target of plugins' lines, and of what the host says about them.
const TARGET_OF_LINES: &str = "weir::plugin";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// The line.
    pub line: String,
}

/// The lines not yet taken. As a layer of a subscriber it hears them.
#[derive(Debug, Clone, Default)]
pub struct Hearing(Arc<Mutex<Vec<Said>>>);

impl Hearing {
    /// What was said since the last time.
    pub fn take(&self) -> Vec<Said> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: Subscriber> Layer<S> for Hearing {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != TARGET_OF_LINES {
            return;
        }
        let mut line = Line(String::new());
        event.record(&mut line);
        let level = event.metadata().level().as_str().to_lowercase();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(Said { level, line: line.0 });
    }
}

/// The field `line` of an event.
struct Line(String);

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "line" {
            self.0 = value.to_owned();
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "line" {
            self.0 = format!("{value:?}");
        }
    }
}
