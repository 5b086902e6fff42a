//! Lets threads and tasks take turns under a seed: one of them runs, the others stand still, and
//! chance says who goes on wherever the code could be interrupted.
//!
//! Tasks are tokio's, on one thread, polled one at a time; work for the disk has threads of its own,
//! which stop at every call to the disk and before every lock of the log
//! ([`pause`](weir_log::turn::pause)). Time stands still, so that nothing is rescued by a time-out:
//! what nobody wakes sleeps for ever, and is found.
//!
//! Promises: a seed is one schedule. Not here: the memory model. The log's locks are mutexes, and
//! nothing on the road is lock-free but counters.

use std::future::Future;
use std::hash::{DefaultHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Runtime};
use weir_log::blocking::{Blocking, Work};
use weir_log::planted::{Bug, plant};
use weir_log::turn::play;

/// Polls of the tasks while nothing else goes on, after which they count as asleep for ever.
const IDLE_POLLS_MAX: u32 = 5_000;
/// A task that could go on lets others go first so often, of so many times.
const RESTLESS_IN: (u32, u32) = (1, 3);
/// Whose turn it is when it is the tasks'.
const TASKS: usize = 0;

/// One schedule under way. All clones are one.
#[derive(Clone)]
pub struct Turns(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    tasks: Condvar,
    bug: Option<Bug>,
}

struct State {
    chance: fastrand::Rng,
    /// Whose turn it is.
    now: usize,
    /// Work that is begun and not done, and what wakes its thread.
    alive: Vec<(usize, Arc<Condvar>)>,
    last: usize,
    /// Every choice so far: what tells one schedule from another.
    choices: DefaultHasher,
    panics: Vec<String>,
    threads: Threads,
}

/// Threads that wait for work, as long as the program runs: making one costs more than a schedule.
#[derive(Clone, Default)]
pub struct Threads(Arc<Mutex<Vec<SyncSender<Work>>>>);

/// What became of the tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The first one ended.
    Done,
    /// They were stopped in the middle.
    Cut,
    /// They sleep, and nobody is left to wake them.
    Asleep,
}

impl Turns {
    /// A schedule that has not begun.
    pub fn new(seed: u64, bug: Option<Bug>, threads: &Threads) -> Self {
        let state = State {
            chance: fastrand::Rng::with_seed(seed),
            now: TASKS,
            alive: Vec::new(),
            last: TASKS,
            choices: DefaultHasher::new(),
            panics: Vec::new(),
            threads: threads.clone(),
        };
        Self(Arc::new(Inner { state: Mutex::new(state), tasks: Condvar::new(), bug }))
    }

    /// A runtime for the tasks of a schedule.
    pub fn runtime(seed: u64) -> Runtime {
        // One task for each poll of ours, so that chance comes between any two of them.
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).event_interval(1);
        #[cfg(tokio_unstable)]
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
        #[cfg(not(tokio_unstable))]
        let _ = seed;
        builder.build().unwrap()
    }

    /// Where the disk's work goes: it gets its turns among the others.
    pub fn blocking(&self) -> Blocking {
        let turns = self.clone();
        Blocking::by(move |work| turns.begin(work))
    }

    /// A task that often lets others go first.
    pub fn restless<F: Future>(&self, task: F) -> Restless<F> {
        Restless { turns: self.clone(), task: Box::pin(task) }
    }

    /// Chance, of the same seed.
    pub fn below(&self, bound: u64) -> u64 {
        self.state().chance.u64(..bound)
    }

    /// Lets the runtime's tasks and the disk's work take turns until `is_done`, but no longer than
    /// `turns_max`.
    pub fn play(&self, runtime: &Runtime, turns_max: u64, is_done: impl Fn() -> bool) -> End {
        plant(self.0.bug);
        let mut idle = 0;
        for _ in 0..turns_max {
            if is_done() {
                return End::Done;
            }
            if idle == IDLE_POLLS_MAX {
                return End::Asleep;
            }
            runtime.block_on(tokio::task::yield_now());
            let mut state = self.state();
            idle = if state.alive.is_empty() { idle + 1 } else { 0 };
            // Alone, it is no choice.
            if !state.alive.is_empty() {
                self.choose(&mut state);
                wait_for(state, TASKS, &self.0.tasks);
            }
        }
        End::Cut
    }

    /// Lets the disk's work come to its end; the tasks have none any more.
    pub fn finish(&self) {
        loop {
            let mut state = self.state();
            if state.alive.is_empty() {
                plant(None);
                return;
            }
            self.choose(&mut state);
            wait_for(state, TASKS, &self.0.tasks);
        }
    }

    /// What went wrong in the disk's work.
    pub fn panics(&self) -> Vec<String> {
        self.state().panics.clone()
    }

    /// A number that differs where schedules do.
    pub fn choices(&self) -> u64 {
        self.state().choices.finish()
    }

    fn begin(&self, work: Work) {
        let mut state = self.state();
        state.last += 1;
        let (me, wake) = (state.last, Arc::new(Condvar::new()));
        state.alive.push((me, Arc::clone(&wake)));
        let (turns, threads) = (self.clone(), state.threads.clone());
        drop(state);
        threads.run(Box::new(move || turns.work(me, wake, work)));
    }

    fn work(self, me: usize, wake: Arc<Condvar>, work: Work) {
        plant(self.0.bug);
        wait_for(self.state(), me, &wake);
        let turns = self.clone();
        play(Some(Box::new(move || turns.pause(me, &wake))));
        let ended = catch_unwind(AssertUnwindSafe(work));
        play(None);
        plant(None);
        let mut state = self.state();
        if let Err(panic) = ended {
            let why = panic.downcast_ref::<String>().cloned();
            state.panics.push(why.unwrap_or_else(|| "a panic without words".to_owned()));
        }
        state.alive.retain(|(one, _)| *one != me);
        self.choose(&mut state);
    }

    fn pause(&self, me: usize, wake: &Condvar) {
        let mut state = self.state();
        self.choose(&mut state);
        wait_for(state, me, wake);
    }

    fn choose(&self, state: &mut State) {
        let choice = state.chance.usize(..=state.alive.len());
        let chosen = choice.checked_sub(1).map(|at| &state.alive[at]);
        let (now, wake) = chosen.map_or((TASKS, &self.0.tasks), |(now, wake)| (*now, &**wake));
        wake.notify_one();
        state.now = now;
        state.choices.write_usize(now);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_for(state: MutexGuard<'_, State>, me: usize, wake: &Condvar) {
    let turn = wake.wait_while(state, |state| state.now != me);
    drop(turn.unwrap_or_else(PoisonError::into_inner));
}

impl Threads {
    fn run(&self, work: Work) {
        let idle = self.0.lock().unwrap().pop();
        let thread = idle.unwrap_or_else(|| self.new_thread());
        thread.send(work).unwrap();
    }

    fn new_thread(&self) -> SyncSender<Work> {
        // One piece of work at a time: it is given away only while it waits.
        let (sender, works) = sync_channel::<Work>(1);
        let (threads, again) = (self.clone(), sender.clone());
        std::thread::spawn(move || {
            for work in works {
                work();
                threads.0.lock().unwrap().push(again.clone());
            }
        });
        sender
    }
}

/// See [`Turns::restless`].
pub struct Restless<F> {
    turns: Turns,
    task: Pin<Box<F>>,
}

impl<F: Future> Future for Restless<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let (few, many) = RESTLESS_IN;
        let mut state = self.turns.state();
        let waits = state.chance.u32(..many) < few;
        state.choices.write_u8(u8::from(waits));
        drop(state);
        if waits {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.task.as_mut().poll(context)
    }
}
