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
}
