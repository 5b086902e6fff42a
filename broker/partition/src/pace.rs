//! Where a batch is judged: on the partition's own turn while its plugins are quick, and on a thread
//! of its own, behind everyone else, while they are slow.
//!
//! The threads that judge are few and shared. A plugin that uses all its fuel on each event makes
//! minutes of a batch, and as many such partitions as there are threads would keep every other one
//! waiting. So a partition has to earn its place on a shared thread by a row of quick batches and
//! loses it with a slow one; a thread of its own yields to whoever is quick by its priority.
//!
//! Invariant: what is judged, and in which order, does not depend on where.

use std::time::Duration;

use rustix::process::nice;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// A batch that takes more of a processor is slow: as long as a sync of the disk, which everyone
/// waits for anyway. Not by the clock: a busy machine would make everyone slow.
const SLOW: Duration = Duration::from_millis(2);
/// Unless its events take no more than this each: a batch of ten thousand is large, and no plugin of it is
/// slow. Twice what a small rule in any compiled language takes; with the largest batch, 20 ms.
const QUICK_EVENT: Duration = Duration::from_micros(2);
/// Quick batches in a row that earn the shared thread: few enough that a new partition is there at
/// once, enough that a plugin cannot be slow every other time at the others' cost.
const QUICK_IN_A_ROW: u32 = 8;
/// The niceness of a thread of one's own: a ninth of the share of one who is quick, where there is
/// not enough for all, and everything where there is.
const SLOW_NICENESS: i32 = 10;

/// How quick a partition's batches have been.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    quick_in_a_row: u32,
}

impl Pace {
    /// Runs `job`, which judges so many `events`, where it belongs. `has_plugins`: without any there is
    /// nothing slow in it.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        has_plugins: bool,
        events: u32,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // Where there is one thread only, as in the simulation, there is nobody to make room for.
        let is_shared = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        if !is_shared || !has_plugins {
            return job();
        }
        let timed = move || {
            let began = worked();
            let done = job();
            (done, worked().saturating_sub(began) < SLOW.max(QUICK_EVENT * events))
        };
        let (done, is_quick) = match self.quick_in_a_row {
            QUICK_IN_A_ROW.. => timed(),
            _ => aside(timed).await,
        };
        self.quick_in_a_row = if is_quick { self.quick_in_a_row.saturating_add(1) } else { 0 };
        done
    }
}

/// What the calling thread had of a processor so far.
fn worked() -> Duration {
    let worked = clock_gettime(ClockId::ThreadCPUTime);
    // Neither is negative: it is a time since the thread began.
    Duration::new(worked.tv_sec as u64, worked.tv_nsec as u32)
}

/// Runs `job` on a thread of its own; here, if there is none to be had.
async fn aside<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (say, done) = oneshot::channel();
    let slot = std::sync::Arc::new(std::sync::Mutex::new(Some(job)));
    let take = {
        let slot = std::sync::Arc::clone(&slot);
        move || slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    };
    let taken = take.clone();
    let thread = std::thread::Builder::new().name("weir-slow".to_owned()).spawn(move || {
        // Only ever less important than before: that takes no rights.
        let _ = nice(SLOW_NICENESS);
        if let Some(job) = taken() {
            let _ = say.send(job());
        }
    });
    match (thread, take) {
        (Ok(thread), _) => match done.await {
            Ok(done) => done,
            // The job panicked: so does whoever asked for it.
            Err(_) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("a job that was taken is done or panics"),
            },
        },
        (Err(error), take) => {
            tracing::warn!(%error, "no thread for a slow plugin; it keeps others waiting");
            take().expect("no thread has taken it")()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> Option<String> {
        std::thread::current().name().map(str::to_owned)
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_shared_thread_is_earned_and_lost() {
        tokio::spawn(async {
            let mut pace = Pace { quick_in_a_row: QUICK_IN_A_ROW - 1 };
            assert_eq!(pace.run(true, 1, name).await.as_deref(), Some("weir-slow"));
            assert_eq!(pace.quick_in_a_row, QUICK_IN_A_ROW, "a loaded machine makes nobody slow");
            assert_ne!(pace.run(true, 1, name).await.as_deref(), Some("weir-slow"));
            let works = || {
                let until = worked() + SLOW;
                while worked() < until {}
            };
            pace.run(true, 1, works).await;
            assert_eq!(pace.quick_in_a_row, 0);
            assert_eq!(pace.run(true, 1, name).await.as_deref(), Some("weir-slow"));
            assert_ne!(pace.run(false, 1, name).await.as_deref(), Some("weir-slow"), "no plugins");
        })
        .await
        .expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_panic_is_that_of_whoever_asked() {
        let asked =
            tokio::spawn(async { Pace::default().run(true, 1, || panic!("a defect")).await });
        assert!(asked.await.is_err_and(|error| error.is_panic()));
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_is_used() {
        let mut pace = Pace::default();
        assert_ne!(pace.run(true, 1, name).await.as_deref(), Some("weir-slow"));
    }
}
