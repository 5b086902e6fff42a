//! Whether a plugin that keeps failing is called: after failures in a row, or when most of its calls
//! of the last seconds failed, it is left alone for a while; then one event tries.
//!
//! ```text
//! closed --5 failures in a row, or more than half of the last 10 s--> open --1 s--> half open
//!    ^------------------------- the event passed ------------------------------------- | |
//!                                               open <------------ it failed ------------
//! ```
//! Promises: knows no policy and no plugin; time is the partition's and comes as an argument, so the
//! same events open it at the same place. Per call it costs one counter.

use weir_wire::admin::{BreakerReport, BreakerState};
use weir_wire::ids::Timestamp;

/// Failures in a row after which a plugin is not called for a while. Five, so that one poisonous
/// event and its retries do not stop a plugin that is well otherwise.
const FAILURES_IN_A_ROW_MAX: u32 = 5;
/// More failures than successes in the window, and one more, open it too: a plugin that fails on most
/// events does not become well by succeeding in between. The one more is for a plugin that fails on
/// every second event, of which an odd number of calls can hold either.
const FAILURES_OVER: u64 = 1;
/// Calls in the window below which a share says nothing: of 20 calls, a plugin that fails on one
/// event in five fails on eleven once in two thousand times.
const CALLS_MIN: u64 = 20;
/// How far back the window reaches, in s of partition time.
const WINDOW_S: usize = 10;
/// How long the plugin is left alone, in ms of partition time: long enough to spare a busy partition,
/// short enough that nobody waits for an operator after a passing cause.
pub(crate) const OPEN_MS: u64 = 1_000;

/// One plugin's breaker in one partition.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    open_until: Option<Timestamp>,
    why: Option<Why>,
    opened: u64,
    in_a_row: u32,
    window: [Second; WINDOW_S],
}

/// The calls of one second.
#[derive(Debug, Clone, Copy, Default)]
struct Second {
    /// Since the epoch.
    second: u64,
    calls: u64,
    failures: u64,
}

/// Why it opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    InARow,
    Often { failures: u64, calls: u64 },
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InARow => write!(f, "it failed {FAILURES_IN_A_ROW_MAX} times in a row"),
            Self::Often { failures, calls } => {
                write!(f, "it failed on {failures} of {calls} events within {WINDOW_S} s")
            }
        }
    }
}

/// What a call did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Opened(Why),
    Closed,
}

impl Breaker {
    /// Why the plugin is not to be called now, if it is not.
    pub(crate) fn open(&self, now: Timestamp) -> Option<Why> {
        self.open_until.filter(|until| now < *until).and(self.why)
    }

    /// Counts a call; says whether it opened or closed by that.
    pub(crate) fn weigh(&mut self, failed: bool, now: Timestamp) -> Option<Turn> {
        let second = now.0 / 1_000;
        let slot = &mut self.window[(second % WINDOW_S as u64) as usize];
        if slot.second != second {
            *slot = Second { second, ..Second::default() };
        }
        slot.calls += 1;
        if !failed {
            self.in_a_row = 0;
            // The event that tried: what was before is forgiven.
            return self.open_until.take().map(|_| {
                self.window = Default::default();
                Turn::Closed
            });
        }
        slot.failures += 1;
        self.in_a_row += 1;
        let why = match self.open_until {
            Some(_) => self.why,
            None if self.in_a_row >= FAILURES_IN_A_ROW_MAX => Some(Why::InARow),
            None => self.fails_often(second),
        }?;
        self.open_until = Some(Timestamp(now.0.saturating_add(OPEN_MS)));
        self.why = Some(why);
        self.opened += 1;
        Some(Turn::Opened(why))
    }

    fn fails_often(&self, second: u64) -> Option<Why> {
        let oldest = second.saturating_sub(WINDOW_S as u64 - 1);
        let window = self.window.iter().filter(|slot| oldest <= slot.second);
        let (failures, calls) = window
            .fold((0, 0), |(failures, calls), slot| (failures + slot.failures, calls + slot.calls));
        let is_often = CALLS_MIN <= calls && calls - failures + FAILURES_OVER < failures;
        is_often.then_some(Why::Often { failures, calls })
    }

    /// How it stands.
    pub(crate) fn report(&self, now: Timestamp) -> BreakerReport {
        let state = match self.open_until {
            None => BreakerState::Closed,
            Some(until) if now < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        };
        let open_until = self.open_until.filter(|until| now < *until);
        let why = self.why.map(|why| why.to_string());
        BreakerReport { state, open_until, why, opened: self.opened }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls it with `!` for an event that fails and `+` for one that passes, all at `now` ms; gives
    /// what became of them, `.` for those it was not called for.
    fn calls(breaker: &mut Breaker, now: u64, events: &str) -> String {
        let now = Timestamp(now);
        let call = |event| {
            if breaker.open(now).is_some() {
                return '.';
            }
            let _ = breaker.weigh(event == '!', now);
            event
        };
        events.chars().map(call).collect()
    }

    fn state(breaker: &Breaker, now: u64) -> BreakerState {
        breaker.report(Timestamp(now)).state
    }

    #[test]
    fn five_failures_in_a_row_open_it_for_a_second() {
        let mut breaker = Breaker::default();
        assert_eq!(calls(&mut breaker, 7_000, "!!!!+!!!!+"), "!!!!+!!!!+");
        assert_eq!(calls(&mut breaker, 7_000, "!!!!!!!+"), "!!!!!...");
        assert_eq!(state(&breaker, 7_999), BreakerState::Open);
        assert_eq!(calls(&mut breaker, 7_999, "+"), ".");
        let report = breaker.report(Timestamp(7_999));
        assert_eq!(report.open_until, Some(Timestamp(8_000)));
        assert_eq!(report.why.as_deref(), Some("it failed 5 times in a row"));
    }

    #[test]
    fn one_event_tries_and_decides() {
        let mut breaker = Breaker::default();
        calls(&mut breaker, 7_000, "!!!!!");
        assert_eq!(state(&breaker, 8_000), BreakerState::HalfOpen);
        assert_eq!(calls(&mut breaker, 8_000, "!!+"), "!..", "it failed: open anew");
        assert_eq!(calls(&mut breaker, 9_000, "+!!!!+"), "+!!!!+", "it passed: as if new");
        assert_eq!((state(&breaker, 9_000), breaker.opened), (BreakerState::Closed, 2));
    }

    #[test]
    fn more_than_half_of_the_last_seconds_open_it() {
        let mut breaker = Breaker::default();
        assert_eq!(
            calls(&mut breaker, 7_000, &"!+".repeat(50)),
            "!+".repeat(50),
            "a half does not"
        );
        assert_eq!(calls(&mut breaker, 8_000, &"+!".repeat(50)), "+!".repeat(50));
        let mut breaker = Breaker::default();
        assert_eq!(calls(&mut breaker, 7_000, &"!!+".repeat(7)), "!!+!!+!!+!!+!!+!!+!!.");
        let why = breaker.report(Timestamp(7_000)).why;
        assert_eq!(why.as_deref(), Some("it failed on 14 of 20 events within 10 s"));
    }

    #[test]
    fn a_share_of_few_calls_says_nothing() {
        let mut breaker = Breaker::default();
        assert_eq!(calls(&mut breaker, 7_000, "!!+!!+!!+!!+!!+!!+"), "!!+!!+!!+!!+!!+!!+");
    }

    #[test]
    fn what_is_longer_ago_is_forgotten() {
        let mut breaker = Breaker::default();
        calls(&mut breaker, 7_000, "!!+!!+!!+!!+!!+!!+");
        assert_eq!(calls(&mut breaker, 17_000, "!!+!!"), "!!+!!", "the 18 calls are over");
        let mut breaker = Breaker::default();
        calls(&mut breaker, 7_000, "!!+!!+!!+!!+!!+!!+");
        assert_eq!(calls(&mut breaker, 16_999, "!!+!!"), "!!...", "they are not");
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        let mut breaker = Breaker::default();
        assert_eq!(calls(&mut breaker, u64::MAX - 1, "!!!!!!"), "!!!!!.");
    }
}
