//! Group commit: one fdatasync for everything that was written before it began.
//!
//! Promises: at most one sync of a log at a time, on a thread that is given back when all is
//! synced; after a failed one the tail never moves again, since what the disk holds is unknown.

use std::io;
use std::sync::{Arc, PoisonError};

use super::Durability;
use super::state::{Shared, State};
use crate::commit::Chain;
use crate::planted::{Bug, is_planted};
use crate::{AppendError, Stop};

impl Shared {
    /// Sees to it that what was written becomes durable soon.
    pub(super) fn begin_sync(self: &Arc<Self>, state: &mut State) {
        if state.sync_runs {
            return;
        }
        state.sync_runs = true;
        let shared = Arc::clone(self);
        let blocking = self.machine.blocking.clone();
        blocking.begin(move || shared.sync_until_clean());
    }

    fn sync_until_clean(&self) {
        while self.sync_once().is_ok_and(|all_is_synced| !all_is_synced) {}
    }

    /// Syncs what is written now; `Ok(true)` when there is nothing more to do.
    fn sync_once(&self) -> Result<bool, AppendError> {
        let _turn = self.sync_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, end) = {
            let mut state = self.state();
            let is_clean = state.synced == state.active.end.position;
            if state.stopped.is_some() || is_clean {
                if is_planted(Bug::SyncEndsEarly) {
                    drop(state);
                    state = self.state();
                }
                state.sync_runs = false;
                return Ok(true);
            }
            (Arc::clone(&state.active_file), state.active.end)
        };
        if is_planted(Bug::MarkBeforeSync) {
            self.mark.note(self.disk(), end.position);
        }
        let result = file.sync();
        let outcome = self.synced(end, result);
        if outcome.is_err() {
            self.state().sync_runs = false;
        }
        outcome.map(|()| false)
    }

    /// Makes everything written durable before it returns. The caller is the only writer.
    pub(super) fn sync_now(&self) -> Result<(), AppendError> {
        // Taking turns: the kernel tells of a failed write-back only once per file, so a sync next
        // to a failed one could succeed.
        let _turn = self.sync_turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, end) = {
            let state = self.state();
            if let Some(stop) = &state.stopped {
                return Err(stop.clone().into());
            }
            (Arc::clone(&state.active_file), state.active.end)
        };
        let result = file.sync();
        self.synced(end, result)
    }

    fn synced(&self, end: Chain, result: io::Result<()>) -> Result<(), AppendError> {
        {
            let mut state = self.state();
            if let Some(stop) = &state.stopped {
                return Err(stop.clone().into());
            }
            if let Err(error) = result
                && !is_planted(Bug::SyncFailureIgnored)
            {
                let stop = Stop::Broken(format!("a sync failed: {error}"));
                return Err(self.stop(&mut state, stop).into());
            }
            state.synced = state.synced.max(end.position);
        }
        // Behind the lock: whoever reads the tail may be about to ask for the state.
        if self.options.durability == Durability::Durable {
            // Before anyone hears of it, so that the mark knows whatever was answered for.
            self.mark.note(self.disk(), end.position);
            self.advance_tail(end);
        }
        Ok(())
    }
}
