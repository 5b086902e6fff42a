//! The fold of one partition's log: the one function that says what a commit means.
//!
//! Promises: live and in recovery the same `apply` runs, and every commit meets the same
//! assertions; a view restored from a checkpoint at P and given the commits from P on equals one
//! that was given all of them.
//!
//! Not here on purpose: [`Kind::Snapshot`]. A commit has no room for the producers' windows, so a
//! fold that began at a snapshot would forget verdicts. Nobody writes one; `apply` refuses it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use weir_log::Commit;
use weir_log::commit::Kind;
use weir_log::planted::{Bug, is_planted};
use weir_wire::ids::{ChainRevision, Digest, Offset, PluginName, Position, Timestamp};

use crate::checkpoint::{Changes, Checkpoint, Head, Rows};
use crate::outbox::Outbox;
use crate::producers::{Producers, Remembered};
use crate::state::PluginState;

/// Bytes of changes gathered for a checkpoint at most. Beyond, the next checkpoint is written from
/// the whole view: a disk that is slower than the log must not fill the memory.
const CHANGES_BYTES_MAX: usize = 64 << 20;

/// What one partition's log adds up to.
#[derive(Debug, Default)]
pub struct PartitionView {
    head: Head,
    state: BTreeMap<PluginName, Arc<PluginState>>,
    producers: Producers,
    outbox: Outbox,
    /// The last checkpoint that was taken; `None` if the next one has to hold everything.
    base: Option<Position>,
    /// What changed since `base`.
    changed: Rows,
    /// Bytes of keys and values in `changed`.
    changed_bytes: usize,
}

impl PartitionView {
    /// The view as the checkpoint has it, or that of an empty log. Give it the commits from
    /// [`next`](Self::next) on. A checkpoint that the log does not reach is the caller's to drop.
    pub fn restore(checkpoint: Option<Checkpoint>) -> Self {
        let Some(Checkpoint { head, state, producers, outbox }) = checkpoint else {
            return Self::default();
        };
        let mut plugins = BTreeMap::<PluginName, PluginState>::new();
        let mut ignored = Vec::new();
        for (plugin, row) in state {
            if let Some(entry) = row.entry {
                plugins.entry(plugin).or_default().put(row.key, entry, &mut ignored);
                ignored.clear();
            }
        }
        plugins.values_mut().for_each(|state| state.advance(head.time, &mut ignored));
        let state = plugins.into_iter().map(|(plugin, state)| (plugin, Arc::new(state))).collect();
        Self { base: Some(head.next), head, state, producers, outbox, ..Self::default() }
    }

    /// What the commit at `at` did becomes part of the view.
    ///
    /// No stage may hold a plugin's state: that, and every promise of the log, is asserted.
    pub fn apply(&mut self, at: Position, commit: &Commit) {
        assert!(at == self.head.next, "{at} is not the next commit, {} is", self.head.next);
        assert!(commit.first_offset == self.head.next_offset, "offsets are dense");
        assert!(self.head.time <= commit.time, "partition time never falls");
        assert!(self.head.chain <= commit.chain, "chain revisions never fall");
        assert!(commit.kind != Kind::Snapshot, "snapshots are not written by this version");

        self.head.next = at.next();
        self.head.next_offset = commit.first_offset.plus(u64::from(commit.events));
        self.head.time = commit.time;
        self.head.chain = commit.chain;
        if commit.kind == Kind::Chain {
            self.head.chain_note = Bytes::copy_from_slice(&commit.note);
        }
        self.apply_state(commit);
        self.apply_producer(at, commit);
        self.apply_outbox(at, commit);

        if self.base.is_none() || CHANGES_BYTES_MAX < self.changed_bytes() {
            self.start_over();
        }
    }

    fn apply_state(&mut self, commit: &Commit) {
        for change in &commit.state {
            let value = change.value.as_ref().map(|value| (&*value.bytes, value.expires_at));
            self.changed_bytes += change.key.len() + value.map_or(0, |(bytes, _)| bytes.len());
            let state = self.state.entry(change.plugin.clone()).or_default();
            exclusive(state).apply(&change.key, value, self.changed.of(&change.plugin));
        }
        for (plugin, state) in &mut self.state {
            exclusive(state).advance(commit.time, self.changed.of(plugin));
        }
    }

    fn apply_producer(&mut self, at: Position, commit: &Commit) {
        let is_forgotten = is_planted(Bug::ForgetRefusals) && !commit.verdicts.are_all_accepted();
        if let Some(produced) = commit.producer
            && !is_forgotten
        {
            let batch = Remembered {
                first: produced.first,
                count: commit.verdicts.len(),
                position: at,
                first_offset: commit.first_offset,
                all_accepted: commit.verdicts.are_all_accepted(),
                time: commit.time,
            };
            self.producers.apply(produced, batch, &mut self.changed.producers);
        }
        self.producers.advance(commit.time, &mut self.changed.producers);
    }

    fn apply_outbox(&mut self, at: Position, commit: &Commit) {
        for (ordinal, side_event) in (self.outbox.next_ordinal()..).zip(&commit.outbox) {
            assert!(ordinal == side_event.ordinal, "ordinals of side events are dense");
        }
        let count = u32::try_from(commit.outbox.len()).expect("a commit's length is a u32");
        self.outbox.apply(at, count, commit.relayed, &mut self.changed.outbox);
    }

    /// The position of the next commit.
    pub fn next(&self) -> Position {
        self.head.next
    }
    /// The offset of the next admitted event.
    pub fn next_offset(&self) -> Offset {
        self.head.next_offset
    }
    /// The partition time.
    pub fn time(&self) -> Timestamp {
        self.head.time
    }
    /// The chain of the last commit.
    pub fn chain(&self) -> ChainRevision {
        self.head.chain
    }
    /// The note of the last [`Kind::Chain`] commit, JSON; empty if there was none.
    pub fn chain_note(&self) -> &Bytes {
        &self.head.chain_note
    }
    /// Side events with a lower ordinal have reached their topics.
    pub fn relayed(&self) -> u64 {
        self.outbox.relayed()
    }
    /// The ordinal of the next side event.
    pub fn next_ordinal(&self) -> u64 {
        self.outbox.next_ordinal()
    }
    /// The state of a plugin, to be held while a batch is judged and let go before `apply`.
    pub fn state(&self, plugin: &PluginName) -> Arc<PluginState> {
        self.state.get(plugin).cloned().unwrap_or_default()
    }
    /// Every plugin that has state here, by name.
    pub fn states(&self) -> impl Iterator<Item = (&PluginName, &PluginState)> {
        let held = self.state.iter().filter(|(_, state)| 0 < state.keys());
        held.map(|(plugin, state)| (plugin, &**state))
    }
    /// Who publishes, and what is remembered of it.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }
    /// Where the undelivered side events are.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Bytes that the changes since the last `take_changes` hold: take them before it is many.
    pub fn changed_bytes(&self) -> usize {
        let rows: usize = self.changed.state.iter().map(|(_, rows)| rows.len()).sum();
        self.changed_bytes
            + rows * size_of::<crate::state::Changed>()
            + self.changed.producers.len() * size_of::<crate::producers::Changed>()
            + self.changed.outbox.len() * size_of::<crate::outbox::Changed>()
    }

    /// The changes since the last call, for `PartitionFold::save` on a thread that may block.
    ///
    /// They are moved, not copied, so it costs next to nothing; but all keys are copied by handle
    /// the first time after a start without a checkpoint, and after [`start_over`](Self::start_over).
    /// Take the next ones when these are saved; if saving fails, `start_over`.
    pub fn take_changes(&mut self) -> Changes {
        let rows = match self.base {
            Some(_) => std::mem::take(&mut self.changed),
            None => self.everything(),
        };
        self.changed_bytes = 0;
        let (base, head) = (self.base.replace(self.head.next), self.head.clone());
        self.changes(base, head, rows)
    }

    /// Forgets that there is a checkpoint: the next `take_changes` holds everything.
    pub fn start_over(&mut self) {
        self.base = None;
        self.changed.clear();
        self.changed_bytes = 0;
    }

    fn everything(&self) -> Rows {
        let of_plugin = |(plugin, state): (&PluginName, &Arc<PluginState>)| {
            (plugin.clone(), state.rows().collect())
        };
        Rows {
            state: self.state.iter().map(of_plugin).collect(),
            producers: self.producers.rows().collect(),
            outbox: self.outbox.waiting().map(crate::outbox::Changed::Waits).collect(),
        }
    }

    fn changes(&self, base: Option<Position>, head: Head, rows: Rows) -> Changes {
        let keys: u64 = self.state.values().map(|state| state.keys()).sum();
        let others = self.producers.rows_held() + self.outbox.waiting().len();
        Changes {
            total: keys + others as u64,
            base,
            head,
            relayed: self.relayed(),
            next_ordinal: self.next_ordinal(),
            rows,
        }
    }

    /// The view as sorted lines of `key = value` in hexadecimal, as `checkpoint` draws them: equal
    /// views have equal dumps. Meant for tests and people; it takes as long as the view is large.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for (key, value) in self.sorted_rows() {
            hex(&mut text, &key);
            text.push_str(" = ");
            hex(&mut text, &value);
            text.push('\n');
        }
        text
    }

    /// The sha256 of the dump's bytes: two views are the same if and only if this is.
    pub fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        for (key, value) in self.sorted_rows() {
            for part in [key, value] {
                hasher.update((part.len() as u64).to_be_bytes());
                hasher.update(part);
            }
        }
        Digest(hasher.finalize().into())
    }

    fn sorted_rows(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        self.changes(None, self.head.clone(), self.everything()).for_each(|key, value| {
            rows.extend(value.map(|value| (key, value)));
        });
        rows
    }
}

fn exclusive(state: &mut Arc<PluginState>) -> &mut PluginState {
    Arc::get_mut(state).expect("every stage has let go of the state when a commit is applied")
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_log::commit::{StateChange, StateValue};
    use weir_wire::verdict::Verdicts;

    fn mark(time: u64) -> Commit {
        Commit {
            kind: Kind::Mark,
            time: Timestamp(time),
            chain: ChainRevision(0),
            first_offset: Offset(0),
            events: 0,
            max_timestamp: Timestamp(0),
            producer: None,
            relayed: 0,
            verdicts: Verdicts::default(),
            state: Vec::new(),
            outbox: Vec::new(),
            note: Bytes::new(),
            data: Bytes::new(),
        }
    }

    fn change(value: &'static [u8]) -> StateChange {
        let bytes = Bytes::from_static(value);
        StateChange {
            plugin: PluginName::parse("limit").unwrap(),
            key: Bytes::from_static(b"alice"),
            value: Some(StateValue { bytes, expires_at: None }),
        }
    }

    #[test]
    fn changes_that_nobody_takes_do_not_fill_the_memory() {
        static VALUE: [u8; 64 << 10] = [7; 64 << 10];
        let commit = Commit { state: vec![change(&VALUE)], ..mark(1) };
        let mut view = PartitionView::restore(None);
        view.apply(Position(0), &commit);
        assert_eq!(view.changed_bytes(), 0, "the first checkpoint holds everything anyway");
        drop(view.take_changes());
        for position in 1..=CHANGES_BYTES_MAX / VALUE.len() {
            view.apply(Position(position as u64), &commit);
            assert!(view.changed_bytes() <= CHANGES_BYTES_MAX);
        }
        assert_eq!(view.changed_bytes(), 0, "the next one does again");
        assert_eq!(view.take_changes().base, None);
    }

    #[test]
    fn a_view_knows_the_last_chain_and_its_note() {
        let mut view = PartitionView::restore(None);
        let chain = ChainRevision(3);
        let note = Bytes::from_static(b"{}");
        view.apply(Position(0), &Commit { kind: Kind::Chain, chain, note, ..mark(1) });
        let other = Bytes::from_static(b"not a chain");
        view.apply(Position(1), &Commit { chain, note: other, ..mark(2) });
        assert_eq!((view.chain(), &view.chain_note()[..]), (chain, &b"{}"[..]));
        assert_eq!((view.next(), view.time()), (Position(2), Timestamp(2)));
    }

    #[test]
    #[should_panic(expected = "1 is not the next commit, 0 is")]
    fn a_position_is_not_skipped() {
        PartitionView::restore(None).apply(Position(1), &mark(1));
    }

    #[test]
    #[should_panic(expected = "partition time never falls")]
    fn time_does_not_fall() {
        let mut view = PartitionView::restore(None);
        view.apply(Position(0), &mark(2));
        view.apply(Position(1), &mark(1));
    }

    #[test]
    #[should_panic(expected = "every stage has let go of the state")]
    fn a_held_state_does_not_change() {
        let mut view = PartitionView::restore(None);
        view.apply(Position(0), &Commit { state: vec![change(b"one")], ..mark(1) });
        let held = view.state(&PluginName::parse("limit").unwrap());
        assert_eq!(held.get(b"alice"), Some((&b"one"[..], None)));
        view.apply(Position(1), &Commit { state: vec![change(b"two")], ..mark(1) });
    }
}
