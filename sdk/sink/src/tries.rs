//! What to do after an attempt. Pure: time and chance are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::deliver::{Never, Outcome};

/// The wait after a first failure, and the longest: a server that restarts is found at once, one
/// that is away for hours is not hammered.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// What the other side may ask for at most: an hour is what a limit per hour would ask.
const ASKED_MAX: Duration = Duration::from_secs(60 * 60);
/// The code of events that were tried for as long as the sink is patient.
const GAVE_UP: &str = "gave-up";

/// The attempts at one event so far.
#[derive(Debug)]
pub(crate) struct Tries {
    patience: Duration,
    /// Of the patience, this much is used. Time in which nobody is there does not count.
    spent: Duration,
    last: Instant,
    attempts: u32,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    /// Try again behind this wait.
    Wait(Duration, String),
    Never(Never),
    Stop(String),
}

impl Tries {
    pub(crate) fn begin(patience: Duration, now: Instant) -> Self {
        Self { patience, spent: Duration::ZERO, last: now, attempts: 0 }
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    pub(crate) fn next(&mut self, outcome: Outcome, now: Instant, random: u32) -> Next {
        self.attempts = self.attempts.saturating_add(1);
        let since = now.saturating_duration_since(self.last);
        self.last = now;
        match outcome {
            Outcome::Taken => Next::Done,
            Outcome::Never(why) => Next::Never(why),
            Outcome::Stop { reason } => Next::Stop(reason),
            Outcome::Away { reason } => Next::Wait(self.wait(random), reason),
            Outcome::Later { reason, after } => {
                self.spent += since;
                let left = self.patience.saturating_sub(self.spent);
                let asked = after.unwrap_or_default().min(ASKED_MAX);
                if left.is_zero() || left < asked {
                    let tried = self.spent.as_secs();
                    let attempts = self.attempts;
                    let sentence = format!("{attempts} attempts in {tried} s, the last: {reason}");
                    return Next::Never(Never::new(GAVE_UP, sentence));
                }
                // The last attempt is at the end of the patience, not somewhere before it.
                Next::Wait(self.wait(random).max(asked).min(left), reason)
            }
        }
    }

    /// Doubling and capped; half of it is chance, so that sinks do not come back in step.
    fn wait(&self, random: u32) -> Duration {
        let doublings = self.attempts.saturating_sub(1).min(16);
        let half = (FIRST * (1 << doublings)).min(LONGEST) / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn later(after: Option<u64>) -> Outcome {
        Outcome::Later { reason: "451".to_owned(), after: after.map(Duration::from_secs) }
    }

    fn away() -> Outcome {
        Outcome::Away { reason: "refused".to_owned() }
    }

    fn wait_of(next: &Next) -> Duration {
        match next {
            Next::Wait(wait, _) => *wait,
            other => panic!("{other:?} is no wait"),
        }
    }

    #[test]
    fn waits_double_up_to_a_limit_and_half_is_chance() {
        let now = Instant::now();
        let waits = |random| {
            let mut tries = Tries::begin(PATIENCE, now);
            let wait = |_| wait_of(&tries.next(away(), now, random)).as_millis();
            (0..12).map(wait).collect::<Vec<_>>()
        };
        assert_eq!(waits(0)[..4], [50, 100, 200, 400]);
        assert_eq!(waits(u32::MAX)[..4], [100, 200, 400, 800]);
        assert_eq!((waits(0)[11], waits(u32::MAX)[11]), (15_000, 30_000));
    }

    #[test]
    fn an_event_is_given_up_when_patience_ends_and_not_before() {
        let begun = Instant::now();
        let mut tries = Tries::begin(PATIENCE, begun);
        let mut now = begun;
        let why = loop {
            match tries.next(later(None), now, 7) {
                Next::Wait(wait, _) => now += wait,
                Next::Never(why) => break why,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(now - begun, PATIENCE);
        assert_eq!(why.code, "gave-up");
        assert!(why.reason.ends_with("attempts in 60 s, the last: 451"), "{}", why.reason);
    }

    #[test]
    fn a_server_that_is_away_uses_up_no_patience() {
        let begun = Instant::now();
        let mut tries = Tries::begin(PATIENCE, begun);
        let week = begun + Duration::from_secs(7 * 24 * 3600);
        assert!(matches!(tries.next(away(), week, 0), Next::Wait(..)));
        assert!(matches!(tries.next(later(None), week, 0), Next::Wait(..)));
    }

    #[test]
    fn what_the_server_asks_for_is_honoured_as_far_as_patience_goes() {
        let now = Instant::now();
        let next = |asked| Tries::begin(PATIENCE, now).next(later(Some(asked)), now, 0);
        assert_eq!(wait_of(&next(0)), Duration::from_millis(50));
        assert_eq!(wait_of(&next(5)), Duration::from_secs(5));
        assert_eq!(wait_of(&next(60)), PATIENCE);
        assert!(matches!(next(61), Next::Never(_)));
        let hours = Duration::from_secs(48 * 3600);
        let patient = Tries::begin(hours, now).next(later(Some(u64::MAX)), now, 0);
        assert_eq!(wait_of(&patient), ASKED_MAX);
    }

    #[test]
    fn yes_no_and_stop_end_it() {
        let next =
            |outcome| Tries::begin(PATIENCE, Instant::now()).next(outcome, Instant::now(), 0);
        assert_eq!(next(Outcome::Taken), Next::Done);
        let never = Never::new("refused", "550");
        assert_eq!(next(Outcome::Never(never.clone())), Next::Never(never));
        assert_eq!(next(Outcome::Stop { reason: "535".into() }), Next::Stop("535".into()));
    }
}
