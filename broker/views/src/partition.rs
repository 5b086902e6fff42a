//! The fold of one partition's log: the one function that says what a commit means.
//!
//! Promises: live and in recovery the same `apply` runs, and every commit meets the same
//! assertions; a view restored from a checkpoint at P and given the commits from P on equals one
//! that was given all of them.
//!
//! Not here on purpose: [`Kind::Snapshot`]. What a log was folded to when its beginning was cleaned away
//! is a file beside the commits (`packed`), not a commit; nobody writes one, and `apply` refuses it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use weir_log::Commit;
use weir_log::commit::{ChangeAt, KeyspaceChange, KeyspaceFate, Kind};
use weir_log::planted::{Bug, is_planted};
use weir_wire::ids::{ChainRevision, Digest, Offset, PluginName, Position, Timestamp};
use weir_wire::keyspace::Keyspace;

use crate::checkpoint::{Changes, Checkpoint, Head, Rows};
use crate::consumed::ConsumedOffsets;
use crate::keyspaces::Keyspaces;
use crate::outbox::Outbox;
use crate::producers::{Producers, Remembered};
use crate::state::PluginState;

/// Bytes of changes gathered for a checkpoint at most. Beyond, the next checkpoint is written from
/// the whole view: a disk that is slower than the log must not fill the memory.
const CHANGES_BYTES_MAX: usize = 64 << 20;
/// A row of state that is stored by itself costs as much as so many that are stored together in pages:
/// 8 to 27 µs of a processor in place of 0.2, measured with a million.
const ROWS_FOR_ONE: u64 = 64;
/// So many are stored by themselves however few keys there are.
const ROWS_MIN: u64 = 64;

/// Bytes of a changed row that says how far a group has come, its name of 64 at most included.
const CONSUMED_ROW_BYTES: usize = 128;

/// What one partition's log adds up to.
#[derive(Debug, Default)]
pub struct PartitionView {
    head: Head,
    /// Of plugins whose state was ever elsewhere than in the first keyspace.
    keyspaces: BTreeMap<PluginName, Keyspaces>,
    state: BTreeMap<(PluginName, Keyspace), Arc<PluginState>>,
    producers: Producers,
    outbox: Outbox,
    consumed: ConsumedOffsets,
    /// The last checkpoint that was taken; `None` if the next one has to hold everything.
    base: Option<Position>,
    /// What changed since `base`.
    changed: Rows,
    /// Rows of state that the checkpoint has beside its pages.
    beside: u64,
}

impl PartitionView {
    /// The view as the checkpoint has it, or that of an empty log. Give it the commits from
    /// [`next`](Self::next) on. A checkpoint that the log does not reach is the caller's to drop.
    pub fn restore(checkpoint: Option<Checkpoint>) -> Self {
        let Some(checkpoint) = checkpoint else {
            return Self::default();
        };
        let Checkpoint { head, keyspaces, mut state, beside, producers, outbox, consumed } =
            checkpoint;
        for state in state.values_mut() {
            state.advance(head.time);
            state.forget_changes();
        }
        let state = state.into_iter().map(|(place, state)| (place, Arc::new(state))).collect();
        let keyspaces = keyspaces.into_iter().collect();
        let base = Some(head.next);
        Self {
            base,
            beside,
            head,
            keyspaces,
            state,
            producers,
            outbox,
            consumed,
            ..Self::default()
        }
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
        self.apply_keyspaces(commit);
        self.apply_state(commit);
        self.apply_producer(at, commit);
        self.apply_outbox(at, commit);
        if let Some(consumed) = &commit.consumed {
            self.changed.consumed.push(self.consumed.apply(consumed));
        }

        if self.base.is_none() || CHANGES_BYTES_MAX < self.changed_bytes() {
            self.start_over();
        }
    }

    fn apply_keyspaces(&mut self, commit: &Commit) {
        for KeyspaceChange { plugin, keyspace, fate } in &commit.keyspaces {
            let keyspaces = self.keyspaces.entry(plugin.clone()).or_default();
            match fate {
                KeyspaceFate::AtWork => keyspaces.put_to_work(keyspace.clone()),
                KeyspaceFate::Cleared => {
                    keyspaces.clear(keyspace);
                    let place = (plugin.clone(), keyspace.clone());
                    if let Some(mut state) = self.state.remove(&place) {
                        let gone = self.changed.of(&place);
                        // A checkpoint may still have what went before.
                        gone.append(exclusive(&mut state).take_changed());
                        state.rows().iter().for_each(|(key, _)| gone.push((key, None)));
                    }
                }
            }
            self.changed.keyspaces.push((plugin.clone(), keyspaces.clone()));
        }
    }

    fn apply_state(&mut self, commit: &Commit) {
        let mut at_work: Option<&mut PluginState> = None;
        for ChangeAt { place, key, value } in commit.state.reader() {
            if let Some(place) = place {
                at_work = Some(exclusive(self.state.entry(place).or_default()));
            }
            let state = at_work.as_mut().expect("the first change says whose it is");
            state.apply(key, value);
        }
        for state in self.state.values_mut() {
            exclusive(state).advance(commit.time);
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
    /// Where a plugin's state is, and was.
    pub fn keyspaces(&self, plugin: &PluginName) -> Keyspaces {
        self.keyspaces.get(plugin).cloned().unwrap_or_default()
    }
    /// The state of a plugin, to be held while a batch is judged and let go before `apply`.
    pub fn state(&self, plugin: &PluginName) -> Arc<PluginState> {
        self.state_in(plugin, self.keyspaces(plugin).at_work())
    }
    /// What one keyspace holds; the same holds for it.
    pub fn state_in(&self, plugin: &PluginName, keyspace: &Keyspace) -> Arc<PluginState> {
        let place = (plugin.clone(), keyspace.clone());
        self.state.get(&place).cloned().unwrap_or_default()
    }
    /// Every keyspace of a plugin that holds anything.
    pub fn keyspaces_held(&self, plugin: &PluginName) -> impl Iterator<Item = &Keyspace> {
        let of_plugin = self.states().filter(move |((of, _), _)| of == plugin);
        of_plugin.map(|((_, keyspace), _)| keyspace)
    }
    /// Every plugin and keyspace that has state here, in order.
    pub fn states(&self) -> impl Iterator<Item = (&(PluginName, Keyspace), &PluginState)> {
        let held = self.state.iter().filter(|(_, state)| 0 < state.keys());
        held.map(|(place, state)| (place, &**state))
    }
    /// Who publishes, and what is remembered of it.
    pub fn producers(&self) -> &Producers {
        &self.producers
    }
    /// Where the undelivered side events are.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// How far groups have come in what was made into these events.
    pub fn consumed(&self) -> &ConsumedOffsets {
        &self.consumed
    }

    /// Bytes that it takes to know the changes since the last `take_changes`: take them before it is
    /// many.
    pub fn changed_bytes(&self) -> usize {
        let marks: usize = self.state.values().map(|state| state.changes_bytes()).sum();
        let cleared: usize = self.changed.state.iter().map(|(_, rows)| rows.bytes()).sum();
        marks
            + cleared
            + self.changed.producers.len() * size_of::<crate::producers::Changed>()
            + self.changed.outbox.len() * size_of::<crate::outbox::Changed>()
            + self.changed.consumed.len() * CONSUMED_ROW_BYTES
    }

    /// Whether the next `take_changes` holds what changed, and not everything: cheap at any time.
    pub fn has_few_changes(&self) -> bool {
        let marked: usize = self.state.values().map(|state| state.changes()).sum();
        let cleared: usize = self.changed.state.iter().map(|(_, rows)| rows.len()).sum();
        let beside = self.beside + (marked + cleared) as u64;
        let keys: u64 = self.state.values().map(|state| state.keys()).sum();
        self.base.is_some() && beside <= ROWS_MIN.max(keys / ROWS_FOR_ONE)
    }

    /// Bytes that everything takes in a checkpoint, about.
    pub fn whole_bytes(&self) -> u64 {
        self.state.values().map(|state| state.rows_bytes() as u64).sum()
    }

    /// The changes since the last call, for `PartitionFold::save` on a thread that may block.
    ///
    /// Few changes are copied by themselves. Where there are more, and the first time after a start
    /// without a checkpoint or after [`start_over`](Self::start_over), it is all keys and values:
    /// some 50 ns each. Take the next ones when these are saved; if saving fails, `start_over`.
    pub fn take_changes(&mut self) -> Changes {
        if !self.has_few_changes() {
            self.start_over();
        }
        let (base, head) = (self.base.replace(self.head.next), self.head.clone());
        let rows = match base {
            Some(_) => self.what_changed(),
            None => self.everything(),
        };
        let of_state: usize = rows.state.iter().map(|(_, rows)| rows.len()).sum();
        self.beside = if base.is_some() { self.beside + of_state as u64 } else { 0 };
        self.changes(base, head, rows)
    }

    /// Forgets that there is a checkpoint: the next `take_changes` holds everything.
    pub fn start_over(&mut self) {
        self.base = None;
        self.changed.clear();
        self.state.values_mut().for_each(|state| exclusive(state).forget_changes());
    }

    fn what_changed(&mut self) -> Rows {
        let mut rows = std::mem::take(&mut self.changed);
        for (place, state) in &mut self.state {
            if 0 < state.changes() {
                // Behind what was cleared there before.
                rows.of(place).append(exclusive(state).take_changed());
            }
        }
        rows
    }

    fn everything(&self) -> Rows {
        let of_place = |(place, state): (&(PluginName, Keyspace), &Arc<PluginState>)| {
            (place.clone(), state.rows())
        };
        let keyspaces = self.keyspaces.iter();
        Rows {
            keyspaces: keyspaces.map(|(plugin, of)| (plugin.clone(), of.clone())).collect(),
            state: self.state.iter().map(of_place).collect(),
            producers: self.producers.rows().collect(),
            outbox: self.outbox.waiting().map(crate::outbox::Changed::Waits).collect(),
            consumed: self.consumed.rows().map(|(of, reached)| (of.clone(), *reached)).collect(),
        }
    }

    fn changes(&self, base: Option<Position>, head: Head, rows: Rows) -> Changes {
        let keys: u64 = self.state.values().map(|state| state.keys()).sum();
        let others = self.keyspaces.len()
            + self.producers.rows_held()
            + self.outbox.waiting().len()
            + self.consumed.rows().len();
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

    /// Every row, in the order of keys.
    pub(crate) fn sorted_rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        self.changes(None, self.head.clone(), self.everything()).for_each(|key, value| {
            rows.extend(value.map(|value| (key, value)));
        });
        rows.sort_unstable();
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
    use weir_log::commit::{StateChange, StateChanges, StateValue};
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
            consumed: None,
            relayed: 0,
            verdicts: Verdicts::default(),
            keyspaces: Vec::new(),
            state: StateChanges::default(),
            outbox: Vec::new(),
            note: Bytes::new(),
            data: Bytes::new(),
        }
    }

    fn change(value: &'static [u8]) -> StateChange {
        let bytes = Bytes::from_static(value);
        StateChange {
            plugin: PluginName::parse("limit").unwrap(),
            keyspace: Keyspace::default(),
            key: Bytes::from_static(b"alice"),
            value: Some(StateValue { bytes, expires_at: None }),
        }
    }

    #[test]
    fn changes_that_nobody_takes_do_not_fill_the_memory() {
        static KEY: [u8; 64 << 10] = [7; 64 << 10];
        let of =
            |change: StateChange| Commit { state: StateChanges::from_iter([change]), ..mark(1) };
        let key = Bytes::from_static(&KEY);
        let there = of(StateChange { key: key.clone(), ..change(b"one") });
        let gone = of(StateChange { key, value: None, ..change(b"") });
        let mut view = PartitionView::restore(None);
        view.apply(Position(0), &there);
        assert_eq!(view.changed_bytes(), 0, "the first checkpoint holds everything anyway");
        drop(view.take_changes());
        for position in 1..=ROWS_MIN {
            view.apply(Position(position), &there);
        }
        assert!(view.has_few_changes() && view.changed_bytes() < 100, "one key is one change");
        let mut most = 0;
        for position in ROWS_MIN + 1..=ROWS_MIN + 2 * (CHANGES_BYTES_MAX / KEY.len()) as u64 {
            view.apply(Position(position), if position % 2 == 1 { &gone } else { &there });
            most = most.max(view.changed_bytes());
            assert!(most <= CHANGES_BYTES_MAX);
        }
        assert!(CHANGES_BYTES_MAX / 2 < most);
        assert_eq!(view.take_changes().base, None, "the next one holds everything again");
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

    fn keyspace(raw: &str) -> Keyspace {
        Keyspace::parse(raw).unwrap()
    }

    fn fate(raw: &str, fate: KeyspaceFate) -> KeyspaceChange {
        let plugin = PluginName::parse("limit").unwrap();
        KeyspaceChange { plugin, keyspace: keyspace(raw), fate }
    }

    /// What a reader of the plugin's state sees, and of the two keyspaces: "value at-work before".
    fn seen(view: &PartitionView) -> String {
        let plugin = PluginName::parse("limit").unwrap();
        let value = view.state(&plugin).get(b"alice").map(|(value, _)| value.to_vec());
        let keyspaces = view.keyspaces(&plugin);
        let before = keyspaces.before().map(|before| format!("[{before}]"));
        format!(
            "{} [{}] {}",
            value.map_or("-".into(), |value| String::from_utf8(value).unwrap()),
            keyspaces.at_work(),
            before.unwrap_or("-".into())
        )
    }

    #[test]
    fn a_keyspace_is_filled_put_to_work_gone_back_from_and_cleared() {
        let mut view = PartitionView::restore(None);
        let (cleared, at_work) = (KeyspaceFate::Cleared, KeyspaceFate::AtWork);
        let into = |raw: &str, value| StateChange { keyspace: keyspace(raw), ..change(value) };
        let none = Vec::new();
        let mut at = 0;
        let mut step = |view: &mut PartitionView, keyspaces, state: Vec<_>, expected: &str| {
            let state = StateChanges::from_iter(state);
            view.apply(Position(at), &Commit { keyspaces, state, ..mark(1) });
            at += 1;
            assert_eq!(seen(view), expected);
            // From a checkpoint it goes on the same way.
            let saved = crate::store::Store::in_memory();
            let saved = saved.partition(weir_wire::ids::TopicId(1), Default::default());
            view.start_over();
            saved.save(view.take_changes()).unwrap();
            let again = PartitionView::restore(saved.load());
            assert_eq!((seen(&again), again.digest()), (seen(view), view.digest()));
        };
        step(&mut view, vec![], vec![change(b"1")], "1 [] -");
        step(&mut view, vec![], vec![into("w@2", b"7")], "1 [] -");
        step(&mut view, vec![fate("w@2", cleared)], vec![into("w@2", b"8")], "1 [] -");
        step(&mut view, vec![fate("w@2", at_work)], none.clone(), "8 [w@2] []");
        step(&mut view, vec![], vec![into("w@2", b"9")], "9 [w@2] []");
        step(&mut view, vec![fate("", at_work)], none.clone(), "1 [] [w@2]");
        step(&mut view, vec![fate("w@2", cleared)], none.clone(), "1 [] -");
        step(&mut view, vec![fate("w@5", at_work)], none, "- [w@5] []");
        step(&mut view, vec![fate("", cleared)], vec![into("", b"2")], "- [w@5] -");
    }

    /// A checkpoint that follows on an earlier one forgets what was cleared.
    #[test]
    fn what_was_cleared_is_gone_from_the_next_checkpoint() {
        let store = crate::store::Store::in_memory();
        let fold = store.partition(weir_wire::ids::TopicId(1), Default::default());
        let mut view = PartitionView::restore(None);
        let weeks = StateChange { keyspace: keyspace("w@2"), ..change(b"8") };
        view.apply(
            Position(0),
            &Commit { state: StateChanges::from_iter([change(b"1"), weeks]), ..mark(1) },
        );
        fold.save(view.take_changes()).unwrap();
        let keyspaces = vec![fate("w@2", KeyspaceFate::Cleared)];
        view.apply(Position(1), &Commit { keyspaces, ..mark(2) });
        fold.save(view.take_changes()).unwrap();
        let again = PartitionView::restore(fold.load());
        assert_eq!(again.digest(), view.digest());
        assert_eq!(again.states().count(), 1);
    }

    #[test]
    #[should_panic(expected = "the keyspace at work is not cleared")]
    fn the_state_at_work_is_not_cleared() {
        let mut view = PartitionView::restore(None);
        let keyspaces = vec![fate("", KeyspaceFate::Cleared)];
        view.apply(Position(0), &Commit { keyspaces, ..mark(1) });
    }

    #[test]
    #[should_panic(expected = "every stage has let go of the state")]
    fn a_held_state_does_not_change() {
        let mut view = PartitionView::restore(None);
        view.apply(
            Position(0),
            &Commit { state: StateChanges::from_iter([change(b"one")]), ..mark(1) },
        );
        let held = view.state(&PluginName::parse("limit").unwrap());
        assert_eq!(held.get(b"alice"), Some((&b"one"[..], None)));
        view.apply(
            Position(1),
            &Commit { state: StateChanges::from_iter([change(b"two")]), ..mark(1) },
        );
    }
}
