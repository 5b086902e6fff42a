//! Whether the machine was slow meanwhile.
//!
//! On a rented machine others take from a processor what no account of the kernel's says ("steal" included): for
//! some tens of milliseconds everything takes ten times as long. Moments like these are every subject's 99th
//! of a hundred, so each latency is told together with how much of the run they were.

use std::hint::black_box;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::process::thread_cpu;

/// Between two looks: what is slow for less is in nobody's way.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Multiplications that each wait for the one before: some 15 µs, or a hundredth of one processor.
const WORK: u32 = 10_000;
/// Slow is a processor that takes so many times as long as it did at its best in this run. Twice is what a
/// neighbour on the same core costs, or a lower clock.
const SLOW: u32 = 3;

/// Looks from when it begins until it ends.
#[derive(Debug)]
pub struct SlownessWatch {
    /// Dropped to end it.
    end: SyncSender<()>,
    thread: JoinHandle<Vec<Look>>,
}

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// Of a processor, so that waiting for one does not count: what else runs here is no slowness.
    took: Duration,
    /// Since the look before.
    stands_for: Duration,
}

impl SlownessWatch {
    /// Begins to look.
    pub fn begin() -> std::io::Result<Self> {
        let (end, ended) = sync_channel(0);
        let thread = std::thread::Builder::new().name("slowness".to_owned()).spawn(move || {
            let (mut looks, mut before) = (Vec::new(), Instant::now());
            while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                let took = work();
                let now = Instant::now();
                looks.push(Look { took, stands_for: now - before });
                before = now;
            }
            looks
        })?;
        Ok(Self { end, thread })
    }

    /// Of the time since then, the share in which a processor was slow: 0 to 1.
    pub fn end(self) -> f64 {
        drop(self.end);
        slow_share(&self.thread.join().expect("it does nothing that panics"))
    }
}

fn slow_share(looks: &[Look]) -> f64 {
    let at_best = looks.iter().map(|look| look.took).min().unwrap_or_default();
    let all: Duration = looks.iter().map(|look| look.stands_for).sum();
    let slow = looks.iter().filter(|look| SLOW * at_best < look.took);
    let slow: Duration = slow.map(|look| look.stands_for).sum();
    if all.is_zero() { 0.0 } else { slow.as_secs_f64() / all.as_secs_f64() }
}

/// Does a piece of work, always the same; gives the processor time it took.
fn work() -> Duration {
    let began = thread_cpu();
    let mut number = black_box(1_u64);
    for _ in 0..WORK {
        // Knuth's MMIX generator: no shortcut through it is known to a compiler.
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    }
    black_box(number);
    thread_cpu().saturating_sub(began)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_is_the_time_that_slow_looks_stand_for() {
        let look = |took, stands_for| Look {
            took: Duration::from_micros(took),
            stands_for: Duration::from_millis(stands_for),
        };
        assert_eq!(slow_share(&[]), 0.0);
        assert_eq!(slow_share(&[look(10, 2), look(30, 2)]), 0.0, "three times is not more");
        assert_eq!(slow_share(&[look(10, 2), look(12, 4), look(31, 2)]), 0.25);
    }

    #[test]
    fn it_looks_until_it_is_ended() {
        let watch = SlownessWatch::begin().expect("a thread");
        let share = watch.end();
        assert!((0.0..=1.0).contains(&share));
        assert!(!work().is_zero());
    }
}
