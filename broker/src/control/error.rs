//! Why an operator's wish was not granted, in one sentence and with a stable code.

use weir_views::catalog::CatalogError;
use weir_wire::fault::{Code, Fault};

use crate::registry::RecordError;
use crate::shelf::ShelfError;

/// Why an operator's wish was not granted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// Whose turn it is.
    pub status: Kind,
    /// Stable, for programs.
    pub code: String,
    /// One sentence that says what to do.
    pub message: String,
}

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// It clashes with what is there.
    Conflict,
    /// It means nothing, or the plugin itself refuses.
    Invalid,
    /// Later, perhaps.
    Unavailable,
    /// A defect, or a broken disk.
    Internal,
}

impl ControlError {
    pub(super) fn new(status: Kind, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }
    pub(super) fn not_found(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, message)
    }
    pub(super) fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }
    pub(super) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, message)
    }
}

impl From<Fault> for ControlError {
    fn from(fault: Fault) -> Self {
        let status = match fault.code {
            Code::UnknownTopic | Code::UnknownPartition => Kind::NotFound,
            Code::InvalidRequest | Code::GroupActive => Kind::Conflict,
            Code::OffsetOutOfRange => Kind::Invalid,
            Code::Overloaded | Code::StorageFull | Code::ShuttingDown => Kind::Unavailable,
            _ => Kind::Internal,
        };
        Self::new(status, fault.code.as_str(), fault.message)
    }
}

impl From<CatalogError> for ControlError {
    fn from(error: CatalogError) -> Self {
        use CatalogError as E;
        let (status, code) = match &error {
            E::UnknownTopic(_) | E::UnknownTopicId(_) => (Kind::NotFound, "unknown-topic"),
            E::UnknownPlugin(_) => (Kind::NotFound, "unknown-plugin"),
            E::UnknownVersion { .. } => (Kind::NotFound, "unknown-version"),
            E::AmbiguousVersion { .. } => (Kind::Invalid, "ambiguous-version"),
            E::Partitions(_) | E::Retention(_) => (Kind::Invalid, "invalid-topic"),
            E::InternalTopic(_) => (Kind::Invalid, "invalid-topic"),
            E::ChainOrder(_) => (Kind::Invalid, "invalid-chain"),
            E::OwnDeadLetters { .. } => (Kind::Invalid, "invalid-topic"),
            E::TopicExists(_) => (Kind::Conflict, "topic-exists"),
            E::TopicInUse { .. } | E::TopicKeepsDeadLetters { .. } => {
                (Kind::Conflict, "topic-in-use")
            }
            E::AlreadyPushed { .. } => (Kind::Conflict, "already-pushed"),
            E::VersionInUse { .. } => (Kind::Conflict, "version-in-use"),
            E::Outdated => (Kind::Conflict, "outdated"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RecordError> for ControlError {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Refused(error) => error.into(),
            RecordError::NotWritten(fault) => fault.into(),
        }
    }
}

impl From<ShelfError> for ControlError {
    fn from(error: ShelfError) -> Self {
        match error {
            ShelfError::NotAPlugin(why) => Self::invalid("invalid-component", why),
            ShelfError::ConfigRefused { plugin, why } => Self::invalid(
                "config-refused",
                format!("plugin {plugin} refuses its config: {why}; nothing was bound"),
            ),
            ShelfError::DoesNotStart { plugin, why } => Self::invalid(
                "does-not-start",
                format!("plugin {plugin} does not start: {why}; nothing was bound"),
            ),
            ShelfError::Broken(why) => Self::new(Kind::Internal, "internal", why),
        }
    }
}
