//! Side events: what a rule sends to another topic because of the event it judges.

use crate::{Event, host};

/// Sends `event` to `topic`, exactly once if the effects of the event being judged stand. It is
/// judged there like any other.
///
/// The binding names the topics; any other is a fault. So are more than 16 side events or 256 KiB
/// of them for one event.
pub fn emit(topic: &str, event: &Event) {
    host::outbox::emit(topic, event);
}
