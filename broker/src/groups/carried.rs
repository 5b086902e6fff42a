//! Committed offsets that stand in the commits of what was made of the events: how far groups have
//! come beside what `__committed_offsets` says, and which publishes that carry an offset are under
//! way. Pure.
//!
//! ```text
//! at rest ──begin: the committed offset is what it was made from──▶ under way ──durable──▶ at rest, further on
//!    ▲                                                                  └──refused──▶ at rest, where it was
//!    └── a restart: what the targets' logs say
//! ```
//! Invariants: one publish at most is under way per group and partition that it reads; what was
//! reached never goes back, but by a new epoch, which is recorded elsewhere.

use std::collections::BTreeMap;

use weir_log::commit::Consumed;
use weir_log::planted::{Bug, is_planted};
use weir_views::consumed::Reached;
use weir_wire::ids::{MemberId, Offset, PartitionId, ResetEpoch, TopicId};

use super::Key;

/// A group in one partition of a topic that it reads.
pub type Place = (Key, PartitionId);

/// See the module's text.
#[derive(Debug, Default)]
pub struct Carried {
    reached: BTreeMap<Place, Reached>,
    under_way: BTreeMap<Place, UnderWay>,
    /// The number of the next publish.
    next: u64,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    by: TopicId,
    to: Reached,
}

/// What a member says it made a batch of.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Who.
    pub member: MemberId,
    /// The committed offset that it began at.
    pub from: Offset,
    /// That of the next event to be read.
    pub to: Offset,
    /// The topic that it publishes to.
    pub by: TopicId,
    /// The first event that is still there: what retention removed nobody can have processed.
    pub earliest: Offset,
}

/// A publish under way, by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub number: u64,
    pub consumed: Consumed,
}

/// Why a claim does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The partition is not the member's.
    NotHeld,
    /// An earlier publish is not answered yet.
    UnderWay,
    /// The group is elsewhere: this was processed already, or something before it was not.
    Elsewhere(Option<Offset>),
}

impl Carried {
    /// What a target's log says when it is opened.
    pub fn restore(&mut self, place: Place, reached: Reached) {
        let of = self.reached.entry(place).or_default();
        *of = reached.max(*of);
    }

    /// How far a group has come beside what is recorded.
    pub fn reached(&self, place: &Place) -> Option<Reached> {
        self.reached.get(place).copied()
    }

    /// The compare-and-set: a publish of what was made of `from..to` begins if the partition is its
    /// `holder`'s, nothing else is under way, and the group's committed offset is `from`.
    pub fn begin(
        &mut self,
        place: Place,
        holder: Option<MemberId>,
        recorded: Option<Reached>,
        claim: Claim,
    ) -> Result<Begun, Refusal> {
        let committed = recorded.max(self.reached(&place));
        if holder != Some(claim.member) {
            return Err(Refusal::NotHeld);
        }
        if self.under_way.contains_key(&place) {
            return Err(Refusal::UnderWay);
        }
        let fits = match committed {
            None => true,
            Some(Reached { offset, .. }) => {
                offset == claim.from || (offset < claim.from && claim.from <= claim.earliest)
            }
        };
        if !fits && !is_planted(Bug::CompareSkipped) {
            return Err(Refusal::Elsewhere(committed.map(|reached| reached.offset)));
        }
        let epoch = committed.map_or(ResetEpoch(0), |reached| reached.epoch);
        let (number, to) = (self.next, Reached { epoch, offset: claim.to });
        self.next += 1;
        self.under_way.insert(place.clone(), UnderWay { number, by: claim.by, to });
        let ((group, topic), partition) = place;
        let Claim { from, to, .. } = claim;
        Ok(Begun { number, consumed: Consumed { group, topic, partition, epoch, from, to } })
    }

    /// The publish has its answer: its commit is durable and `stands`, or will never be there. Says
    /// whether it was under way.
    pub fn end(&mut self, place: &Place, number: u64, stands: bool) -> bool {
        if self.under_way.get(place).is_none_or(|one| one.number != number) {
            return false;
        }
        if let Some(UnderWay { to, .. }) = self.under_way.remove(place)
            && stands
        {
            self.restore(place.clone(), to);
        }
        true
    }

    /// Whether a publish is under way there.
    pub fn is_under_way(&self, place: &Place) -> bool {
        self.under_way.contains_key(place)
    }

    /// Partitions of a group's topic with a publish under way.
    pub fn under_way(&self, key: &Key) -> impl Iterator<Item = PartitionId> {
        self.under_way.keys().filter(move |(of, _)| of == key).map(|(_, partition)| *partition)
    }

    /// How far all groups have come beside what is recorded.
    pub fn all(&self) -> impl Iterator<Item = (&Place, Reached)> {
        self.reached.iter().map(|(place, reached)| (place, *reached))
    }

    /// Forgets a topic that was deleted: what was read of it, and what was on its way into it. Gives
    /// what is free now.
    pub fn forget(&mut self, topic: TopicId) -> Vec<Place> {
        self.reached.retain(|((_, of), _), _| *of != topic);
        let goes = |(((_, of), _), one): &(&Place, &UnderWay)| *of == topic || one.by == topic;
        let gone: Vec<_> = self.under_way.iter().filter(goes).map(|(at, _)| at.clone()).collect();
        self.under_way.retain(|place, _| !gone.contains(place));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_log::planted::plant;
    use weir_wire::ids::GroupName;

    fn place() -> Place {
        ((GroupName::parse("counters").unwrap(), TopicId(16)), PartitionId(0))
    }

    fn claim(member: u64, from: u64, to: u64) -> Claim {
        Claim {
            member: MemberId(member),
            from: Offset(from),
            to: Offset(to),
            by: TopicId(17),
            earliest: Offset(0),
        }
    }

    fn reached(epoch: u32, offset: u64) -> Option<Reached> {
        Some(Reached { epoch: ResetEpoch(epoch), offset: Offset(offset) })
    }

    #[test]
    fn a_publish_begins_where_the_group_is_and_one_at_a_time() {
        let mut carried = Carried::default();
        let begin = |carried: &mut Carried, holder, recorded, claim| {
            let begun = carried.begin(place(), Some(MemberId(holder)), recorded, claim);
            begun.map(|begun| (begun.number, begun.consumed.epoch.0))
        };
        let none = None;
        assert_eq!(begin(&mut carried, 1, none, claim(2, 0, 5)), Err(Refusal::NotHeld));
        assert_eq!(begin(&mut carried, 1, none, claim(1, 0, 5)), Ok((0, 0)));
        assert_eq!(begin(&mut carried, 1, none, claim(1, 0, 5)), Err(Refusal::UnderWay));
        assert!(carried.end(&place(), 0, true) && !carried.end(&place(), 0, true));
        let elsewhere = Err(Refusal::Elsewhere(Some(Offset(5))));
        assert_eq!(begin(&mut carried, 1, none, claim(1, 0, 5)), elsewhere);
        assert_eq!(begin(&mut carried, 1, none, claim(1, 6, 7)), elsewhere);
        assert_eq!(begin(&mut carried, 1, none, claim(1, 5, 7)), Ok((1, 0)));
        assert!(carried.end(&place(), 1, false));
        assert_eq!(carried.reached(&place()), reached(0, 5));
        // A reset wins over what is carried, and is where the next one begins.
        assert_eq!(
            begin(&mut carried, 1, reached(1, 2), claim(1, 5, 7)),
            Err(Refusal::Elsewhere(Some(Offset(2))))
        );
        assert_eq!(begin(&mut carried, 1, reached(1, 2), claim(1, 2, 4)), Ok((2, 1)));
        assert!(carried.end(&place(), 2, true));
        assert_eq!(carried.reached(&place()), reached(1, 4));
    }

    #[test]
    fn what_retention_removed_nobody_can_have_processed() {
        let mut carried = Carried::default();
        let later = |earliest| Claim { earliest: Offset(earliest), ..claim(1, 8, 9) };
        let mut begin = |earliest| {
            carried.begin(place(), Some(MemberId(1)), reached(0, 3), later(earliest)).is_ok()
        };
        assert!(!begin(7), "event 7 is there and was not processed");
        assert!(begin(8));
    }

    #[test]
    fn a_deleted_topic_leaves_nothing_under_way() {
        let mut carried = Carried::default();
        carried.begin(place(), Some(MemberId(1)), None, claim(1, 0, 5)).unwrap();
        assert_eq!(carried.forget(TopicId(17)), [place()]);
        assert!(!carried.end(&place(), 0, true) && carried.reached(&place()).is_none());
        carried.restore(place(), Reached::default());
        assert!(carried.forget(TopicId(16)).is_empty() && carried.reached(&place()).is_none());
    }

    /// What becomes of a group whose members die, whose publishes are refused, and whose broker
    /// restarts: everything that was consumed, as the targets' logs have it.
    fn play(steps: &[(u8, u64, u64)]) -> Vec<(u64, u64)> {
        let (mut carried, mut logs) = (Carried::default(), Vec::new());
        let mut holder = 0;
        // What members believe, which may be old: where they read on.
        let mut believed = [0u64; 4];
        // Publishes that the broker has taken and not answered.
        let mut taken: Option<Begun> = None;
        for &(what, member, count) in steps {
            let committed = carried.reached(&place()).map_or(0, |reached| reached.offset.0);
            match what {
                // A member is given the partition, if nothing of it is under way, and reads on.
                0 if !carried.is_under_way(&place()) => {
                    holder = member;
                    believed[member as usize] = committed;
                }
                // It publishes, whoever it is by now, again and again.
                1..=3 => {
                    let from = believed[member as usize];
                    let claim = claim(member, from, from + count);
                    if let Ok(begun) = carried.begin(place(), Some(MemberId(holder)), None, claim) {
                        taken = Some(begun);
                    }
                }
                // The commit is durable; only sometimes the publisher hears it.
                4 | 5 => {
                    if let Some(begun) = taken.take() {
                        logs.push((begun.consumed.from.0, begun.consumed.to.0));
                        carried.end(&place(), begun.number, true);
                        if what == 4 {
                            believed[holder as usize] = begun.consumed.to.0;
                        }
                    }
                }
                // It is refused.
                6 => {
                    if let Some(begun) = taken.take() {
                        carried.end(&place(), begun.number, false);
                    }
                }
                // The broker is killed: what was taken is stored or not, and the logs are read.
                7 => {
                    if let Some(begun) = taken.take().filter(|_| count % 2 == 0) {
                        logs.push((begun.consumed.from.0, begun.consumed.to.0));
                    }
                    carried = Carried::default();
                    for (_, to) in &logs {
                        carried.restore(
                            place(),
                            Reached { offset: Offset(*to), ..Reached::default() },
                        );
                    }
                }
                _ => {}
            }
        }
        logs
    }

    fn is_once(consumed: &[(u64, u64)]) -> bool {
        let ends = std::iter::once(0).chain(consumed.iter().map(|(_, to)| *to));
        ends.zip(consumed).all(|(end, (from, _))| end == *from)
    }

    proptest! {
        #[test]
        fn everything_is_consumed_once_whoever_dies(
            steps in prop::collection::vec((0u8..8, 0u64..4, 1u64..5), 1..120),
        ) {
            let consumed = play(&steps);
            prop_assert!(is_once(&consumed), "{consumed:?}");
        }
    }

    #[test]
    fn without_the_comparison_it_is_not() {
        plant(Some(Bug::CompareSkipped));
        // The same twice: the answer was lost, and the member begins again.
        let consumed = play(&[(0, 1, 1), (1, 1, 3), (5, 1, 1), (1, 1, 3), (4, 1, 1)]);
        plant(None);
        assert!(!is_once(&consumed), "{consumed:?}");
    }
}
