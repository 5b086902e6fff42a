//! What can go wrong for a client, addressed to whoever acts next.
//!
//! Not here: a plugin's "no". That is a [`Verdict`](weir_wire::verdict::Verdict), an answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weir_wire::fault::{Action, Code, Fault};

/// Why a call, a batch or a subscription did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The broker answered that it cannot: its [`Action`] says who does what. Faults that ask for
    /// a retry were retried until the deadline before they came here.
    #[error("{0}")]
    Fault(Fault),
    /// No broker was reached. The operator looks whether it runs; the caller may try again.
    #[error("no broker answers at {broker}: {reason}; is one running there?")]
    Unreachable {
        /// Where it should be.
        broker: SocketAddr,
        /// What the network said.
        reason: String,
    },
    /// The broker does not take the token. The operator looks at the context file.
    #[error("the broker refuses the token: {reason}; does the context file belong to this broker?")]
    Unauthenticated {
        /// The broker's sentence.
        reason: String,
    },
    /// A deadline passed, and nothing was done by then. The caller may try again.
    #[error("{what} took longer than {} ms; the broker may be overloaded", after.as_millis())]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// A context file, certificate or option is wrong. The sentence names it; fix it.
    #[error("{0}")]
    Config(String),
    /// The broker said something that weir/1 does not allow. Please report it.
    #[error("the broker broke the protocol: {0}; do client and broker have the same version?")]
    Protocol(String),
    /// This machine refused a socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// The batch may have been judged or not: its answer was lost and the deadline passed before
    /// another came. Read the topic to find out; a new `send` is a new event.
    #[error("the broker's answer was lost, so the result is unknown; read the topic to find out")]
    Unknown,
    /// The producer or consumer was closed.
    #[error("it was closed before; open a new one")]
    Closed,
}

impl ClientError {
    /// Whether the same request can succeed later without anyone changing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Fault(fault) => matches!(fault.action(), Action::Retry | Action::GoElsewhere),
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Unauthenticated { .. }
            | Self::Config(_)
            | Self::Protocol(_)
            | Self::Io { .. }
            | Self::Unknown
            | Self::Closed => false,
        }
    }

    /// How long the broker asks to wait before a retry, in ms.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Fault(fault) => fault.retry_after_ms,
            _ => None,
        }
    }
}

impl From<Fault> for ClientError {
    fn from(fault: Fault) -> Self {
        match fault.code {
            Code::Unauthenticated => Self::Unauthenticated { reason: fault.message },
            Code::Unknown => Self::Unknown,
            _ => Self::Fault(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_change_by_itself_is_retried() {
        for &code in Code::ALL {
            let error = ClientError::from(Fault::new(code, "why"));
            let expected = code.action() == Action::Retry && code != Code::Unknown;
            assert_eq!(error.is_retryable(), expected, "{code}");
        }
    }

    const PAGE: &str = include_str!("../docs/errors.md");

    /// The cells of the page's rows that have so many.
    fn rows(cells: usize) -> Vec<Vec<&'static str>> {
        let row = |line: &'static str| {
            let line = line.strip_prefix("| `")?.strip_suffix(" |")?;
            Some(line.split(" | ").map(|cell| cell.trim_matches('`')).collect::<Vec<_>>())
        };
        PAGE.lines().filter_map(row).filter(|row| row.len() == cells).collect()
    }

    #[test]
    fn the_page_has_every_code_with_its_action_and_no_other() {
        let told = rows(4).into_iter().map(|row| format!("{} {}", row[0], row[1]));
        let known = Code::ALL.iter().map(|code| format!("{code} {:?}", code.action()));
        assert_eq!(told.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    }

    #[test]
    fn the_page_has_every_error_and_no_other() {
        // An error that is new here has to be named below, and then on the page.
        let name = |error: &ClientError| match error {
            ClientError::Fault(_) => "Fault",
            ClientError::Unreachable { .. } => "Unreachable",
            ClientError::Unauthenticated { .. } => "Unauthenticated",
            ClientError::Timeout { .. } => "Timeout",
            ClientError::Config(_) => "Config",
            ClientError::Protocol(_) => "Protocol",
            ClientError::Io { .. } => "Io",
            ClientError::Unknown => "Unknown",
            ClientError::Closed => "Closed",
        };
        let (text, reason) = (String::new(), String::new());
        let source = Arc::new(io::Error::other(""));
        let all = [
            ClientError::Fault(Fault::new(Code::Internal, "")),
            ClientError::Unreachable { broker: ([127, 0, 0, 1], 1).into(), reason: text.clone() },
            ClientError::Unauthenticated { reason },
            ClientError::Timeout { what: "", after: Duration::ZERO },
            ClientError::Config(text.clone()),
            ClientError::Protocol(text),
            ClientError::Io { what: "", source },
            ClientError::Unknown,
            ClientError::Closed,
        ];
        let told: Vec<_> = rows(3).into_iter().map(|row| row[0]).collect();
        assert_eq!(told, all.iter().map(name).collect::<Vec<_>>());
    }
}
