//! The one place that asks the machine for the time of day.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use weir_wire::ids::Timestamp;

/// Whom to ask for the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Now, by the machine's clock, which may jump; partitions see to it that theirs does not fall.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
