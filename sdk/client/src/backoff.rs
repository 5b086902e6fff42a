//! How long to wait before trying again: doubling, capped, and never in step with other clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The first wait at most: a broker that restarts is back within tens of milliseconds.
const FIRST_MS: u64 = 20;
/// The longest wait: someone who repairs a broker should not wait longer for its clients.
const LONGEST_MS: u64 = 2_000;

/// Where chance comes from: the machine, or a test's seed.
#[derive(Clone)]
pub struct Chance(Arc<dyn Fn() -> u32 + Send + Sync>);

impl Chance {
    /// Every number is as good as any other.
    pub fn by(next: impl Fn() -> u32 + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::by(|| getrandom::u32().unwrap_or(u32::MAX / 2))
    }
}

impl fmt::Debug for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chance")
    }
}

/// Counts failures in a row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
    chance: Chance,
}

impl Backoff {
    pub(crate) fn new(chance: Chance) -> Self {
        Self { failures: 0, chance }
    }

    /// The wait after one more failure: never shorter than what the broker asked for.
    pub(crate) fn after_failure(&mut self, retry_after_ms: Option<u64>) -> Duration {
        let wait = delay(self.failures, retry_after_ms, (self.chance.0)());
        self.failures = self.failures.saturating_add(1);
        wait
    }

    /// Something went well.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Half of the doubled wait is fixed and half is chance, behind what the broker asked for.
fn delay(failures: u32, retry_after_ms: Option<u64>, random: u32) -> Duration {
    let doubled_ms = FIRST_MS.saturating_mul(1 << failures.min(16)).min(LONGEST_MS);
    let chance_ms = (doubled_ms / 2) * u64::from(random) / u64::from(u32::MAX);
    let asked_ms = retry_after_ms.unwrap_or(0).min(RETRY_AFTER_MS_MAX);
    Duration::from_millis(asked_ms + doubled_ms / 2 + chance_ms)
}

/// A broker that asks for more is asked again all the same: deadlines are the caller's.
const RETRY_AFTER_MS_MAX: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_honour_the_broker() {
        let ms = |failures, asked, random| delay(failures, asked, random).as_millis();
        assert_eq!((ms(0, None, 0), ms(0, None, u32::MAX)), (10, 20));
        assert_eq!((ms(3, None, 0), ms(3, None, u32::MAX)), (80, 160));
        assert_eq!((ms(99, None, 0), ms(99, None, u32::MAX)), (1_000, 2_000));
        assert_eq!(ms(0, Some(500), 0), 510);
        assert_eq!(ms(0, Some(u64::MAX), 0), 60_010);
    }
}
