//! What the parts of one open log share.
//!
//! Locks are taken in this order, and none of the last is held while the disk works:
//! `cleaning` (one at a time), `writer` (one append, seal or close at a time), `sync_turn` (one fdatasync at a time), `state`.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tracing::error;
use weir_wire::ids::{Offset, Position};

use super::index::{Index, Noted};
use super::mark::Mark;
use super::snapshot::Head;
use super::{Machine, Options};
use crate::commit::{Chain, Encoder, Identity};
use crate::disk::{Disk, DiskFile};
use crate::turn::{Turn, pause};
use crate::{Stop, Stretch, Tail};

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) machine: Machine,
    pub(super) folder: PathBuf,
    pub(super) identity: Identity,
    pub(super) options: Options,
    pub(super) tail: watch::Sender<Tail>,
    pub(super) cleaning: Turn<()>,
    pub(super) writer: Turn<Writer>,
    pub(super) sync_turn: Turn<()>,
    /// Written in the sync's turn.
    pub(super) mark: Mark,
    state: Mutex<State>,
}

/// Invariant: behind the snapshot the sealed segments and the active one follow each other without a
/// gap;
/// `synced` <= the end of the active segment.
#[derive(Debug)]
pub(super) struct State {
    /// Oldest first: what cleanings left, then what lies behind the snapshot.
    pub(super) sealed: VecDeque<Arc<Index>>,
    /// What everything before the first segment that is not clean adds up to.
    pub(super) snapshot: Option<Arc<Head>>,
    pub(super) active: Index,
    pub(super) active_file: Arc<dyn DiskFile>,
    /// Positions below are durable, whatever the tail says.
    pub(super) synced: Position,
    /// Whether someone is syncing until all is synced.
    pub(super) sync_runs: bool,
    /// A write to the active file failed for want of room: it gets no further one.
    pub(super) must_roll: bool,
    pub(super) stopped: Option<Stop>,
}

/// What only the one who appends needs.
#[derive(Debug, Default)]
pub(super) struct Writer {
    pub(super) encoder: Encoder,
    pub(super) buffer: Vec<u8>,
    pub(super) noted: Vec<Noted>,
    /// Bytes that may be written before the free space is looked at again.
    pub(super) granted_bytes: u64,
}

/// What recovery found: a log that can be served.
pub(super) struct Recovered {
    pub(super) snapshot: Option<Arc<Head>>,
    pub(super) sealed: VecDeque<Arc<Index>>,
    pub(super) active: Index,
    pub(super) active_file: Arc<dyn DiskFile>,
}

impl Shared {
    pub(super) fn new(
        machine: Machine,
        folder: &Path,
        identity: Identity,
        options: Options,
        recovered: Recovered,
    ) -> Self {
        let end = recovered.active.end;
        let state = State {
            sealed: recovered.sealed,
            snapshot: recovered.snapshot,
            active: recovered.active,
            active_file: recovered.active_file,
            synced: end.position,
            sync_runs: false,
            must_roll: false,
            stopped: None,
        };
        let mark = Mark::new(machine.disk.as_ref(), folder, identity);
        Self {
            machine,
            folder: folder.to_owned(),
            identity,
            options,
            tail: watch::Sender::new(Tail {
                position: end.position,
                offset: end.offset,
                stopped: None,
            }),
            cleaning: Turn::default(),
            writer: Turn::default(),
            sync_turn: Turn::default(),
            mark,
            state: Mutex::new(state),
        }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.machine.disk.as_ref()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        pause();
        // Nothing panics between two changes of the state, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything before `end` may be read from now on.
    pub(super) fn advance_tail(&self, end: Chain) {
        self.tail.send_if_modified(|tail| {
            let advances = tail.position < end.position && tail.stopped.is_none();
            if advances {
                (tail.position, tail.offset) = (end.position, end.offset);
            }
            advances
        });
    }

    /// Stops the log once and for ever; the first reason stays.
    pub(super) fn stop(&self, state: &mut State, stop: Stop) -> Stop {
        if let Some(stopped) = &state.stopped {
            return stopped.clone();
        }
        if let Stop::Broken(why) = &stop {
            error!(folder = %self.folder.display(), why, "the log stopped; it must be opened anew");
        }
        state.stopped = Some(stop.clone());
        self.tail.send_modify(|tail| tail.stopped = Some(stop.clone()));
        stop
    }

    pub(super) fn earliest(&self) -> (Position, Offset) {
        let state = self.state();
        let snapshot = state.snapshot.as_ref();
        snapshot.map_or((Position(0), Offset(0)), |head| (head.chain.position, head.start))
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        let state = self.state();
        let snapshot = state.snapshot.as_ref().map_or(0, |head| head.file_bytes());
        state.sealed.iter().map(|sealed| sealed.bytes).sum::<u64>() + state.active.bytes + snapshot
    }

    pub(super) fn stretches(&self) -> Vec<Stretch> {
        let state = self.state();
        let sealed = state.sealed.iter().map(|index| index.stretch(true));
        sealed.chain([state.active.stretch(false)]).collect()
    }
}
