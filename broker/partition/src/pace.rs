//! Where a batch is judged: on the partition's own turn while its plugins are quick, and on a thread
//! of its own, behind everyone else, while they are slow.
//!
//! The threads that judge are few and shared. A plugin that uses all its fuel on each event makes
//! minutes of a batch, and as many such partitions as there are threads would keep every other one
//! waiting. So a partition has to earn its place on a shared thread by a row of quick batches and
//! loses it with a slow one; a thread of its own yields to whoever is quick by its priority.
//!
//! Invariant: what is judged, and in which order, does not depend on where.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, SendError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use rustix::process::nice;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// A batch that takes more of a processor is slow: as long as a sync of a disk, which everyone
/// waits for anyway. Not by the clock: a busy machine would make everyone slow. What a hypervisor takes
/// away for a moment is counted as well (docs/performance.md), so not much less.
const SLOW: Duration = Duration::from_millis(4);
/// Unless its events take each plugin no more than this: a batch of ten thousand is large, and no plugin of
/// it is slow. What a small rule in any compiled language takes to refuse one, on a slow machine whose
/// processors are all at work; with the largest batch, 50 ms.
const QUICK_EVENT: Duration = Duration::from_micros(5);
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
    /// Runs `job`, which has so many `plugins` judge so many `events`, where it belongs. Without a plugin
    /// there is nothing slow in it.
    pub(crate) async fn run<T: Send + 'static>(
        &mut self,
        plugins: u32,
        events: u32,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        // Where there is one thread only, as in the simulation, there is nobody to make room for.
        let is_shared = Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        if !is_shared || plugins == 0 {
            return job();
        }
        let slow = SLOW.max(QUICK_EVENT * events.saturating_mul(plugins));
        let timed = move || {
            let began = worked();
            let done = job();
            (done, worked().saturating_sub(began) < slow)
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
    let job = move || drop(say.send(catch_unwind(AssertUnwindSafe(job))));
    if let Err((job, error)) = hand_over(Box::new(job)) {
        tracing::warn!(%error, "no thread for a slow plugin; it keeps others waiting");
        job();
    }
    match done.await {
        Ok(Ok(done)) => done,
        // The job panicked: so does whoever asked for it.
        Ok(Err(panic)) => resume_unwind(panic),
        Err(_) => unreachable!("a job that was taken is done or panics"),
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// Threads of low priority that have nothing to do. They are the process's: one thread is like
/// another, and a partition that is slow once has no use for one of its own. To make one for each job
/// costs more than to judge a hundred events; a thousand partitions that begin make thousands.
static IDLE: Mutex<Vec<(ThreadId, SyncSender<Job>)>> = Mutex::new(Vec::new());
/// Threads that are kept although they have nothing to do.
const IDLE_MAX: usize = 64;
/// For so long.
const IDLE_WAIT: Duration = Duration::from_secs(1);

fn idle() -> MutexGuard<'static, Vec<(ThreadId, SyncSender<Job>)>> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the job to a thread that does nothing else until it is done; gives it back with the reason
/// if none can be made.
fn hand_over(job: Job) -> Result<(), (Job, io::Error)> {
    let found = idle().pop();
    let job = match found {
        None => job,
        Some((_, thread)) => match thread.send(job) {
            Ok(()) => return Ok(()),
            Err(SendError(job)) => job,
        },
    };
    let (give, given) = sync_channel(1);
    let its_own = give.clone();
    let thread = std::thread::Builder::new().name("weir-slow".to_owned());
    match thread.spawn(move || work(its_own, &given)) {
        Ok(_) => give.send(job).map_err(|SendError(job)| (job, io::ErrorKind::BrokenPipe.into())),
        Err(error) => Err((job, error)),
    }
}

/// The life of such a thread.
fn work(own: SyncSender<Job>, given: &Receiver<Job>) {
    // Only ever less important than before: that takes no rights.
    let _ = nice(SLOW_NICENESS);
    let me = std::thread::current().id();
    // It holds a sender itself, so this ends by the returns below only.
    let mut next = given.recv();
    while let Ok(job) = next {
        job();
        {
            let mut idle = idle();
            if IDLE_MAX <= idle.len() {
                return;
            }
            idle.push((me, own.clone()));
        }
        next = match given.recv_timeout(IDLE_WAIT) {
            Ok(job) => Ok(job),
            Err(_) if left(me) => return,
            // Whoever took it off the list has a job for it.
            Err(_) => given.recv(),
        };
    }
}

/// Takes a thread off the list, if nobody did.
fn left(thread: ThreadId) -> bool {
    let mut idle = idle();
    let before = idle.len();
    idle.retain(|(of, _)| *of != thread);
    idle.len() < before
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
            assert_eq!(pace.run(1, 1, name).await.as_deref(), Some("weir-slow"));
            assert_eq!(pace.quick_in_a_row, QUICK_IN_A_ROW, "a loaded machine makes nobody slow");
            assert_ne!(pace.run(1, 1, name).await.as_deref(), Some("weir-slow"));
            let works = || {
                let until = worked() + SLOW;
                while worked() < until {}
            };
            pace.run(1, 1, works).await;
            assert_eq!(pace.quick_in_a_row, 0);
            assert_eq!(pace.run(1, 1, name).await.as_deref(), Some("weir-slow"));
            assert_ne!(pace.run(0, 1, name).await.as_deref(), Some("weir-slow"), "no plugins");
        })
        .await
        .expect("no panic");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_panic_is_that_of_whoever_asked() {
        let asked = tokio::spawn(async { Pace::default().run(1, 1, || panic!("a defect")).await });
        assert!(asked.await.is_err_and(|error| error.is_panic()));
    }

    #[tokio::test]
    async fn where_there_is_one_thread_it_is_used() {
        let mut pace = Pace::default();
        assert_ne!(pace.run(1, 1, name).await.as_deref(), Some("weir-slow"));
    }
}
