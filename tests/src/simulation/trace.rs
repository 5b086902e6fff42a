//! What happened in a run, as one number: two runs of a seed must have the same.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

/// All clones are one trace.
#[derive(Debug, Clone, Default)]
pub struct Trace(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    hasher: DefaultHasher,
    /// The lines themselves, if somebody wants to read them.
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps what it is told, for people who compare two runs.
    pub fn with_lines() -> Self {
        Self(Arc::new(Mutex::new(State { lines: Some(Vec::new()), ..State::default() })))
    }

    /// This happened.
    pub fn note(&self, what: &str, of: &(impl Hash + Debug)) {
        let mut state = self.0.lock().unwrap();
        what.hash(&mut state.hasher);
        of.hash(&mut state.hasher);
        if let Some(lines) = &mut state.lines {
            lines.push(format!("{what} {of:?}"));
        }
    }

    /// Everything that happened, as one number.
    pub fn hash(&self) -> u64 {
        self.0.lock().unwrap().hasher.finish()
    }

    /// Everything that happened, if it was kept.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().lines.clone().unwrap_or_default()
    }
}
