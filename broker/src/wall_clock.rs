//! The one place that asks the machine for the time of day, and does not believe everything.
//!
//! Promises: the broker's time never falls, and never runs ahead of the monotonic clock by more than
//! `TRUST_MS` and what clocks are slewed, unless an operator says that it is right. So nobody burns
//! or re-opens a day's window by setting the machine's clock. What it cannot tell: a clock that was set
//! while the broker was down; partitions see to it that their time does not fall then either.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use weir_wire::admin::ClockStatus;
use weir_wire::ids::Timestamp;

/// Whom to ask for the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How far the wall clock may be from the monotonic one. Leap seconds and the steps of time services
/// are smaller; what is larger was set by somebody.
const TRUST_MS: i128 = 10_000;
/// A clock that is slewed is followed if it gains or loses no more than one ms in so many: chrony
/// slews by one in twelve at most.
const SLEW_ONE_IN: i128 = 10;

/// What the operator has to hear, once for each time that it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The wall clock was set back by so many ms; the broker's time stands still until it is passed.
    Back(u64),
    /// The wall clock was set forward by so many ms; the broker follows the monotonic clock.
    Ahead(u64),
    /// Both agree again.
    Over,
}

/// What is thought of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opinion {
    Agrees,
    Back,
    Ahead,
}

/// Decides what time it is. Pure: both clocks are arguments.
///
/// Invariant: `time` never falls.
#[derive(Debug)]
pub struct ClockGuard {
    opinion: Opinion,
    /// The wall clock's distance from the monotonic one, as far as it is trusted.
    trusted: i128,
    /// When that was adjusted last, by the monotonic clock.
    trusted_at: i128,
    /// The broker's distance from the monotonic clock when it last followed the wall clock.
    followed: i128,
    time: Timestamp,
}

impl ClockGuard {
    /// Trusts the first reading: there is nothing to hold against it.
    pub fn new(wall_ms: u64, boot_ms: u64) -> Self {
        let distance = i128::from(wall_ms) - i128::from(boot_ms);
        Self {
            opinion: Opinion::Agrees,
            trusted: distance,
            trusted_at: boot_ms.into(),
            followed: distance,
            time: Timestamp(wall_ms),
        }
    }

    /// The broker's time when the clocks stand so, and what began with this reading.
    pub fn read(&mut self, wall_ms: u64, boot_ms: u64) -> (Timestamp, Option<Alarm>) {
        let (wall, boot) = (i128::from(wall_ms), i128::from(boot_ms));
        let distance = wall - boot;
        let set_by = distance - self.trusted;
        let opinion = match set_by {
            _ if set_by < -TRUST_MS => Opinion::Back,
            _ if set_by > TRUST_MS => Opinion::Ahead,
            _ => Opinion::Agrees,
        };
        let now = match opinion {
            Opinion::Ahead => boot + self.followed,
            Opinion::Agrees | Opinion::Back => wall,
        };
        if opinion == Opinion::Agrees {
            // Not at once: many small steps are a large one.
            let slew = (boot - self.trusted_at).max(0) / SLEW_ONE_IN;
            self.trusted += set_by.clamp(-slew, slew);
            if slew > 0 {
                self.trusted_at = boot;
            }
            self.followed = distance;
        } else {
            self.trusted_at = boot;
        }
        self.time = self.time.max(Timestamp(u64::try_from(now).unwrap_or(0)));
        let by = u64::try_from(set_by.unsigned_abs()).unwrap_or(u64::MAX);
        let alarm = match opinion {
            same if same == self.opinion => None,
            Opinion::Agrees => Some(Alarm::Over),
            Opinion::Back => Some(Alarm::Back(by)),
            Opinion::Ahead => Some(Alarm::Ahead(by)),
        };
        self.opinion = opinion;
        (self.time, alarm)
    }

    /// An operator says that the wall clock is right. Time does not fall for that either.
    pub fn accept(&mut self, wall_ms: u64, boot_ms: u64) -> Timestamp {
        let time = self.time;
        *self = Self::new(wall_ms, boot_ms);
        self.time = self.time.max(time);
        self.time
    }

    /// What an operator should know, if anything.
    fn warning(&self) -> Option<String> {
        let sentence = match self.opinion {
            Opinion::Agrees => return None,
            Opinion::Back => {
                "the wall clock was set back; the broker's time stands still until it is passed. Set \
                 the clock right, or confirm it with `weir clock --accept`"
            }
            Opinion::Ahead => {
                "the wall clock was set forward; the broker follows the monotonic clock. Set the clock \
                 right, or confirm it with `weir clock --accept`"
            }
        };
        Some(sentence.to_owned())
    }
}

/// The machine's clocks under guard.
#[derive(Debug)]
pub struct WallClock(Mutex<ClockGuard>);

impl WallClock {
    /// Begins to watch.
    pub fn start() -> Arc<Self> {
        Arc::new(Self(Mutex::new(ClockGuard::new(wall_ms(), boot_ms()))))
    }

    /// The same as a value to hand down.
    pub fn clock(self: &Arc<Self>) -> Clock {
        let clock = Arc::clone(self);
        Arc::new(move || clock.now())
    }

    fn now(&self) -> Timestamp {
        let mut guard = self.guard();
        // Read under the lock: of two readings the later one must not be taken for a clock set back.
        let (now, alarm) = guard.read(wall_ms(), boot_ms());
        match alarm {
            None => {}
            Some(Alarm::Back(by_ms)) => tracing::warn!(
                by_ms,
                "the wall clock was set back; the broker's time stands still until it is passed"
            ),
            Some(Alarm::Ahead(by_ms)) => tracing::error!(
                by_ms,
                "the wall clock was set forward; the broker follows the monotonic clock. Set it right, \
                 or confirm it with `weir clock --accept`"
            ),
            Some(Alarm::Over) => tracing::warn!("the wall clock and the monotonic one agree again"),
        }
        now
    }

    /// An operator says that the wall clock is right.
    pub fn accept(&self) -> ClockStatus {
        let before = self.now();
        let now = self.guard().accept(wall_ms(), boot_ms());
        tracing::warn!(%before, %now, "an operator confirmed the wall clock");
        self.status()
    }

    /// Both clocks, for operators.
    pub fn status(&self) -> ClockStatus {
        let broker = self.now();
        let wall = Timestamp(wall_ms());
        let ahead = i128::from(wall.0) - i128::from(broker.0);
        ClockStatus {
            wall,
            broker,
            ahead_ms: i64::try_from(ahead).unwrap_or(i64::MAX),
            alarm: self.guard().warning(),
        }
    }

    fn guard(&self) -> MutexGuard<'_, ClockGuard> {
        // No reading panics half way, so a poisoned guard is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The monotonic clock that goes on while a laptop sleeps.
fn boot_ms() -> u64 {
    #[cfg(target_os = "linux")]
    let since = clock_gettime(ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let since = clock_gettime(ClockId::Monotonic);
    let (seconds, millis) = (since.tv_sec.max(0), since.tv_nsec.max(0) / 1_000_000);
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000) + u64::try_from(millis).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use std::fmt::Write;

    const SECOND: u64 = 1_000;
    const HOUR: u64 = 3_600 * SECOND;
    const DAY: u64 = 24 * HOUR;
    /// A scenario begins at this time of an honest clock, and this one of the monotonic clock.
    const BEGIN: u64 = 20_000 * DAY;
    const BOOT: u64 = 5 * DAY;

    /// Each line is a step: `+` so long passes, `set` moves the wall clock by so many seconds, `accept`.
    fn check(script: &str, expected: Expect) {
        let (mut passed, mut set) = (0_u64, 0_i64);
        let mut guard = ClockGuard::new(BEGIN, BOOT);
        let mut story = String::new();
        for line in script.lines().map(str::trim) {
            let (word, number) = line.split_once(' ').unwrap_or((line, "0"));
            let seconds: i64 = number.parse().unwrap();
            match word {
                "pass" => passed += seconds.unsigned_abs() * SECOND,
                "set" => set += seconds * SECOND as i64,
                "accept" => {
                    guard.accept(wall(passed, set), BOOT + passed);
                }
                _ => panic!("{line}?"),
            }
            let (now, alarm) = guard.read(wall(passed, set), BOOT + passed);
            let alarm = alarm.map_or(String::new(), |alarm| format!(" {alarm:?}"));
            writeln!(story, "{line}: {} s{alarm}", (now.0 - BEGIN) / SECOND).unwrap();
        }
        expected.assert_eq(&story);
    }

    fn wall(passed: u64, set: i64) -> u64 {
        (BEGIN + passed).saturating_add_signed(set)
    }

    #[test]
    fn a_clock_set_forward_is_not_followed_until_it_is_confirmed() {
        check(
            "pass 5
             set 10
             pass 100
             set 3600
             pass 60
             set 3600
             accept
             pass 1",
            expect![[r#"
                pass 5: 5 s
                set 10: 15 s
                pass 100: 115 s
                set 3600: 115 s Ahead(3600000)
                pass 60: 175 s
                set 3600: 175 s
                accept: 7375 s
                pass 1: 7376 s
            "#]],
        );
    }

    #[test]
    fn a_clock_that_comes_back_is_followed_again() {
        check(
            "set 3600
             pass 60
             set -3598
             pass 60",
            expect![[r#"
                set 3600: 0 s Ahead(3600000)
                pass 60: 60 s
                set -3598: 62 s Over
                pass 60: 122 s
            "#]],
        );
    }

    #[test]
    fn a_clock_set_back_holds_and_may_be_set_right_again() {
        check(
            "pass 100
             set -60
             pass 30
             pass 60
             set 60
             pass 1
             set -86400
             accept
             pass 3600",
            expect![[r#"
                pass 100: 100 s
                set -60: 100 s Back(60000)
                pass 30: 100 s
                pass 60: 130 s
                set 60: 190 s Over
                pass 1: 191 s
                set -86400: 191 s Back(86400000)
                accept: 191 s
                pass 3600: 191 s
            "#]],
        );
    }

    #[test]
    fn many_small_steps_are_a_large_one() {
        let mut guard = ClockGuard::new(BEGIN, BOOT);
        let mut alarmed = false;
        for step in 1..=100 {
            let (now, alarm) = guard.read(BEGIN + step * 9 * SECOND, BOOT + step * SECOND);
            alarmed |= alarm.is_some();
            assert!(now.0 <= BEGIN + step * SECOND * 2 + 10 * SECOND, "step {step}: {now}");
        }
        assert!(alarmed);
    }

    #[test]
    fn a_slewed_clock_is_followed_without_an_alarm() {
        for one_in in [-12, -2_000, 2_000, 12] {
            let mut guard = ClockGuard::new(BEGIN, BOOT);
            for second in 1..=100_000_i64 {
                let wall = BEGIN.saturating_add_signed(second * 1_000 + second * 1_000 / one_in);
                let read = guard.read(wall, BOOT + second as u64 * SECOND);
                assert_eq!(read, (Timestamp(wall), None), "one in {one_in}");
            }
        }
    }

    /// A scenario's chance.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, sides: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % sides
        }
    }

    /// A partition's time stands on the guard's; a broker may restart at any time, and the clock be set
    /// back meanwhile. True time is the test's.
    fn scenario(seed: u64) {
        let mut dice = Dice(seed);
        let sets = [HOUR as i64, DAY as i64, 3_650 * DAY as i64, SECOND as i64];
        let (mut passed, mut set, mut slewed) = (0_u64, 0_i64, 0_i64);
        let mut guard = ClockGuard::new(BEGIN, BOOT);
        let (mut partition, mut last) = (0, 0);
        for step in 0..200 {
            match dice.below(12) {
                0 => set = sets[dice.below(4) as usize],
                1 => set = -sets[dice.below(4) as usize],
                2 => set = 0,
                3 => set = set.saturating_add(dice.below(9) as i64 * 1_000 - 4_000),
                // Down, set back, up. Or set right.
                4 => {
                    set = -sets[dice.below(4) as usize] * dice.below(2) as i64;
                    guard = ClockGuard::new(wall(passed, set + slewed), BOOT + passed);
                    last = 0;
                }
                5 => slewed += (dice.below(21) as i64 - 10) * 10,
                _ => {}
            }
            let far = [SECOND, 60 * SECOND, HOUR, DAY][dice.below(4) as usize];
            let more = 1 + dice.below(far);
            passed += more;
            let (now, _) = guard.read(wall(passed, set + slewed), BOOT + passed);
            assert!(last <= now.0, "seed {seed}, step {step}: time falls, a day opens again");
            last = now.0;
            partition = partition.max(now.0);
            // A step below the limit is followed, and a slewed clock; an hour is neither.
            let honest = BEGIN + passed + 60 * SECOND;
            assert!(partition <= honest, "seed {seed}, step {step}: a day is burned");
        }
        // Set right, and agreed upon, nothing is left of it.
        let now = guard.accept(wall(passed, slewed), BOOT + passed);
        assert!(now.0.abs_diff(BEGIN + passed) <= 60 * SECOND, "seed {seed}");
    }

    #[test]
    fn no_scenario_makes_time_fall_or_burns_a_day() {
        (0..500).for_each(scenario);
    }
}
