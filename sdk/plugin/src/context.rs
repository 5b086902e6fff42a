//! What surrounds the event that is being judged.

use crate::host;

/// The partition time in milliseconds since 1970-01-01T00:00:00Z: the broker's clock, which never
/// falls and is one value for all events of a batch.
pub fn now() -> u64 {
    host::context::now()
}

/// The topic that the event was published to.
pub fn topic() -> String {
    host::context::topic()
}

/// The partition that the event goes to. State is kept for each one apart.
pub fn partition() -> u32 {
    host::context::partition()
}

/// Who published: the principal that the broker knows, not a name the client chose.
pub fn publisher() -> String {
    host::context::publisher()
}
