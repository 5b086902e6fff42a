//! How far one reading of one partition is: what was handed out, what of it is finished, and what
//! the broker has of that. Pure.
//!
//! ```text
//! offsets ──▶  committed ≤ finished ≤ first unfinished ≤ given
//!                                     in hand, a receipt that is out, or one that was thrown away
//! ```
//! Promises: what is finished never goes back, and never past anything unfinished.

use std::collections::BTreeSet;

use weir_wire::ids::Offset;

/// When what is handed out counts as finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handing {
    /// When the caller asks for more, or commits.
    InHand,
    /// When its receipt says so.
    Receipt,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Bookmark {
    /// The first offset that was handed out: a commit of no more than that says nothing.
    began: Option<Offset>,
    /// Where it goes on behind what was handed out.
    given: Option<Offset>,
    /// The first offset of what the last call handed out.
    in_hand: Option<Offset>,
    /// The first offsets of what receipts are out for.
    receipts: BTreeSet<Offset>,
    /// The first receipt that was thrown away without a word: nothing is finished from there on.
    abandoned: Option<Offset>,
    committed: Option<Offset>,
}

impl Bookmark {
    /// Hands out what is from `first` on and before `next`; what was in hand is finished by that.
    pub(super) fn give(&mut self, first: Offset, next: Offset, handing: Handing) {
        assert!(self.given.is_none_or(|given| given <= first), "offsets of a partition rise");
        assert!(first < next, "there is something in it");
        self.began.get_or_insert(first);
        self.given = Some(next);
        self.in_hand = None;
        match handing {
            Handing::InHand => self.in_hand = Some(first),
            Handing::Receipt => {
                self.receipts.insert(first);
            }
        }
    }

    /// There is nothing for the caller before `next`.
    pub(super) fn pass(&mut self, next: Offset) {
        self.given = self.given.max(Some(next));
    }

    /// What was in hand is finished.
    pub(super) fn put_down(&mut self) {
        self.in_hand = None;
    }

    /// What a receipt was out for is finished.
    pub(super) fn done(&mut self, first: Offset) {
        self.receipts.remove(&first);
    }

    /// What a receipt was out for will never be finished here.
    pub(super) fn abandon(&mut self, first: Offset) {
        if self.receipts.remove(&first) {
            self.abandoned = Some(self.abandoned.map_or(first, |before| before.min(first)));
        }
    }

    /// Where it goes on behind what was handed out.
    pub(super) fn given(&self) -> Option<Offset> {
        self.given
    }

    /// Everything below is finished.
    fn finished(&self) -> Option<Offset> {
        let receipt = self.receipts.first().copied();
        let unfinished = [self.in_hand, receipt, self.abandoned].into_iter().flatten().min();
        let given = self.given?;
        Some(unfinished.map_or(given, |first| first.min(given)))
    }

    /// What the broker should have and has not.
    pub(super) fn uncommitted(&self) -> Option<Offset> {
        let known = self.committed.or(self.began);
        self.finished().filter(|finished| known.is_none_or(|known| known < *finished))
    }

    /// The broker has everything below `next`, whatever was said of it here.
    pub(super) fn has_committed(&mut self, next: Offset) {
        self.committed = self.committed.max(Some(next));
        let given = self.given;
        let left = |first: Offset| Some(first.max(next)).filter(|first| Some(*first) < given);
        self.in_hand = self.in_hand.and_then(left);
        self.abandoned = self.abandoned.filter(|first| next <= *first);
        self.receipts = self.receipts.split_off(&next);
    }

    /// Whether waiting would bring no further commit.
    pub(super) fn is_settled(&self) -> bool {
        self.in_hand.is_none() && self.receipts.is_empty() && self.uncommitted().is_none()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offsets(from: u64, to: u64) -> (Offset, Offset) {
        (Offset(from), Offset(to))
    }

    #[test]
    fn what_is_in_hand_is_finished_by_the_next_call() {
        let mut mark = Bookmark::default();
        assert!(mark.is_settled() && mark.uncommitted().is_none());
        let (first, next) = offsets(3, 5);
        mark.give(first, next, Handing::InHand);
        assert_eq!(mark.uncommitted(), None, "nothing is finished yet");
        assert!(!mark.is_settled());
        mark.put_down();
        assert_eq!(mark.uncommitted(), Some(next));
        mark.has_committed(next);
        assert!(mark.is_settled());
        // Compaction left a gap: the broker says where it goes on.
        mark.pass(Offset(9));
        assert_eq!(mark.uncommitted(), Some(Offset(9)));
    }

    #[test]
    fn a_receipt_that_is_out_holds_up_what_is_behind_it_and_one_thrown_away_for_good() {
        let mut mark = Bookmark::default();
        for first in 0..4 {
            mark.give(Offset(first), Offset(first + 1), Handing::Receipt);
        }
        mark.done(Offset(2));
        assert_eq!(mark.uncommitted(), None);
        mark.done(Offset(0));
        assert_eq!(mark.uncommitted(), Some(Offset(1)));
        mark.abandon(Offset(1));
        mark.done(Offset(3));
        assert_eq!(mark.uncommitted(), Some(Offset(1)));
        mark.has_committed(Offset(1));
        assert!(mark.is_settled(), "nothing more is coming of it");
        mark.has_committed(Offset(4));
        mark.give(Offset(4), Offset(5), Handing::InHand);
        mark.put_down();
        assert_eq!(mark.uncommitted(), Some(Offset(5)), "who commits it all the same has the word");
    }

    /// What a caller may do.
    #[derive(Debug, Clone)]
    enum Step {
        Give { gap: u64, events: u64, handing: Handing },
        Pass(u64),
        PutDown,
        Done(usize),
        Abandon(usize),
        Commit,
    }

    fn step() -> impl Strategy<Value = Step> {
        let handing = prop_oneof![Just(Handing::InHand), Just(Handing::Receipt)];
        prop_oneof![
            4 => (0u64..3, 1u64..4, handing)
                .prop_map(|(gap, events, handing)| Step::Give { gap, events, handing }),
            1 => (0u64..4).prop_map(Step::Pass),
            2 => Just(Step::PutDown),
            4 => (0usize..8).prop_map(Step::Done),
            1 => (0usize..8).prop_map(Step::Abandon),
            3 => Just(Step::Commit),
        ]
    }

    proptest! {
        /// Against a model that keeps a word on every single event.
        #[test]
        fn a_commit_never_passes_what_is_unfinished_and_never_goes_back(
            steps in prop::collection::vec(step(), 1..120),
        ) {
            let mut mark = Bookmark::default();
            let (mut next, mut committed) = (0, None);
            let mut unfinished: BTreeSet<u64> = BTreeSet::new();
            let mut in_hand: Vec<u64> = Vec::new();
            let mut out: Vec<(u64, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Give { gap, events, handing } => {
                        let first = next + gap;
                        next = first + events;
                        mark.give(Offset(first), Offset(next), handing);
                        unfinished.retain(|offset| !in_hand.contains(offset));
                        in_hand.clear();
                        unfinished.extend(first..next);
                        match handing {
                            Handing::InHand => in_hand.extend(first..next),
                            Handing::Receipt => out.push((first, next)),
                        }
                    }
                    Step::Pass(gap) => {
                        next += gap;
                        mark.pass(Offset(next));
                    }
                    Step::PutDown => {
                        mark.put_down();
                        unfinished.retain(|offset| !in_hand.contains(offset));
                        in_hand.clear();
                    }
                    Step::Done(which) if which < out.len() => {
                        let (first, end) = out.remove(which);
                        mark.done(Offset(first));
                        unfinished.retain(|offset| !(first..end).contains(offset));
                    }
                    Step::Abandon(which) if which < out.len() => {
                        mark.abandon(Offset(out.remove(which).0));
                    }
                    Step::Done(_) | Step::Abandon(_) => {}
                    Step::Commit => {
                        let Some(finished) = mark.uncommitted() else { continue };
                        prop_assert!(Some(finished) > committed, "never back");
                        prop_assert!(unfinished.first().is_none_or(|first| finished.0 <= *first));
                        prop_assert!(finished.0 <= next);
                        mark.has_committed(finished);
                        committed = Some(finished);
                    }
                }
            }
            // When all is finished that can be, everything up to the first that never will is due.
            for (first, end) in out {
                mark.done(Offset(first));
                unfinished.retain(|offset| !(first..end).contains(offset));
            }
            mark.put_down();
            unfinished.retain(|offset| !in_hand.contains(offset));
            if let Some(finished) = mark.uncommitted() {
                mark.has_committed(finished);
                committed = Some(finished);
            }
            prop_assert!(mark.is_settled());
            let end = unfinished.first().copied().unwrap_or(next);
            if let Some(committed) = committed {
                prop_assert_eq!(committed.0, end);
            }
        }
    }
}
