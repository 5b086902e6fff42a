//! What a broker answers when it cannot judge, read or do: a code, a sentence, and who acts next.
//!
//! Promises: codes never change their meaning; every code has one [`Action`]. A plugin's "no" is
//! not here: that is a verdict.

use std::fmt;

use crate::proto;

/// What the receiver of a fault should do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The request is wrong: change it.
    Fix,
    /// The same request can succeed later, after `retry_after_ms` where it is given.
    Retry,
    /// Another broker has this partition.
    GoElsewhere,
    /// Nothing of this kind succeeds until an operator acts.
    Stop,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $action:ident;)*) => {
        /// Why. The text of a code is part of the wire contract; the variant is for Rust.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code, for tables and tests.
            pub const ALL: &[Code] = &[$(Code::$name,)*];
            /// The stable text.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
            /// What the receiver should do.
            pub fn action(self) -> Action {
                match self { $(Code::$name => Action::$action,)* }
            }
        }
    };
}

codes! {
    /// No topic of this name.
    UnknownTopic = "unknown-topic", Fix;
    /// The topic has no partition of this number.
    UnknownPartition = "unknown-partition", Fix;
    /// The bytes are no record batch, or one that may not be published.
    InvalidBatch = "invalid-batch", Fix;
    /// A batch or an event over the limit that Welcome names.
    TooLarge = "too-large", Fix;
    /// A frame that breaks the protocol; the connection ends.
    InvalidFrame = "invalid-frame", Fix;
    /// A request field that means nothing.
    InvalidRequest = "invalid-request", Fix;
    /// The broker does not speak this protocol version.
    UnsupportedVersion = "unsupported-version", Fix;
    /// No token, or a wrong one.
    Unauthenticated = "unauthenticated", Fix;
    /// The principal may not do this.
    Forbidden = "forbidden", Fix;
    /// The offset is beyond what the partition ever had, or was trimmed.
    OffsetOutOfRange = "offset-out-of-range", Fix;
    /// A sequence that leaves a gap: an earlier batch is missing.
    OutOfOrderSequence = "out-of-order-sequence", Fix;
    /// A younger epoch of the same producer id is at work.
    ProducerFenced = "producer-fenced", Stop;
    /// The member left its group, or was silent for too long: what it read since its last commit is
    /// given to others. Join again.
    MemberFenced = "member-fenced", Fix;
    /// The group has members, and only they commit.
    GroupActive = "group-active", Fix;
    /// Judged so long ago that its verdict is no longer remembered. It is not judged again.
    Expired = "expired", Stop;
    /// Too much waits already; nothing of this request was done.
    Overloaded = "overloaded", Retry;
    /// The disk is at its reserve; readers go on, and so will writers when there is room.
    StorageFull = "storage-full", Retry;
    /// The disk failed this partition's writer. Whether the batch is stored is unknown until the
    /// broker has reopened it: retry with the same sequence.
    StorageBroken = "storage-broken", Retry;
    /// Data proven durable no longer verifies; the partition stands still.
    Corrupt = "corrupt", Stop;
    /// The broker is going down; nothing of this request was done.
    ShuttingDown = "shutting-down", Retry;
    /// The connection or the broker went away before the answer: the result is unknown to the
    /// client. Only SDKs make this one; retry with the same sequence.
    Unknown = "unknown", Retry;
    /// A defect of the broker. Please report it.
    Internal = "internal", Stop;
}

impl Code {
    /// The code with this text.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fault, as it crosses the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Fault {
    /// Why.
    pub code: Code,
    /// One sentence that says what is wrong and what to do.
    pub message: String,
    /// For [`Action::Retry`]: not before.
    pub retry_after_ms: Option<u64>,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }
    /// The same, with the time to wait.
    pub fn after_ms(mut self, retry_after_ms: u64) -> Self {
        self.retry_after_ms = Some(retry_after_ms);
        self
    }
    /// What the receiver should do.
    pub fn action(&self) -> Action {
        self.code.action()
    }
}

impl From<Fault> for proto::Fault {
    fn from(fault: Fault) -> Self {
        let action = match fault.action() {
            Action::Fix => proto::Action::Fix,
            Action::Retry => proto::Action::Retry,
            Action::GoElsewhere => proto::Action::GoElsewhere,
            Action::Stop => proto::Action::Stop,
        };
        Self {
            code: fault.code.as_str().to_owned(),
            message: fault.message,
            action: action.into(),
            retry_after_ms: fault.retry_after_ms,
        }
    }
}

impl From<proto::Fault> for Fault {
    /// A code from a younger broker becomes `internal`, with its text kept in the message.
    fn from(fault: proto::Fault) -> Self {
        let (code, message) = match Code::parse(&fault.code) {
            Some(code) => (code, fault.message),
            None => (Code::Internal, format!("{}: {}", fault.code, fault.message)),
        };
        Self { code, message, retry_after_ms: fault.retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_stable() {
        let table: String =
            Code::ALL.iter().map(|code| format!("{code} {:?}\n", code.action())).collect();
        expect_test::expect_file!["../golden/fault-codes.txt"].assert_eq(&table);
    }

    #[test]
    fn faults_round_trip() {
        for &code in Code::ALL {
            let fault = Fault::new(code, "why").after_ms(5);
            assert_eq!(Fault::from(proto::Fault::from(fault.clone())), fault);
        }
    }
}
