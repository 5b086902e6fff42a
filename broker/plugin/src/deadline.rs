//! The time a guest may take, in the time of its own thread.
//!
//! Epochs tick by the wall clock, and on a busy machine a guest can miss a deadline without having
//! run. So a deadline that the epochs have reached only begins the count: from then on the guest's
//! thread may work for as long again. A busy machine changes no verdict, and an endless guest ends
//! within twice its deadline of work; fuel is the limit that is exact.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::UpdateDeadline;

use crate::engine::ticks;

/// The deadline of one call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Deadline {
    limit: Duration,
    /// The thread's time when the epochs first reached the deadline.
    counted_from: Option<Duration>,
}

impl Deadline {
    /// For a call that begins now.
    pub(crate) fn of_ms(limit_ms: u64) -> Self {
        Self { limit: Duration::from_millis(limit_ms), counted_from: None }
    }

    /// What becomes of a guest whose epoch deadline has passed, when its thread has worked for
    /// `worked` in all.
    fn passed(&mut self, worked: Duration) -> UpdateDeadline {
        let used = worked.saturating_sub(*self.counted_from.get_or_insert(worked));
        match self.limit.saturating_sub(used) {
            Duration::ZERO => UpdateDeadline::Interrupt,
            left => UpdateDeadline::Continue(ticks(left.as_millis() as u64)),
        }
    }

    /// The same, by the clock of the calling thread.
    pub(crate) fn passed_now(&mut self) -> UpdateDeadline {
        let worked = clock_gettime(ClockId::ThreadCPUTime);
        // Neither is negative: it is a time since the thread began.
        self.passed(Duration::new(worked.tv_sec as u64, worked.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_worked_is_interrupted() {
        let mut deadline = Deadline::of_ms(50);
        let at = Duration::from_millis;
        assert!(
            matches!(deadline.passed(at(1_000)), UpdateDeadline::Continue(11)),
            "the count begins"
        );
        assert!(
            matches!(deadline.passed(at(1_000)), UpdateDeadline::Continue(11)),
            "it did not run"
        );
        assert!(
            matches!(deadline.passed(at(1_030)), UpdateDeadline::Continue(5)),
            "20 ms are left"
        );
        assert!(matches!(deadline.passed(at(1_050)), UpdateDeadline::Interrupt));
    }
}
