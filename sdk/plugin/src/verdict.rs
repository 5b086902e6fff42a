//! Making and reading verdicts.

use crate::{Rejection, Verdict};

impl Rejection {
    /// A "no" with a stable `code` for programs (at most 64 bytes) and a `message` for people (at
    /// most 512 bytes): one sentence that says why and what to do. Longer ones are a fault.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection { code: code.into(), message: message.into(), retry_after_ms: None }
    }

    /// The same "no", with when trying again can help: in milliseconds from now.
    pub fn retry_after_ms(self, retry_after_ms: u64) -> Rejection {
        Rejection { retry_after_ms: Some(retry_after_ms), ..self }
    }
}

impl From<Rejection> for Verdict {
    fn from(rejection: Rejection) -> Verdict {
        Verdict::Reject(rejection)
    }
}

impl Verdict {
    /// The "no", if it is one.
    pub fn rejection(&self) -> Option<&Rejection> {
        match self {
            Verdict::Reject(rejection) => Some(rejection),
            Verdict::Accept | Verdict::Replace(_) | Verdict::Drop => None,
        }
    }
}
