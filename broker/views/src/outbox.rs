//! The outbox of one partition: where in the log its undelivered side events are.
//!
//! Promises: ordinals are dense, and relayed in order; a commit leaves when its last side event
//! has reached its topic. Not here: the side events themselves, which the relay reads from the
//! log at these positions.

use std::collections::VecDeque;

use weir_wire::ids::Position;

/// Ordinals lie below, as Kafka's numbers do: no log gets there, a damaged checkpoint might.
const ORDINALS_MAX: u64 = i64::MAX as u64;

/// Commits with side events that have not all been relayed, oldest first.
///
/// Invariant: `relayed <= next_ordinal`; `waiting` covers `relayed..next_ordinal` without a gap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outbox {
    waiting: VecDeque<Waiting>,
    relayed: u64,
    next_ordinal: u64,
}

/// One commit's side events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Where the commit is.
    pub position: Position,
    /// The ordinal of its first side event.
    pub first: u64,
    /// How many it has.
    pub count: u32,
}

/// What became of one commit's place: for the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It waits.
    Waits(Waiting),
    /// All its side events were relayed.
    Gone(Position),
}

impl Outbox {
    /// Takes up where a checkpoint left it; `None` if the invariant does not hold.
    pub(crate) fn restore(waiting: Vec<Waiting>, relayed: u64, next_ordinal: u64) -> Option<Self> {
        let mut covered = waiting.first().map_or(next_ordinal, |oldest| oldest.first);
        let begins = waiting.first().map_or(relayed == next_ordinal, |oldest| {
            (oldest.first..oldest.end()).contains(&relayed)
        });
        for commit in &waiting {
            if commit.first != covered || commit.count == 0 {
                return None;
            }
            covered = commit.first.checked_add(u64::from(commit.count))?;
        }
        let whole = begins && covered == next_ordinal && next_ordinal < ORDINALS_MAX;
        whole.then(|| Self { waiting: waiting.into(), relayed, next_ordinal })
    }

    /// The commit at `position` holds the next `count` side events, and knows that those below
    /// `relayed` have arrived.
    pub(crate) fn apply(
        &mut self,
        position: Position,
        count: u32,
        relayed: u64,
        changed: &mut Vec<Changed>,
    ) {
        assert!(self.relayed <= relayed, "what was relayed stays relayed");
        assert!(relayed <= self.next_ordinal, "only what was emitted is relayed");
        self.relayed = relayed;
        while let Some(oldest) = self.waiting.front().filter(|oldest| oldest.end() <= relayed) {
            changed.push(Changed::Gone(oldest.position));
            self.waiting.pop_front();
        }
        if 0 < count {
            let waiting = Waiting { position, first: self.next_ordinal, count };
            self.next_ordinal += u64::from(count);
            self.waiting.push_back(waiting);
            changed.push(Changed::Waits(waiting));
        }
    }

    /// The oldest commit with a side event to relay: where the relay reads on.
    pub fn oldest(&self) -> Option<Waiting> {
        self.waiting.front().copied()
    }

    /// All commits that wait, oldest first.
    pub fn waiting(&self) -> impl ExactSizeIterator<Item = Waiting> {
        self.waiting.iter().copied()
    }

    /// How many side events are not known to have arrived.
    pub fn pending(&self) -> u64 {
        self.next_ordinal - self.relayed
    }

    /// Side events with a lower ordinal have arrived.
    pub fn relayed(&self) -> u64 {
        self.relayed
    }

    /// The ordinal of the next side event.
    pub fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }
}

impl Waiting {
    /// The ordinal behind its last side event.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by `fuzz/`: the next commit's ordinals were counted beyond 64 bits.
    #[test]
    fn a_checkpoint_with_ordinals_that_no_log_reaches_is_none() {
        assert!(Outbox::restore(vec![], 5, 5).is_some());
        assert!(Outbox::restore(vec![], u64::MAX, u64::MAX).is_none());
        let last = Waiting { position: Position(1), first: u64::MAX - 1, count: 1 };
        assert!(Outbox::restore(vec![last], u64::MAX - 1, u64::MAX).is_none());
    }

    fn waiting(outbox: &Outbox) -> Vec<(u64, u64, u32)> {
        outbox.waiting().map(|commit| (commit.position.0, commit.first, commit.count)).collect()
    }

    #[test]
    fn a_commit_leaves_when_its_last_side_event_has_arrived() {
        let mut outbox = Outbox::default();
        let mut changed = Vec::new();
        outbox.apply(Position(1), 2, 0, &mut changed);
        outbox.apply(Position(2), 0, 0, &mut changed);
        outbox.apply(Position(3), 3, 1, &mut changed);
        assert_eq!(waiting(&outbox), [(1, 0, 2), (3, 2, 3)]);
        assert_eq!(outbox.pending(), 4);
        outbox.apply(Position(4), 0, 2, &mut changed);
        assert_eq!(waiting(&outbox), [(3, 2, 3)]);
        outbox.apply(Position(5), 1, 5, &mut changed);
        assert_eq!(waiting(&outbox), [(5, 5, 1)]);
        assert_eq!((outbox.pending(), outbox.next_ordinal()), (1, 6));
    }

    #[test]
    #[should_panic(expected = "only what was emitted is relayed")]
    fn nothing_is_relayed_before_it_was_emitted() {
        Outbox::default().apply(Position(0), 1, 1, &mut Vec::new());
    }

    #[test]
    fn a_checkpoint_with_a_gap_is_none() {
        let commit =
            |position, first, count| Waiting { position: Position(position), first, count };
        let good = vec![commit(1, 4, 2), commit(3, 6, 1)];
        assert!(Outbox::restore(good.clone(), 5, 7).is_some());
        assert!(Outbox::restore(vec![], 7, 7).is_some());
        for (waiting, relayed, next) in [
            (good.clone(), 3, 7),
            (good.clone(), 6, 7),
            (good, 5, 8),
            (vec![], 6, 7),
            (vec![commit(1, 4, 2), commit(3, 7, 1)], 4, 8),
            (vec![commit(1, 4, 0)], 4, 4),
            (vec![commit(1, u64::MAX, 9)], u64::MAX, 7),
        ] {
            assert_eq!(Outbox::restore(waiting, relayed, next), None);
        }
    }
}
