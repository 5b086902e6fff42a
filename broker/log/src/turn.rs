//! A lock that is held while the disk works, and the places where a test may let others go first.
//!
//! Tests of schedules (row R11) let threads take turns under a seed: one runs, the others stand at a
//! [`pause`] or wait for a `Turn`. Only builds with debug assertions can be played, and only a
//! thread that asks for it is. Elsewhere a turn is a mutex and a pause nothing.

use std::cell::RefCell;
use std::sync::{LockResult, Mutex, MutexGuard, TryLockError};

thread_local! {
    static PLAYER: RefCell<Option<Box<dyn Fn()>>> = const { RefCell::new(None) };
}

/// From now on this thread calls `at_pause` wherever others may go first, or no longer.
pub fn play(at_pause: Option<Box<dyn Fn()>>) {
    PLAYER.set(at_pause);
}

/// Others may go first.
#[inline]
pub fn pause() {
    if cfg!(debug_assertions) {
        PLAYER.with_borrow(|player| player.as_ref().inspect(|at_pause| at_pause()).is_some());
    }
}

fn is_played() -> bool {
    cfg!(debug_assertions) && PLAYER.with_borrow(Option::is_some)
}

/// A mutex whose holder may wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Turn<T>(Mutex<T>);

impl<T> Turn<T> {
    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        while is_played() {
            pause();
            // Whoever holds it stands at a pause: to wait here would be to wait for ever.
            match self.0.try_lock() {
                Ok(guard) => return Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.0.lock()
    }
}
