//! The members of one group in one topic, and which of them holds which partition. Pure: what
//! happened and when comes in; who holds what is asked.
//!
//! ```text
//! free ──settle──▶ held by its target ──another target──▶ being given up ──released, or its
//!  ▲                                                                        holder is gone──┐
//!  └────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Invariants: a partition has one holder at most; a holder is a member; nobody gets a partition
//! before its last holder has let go of it or is no member any more, and while a publish of what was
//! made of its events is under way. Only a holder commits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use weir_log::planted::{Bug, is_planted};
use weir_views::offsets::Holder;
use weir_wire::ids::{MemberId, PartitionId};

use super::target::target;

/// How long a member that is there may take to let go of a partition: its caller may be in the
/// middle of something. Beyond it the member is fenced, since others wait.
const RELEASE_MAX: Duration = Duration::from_secs(60);

/// What a member may read and commit, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Rises with every change of who holds what.
    pub generation: u64,
    /// What is the member's: it holds them, and nobody else should.
    pub partitions: Vec<PartitionId>,
    /// Whether nothing more is coming that others still hold.
    pub is_complete: bool,
}

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Members {
    /// In order of id, which is the order in which they joined.
    members: BTreeMap<MemberId, Member>,
    holders: Vec<Option<MemberId>>,
    targets: Vec<Option<MemberId>>,
    generation: u64,
    /// Partitions that stay with their holder, or with nobody, until a publish has its answer.
    pinned: BTreeSet<PartitionId>,
}

#[derive(Debug, Clone)]
struct Member {
    session_timeout: Duration,
    /// The last word of it.
    heard: Instant,
    /// Since when it should let go of something.
    releasing: Option<Instant>,
}

impl Members {
    /// Nobody yet, in a topic of so many partitions.
    pub fn new(partitions: u32) -> Self {
        let nobody = vec![None; partitions as usize];
        Self {
            members: BTreeMap::new(),
            holders: nobody.clone(),
            targets: nobody,
            generation: 0,
            pinned: BTreeSet::new(),
        }
    }

    /// Who held what before the broker was started: each has its session's time to come back.
    pub fn restored(partitions: u32, generation: u64, holders: &[Holder], now: Instant) -> Self {
        let mut restored = Self { generation, ..Self::new(partitions) };
        for Holder { member, session_timeout_ms, partitions } in holders {
            let session_timeout = Duration::from_millis((*session_timeout_ms).into());
            restored.join(*member, session_timeout, now);
            for partition in partitions {
                if let Some(holder) = restored.holders.get_mut(partition.0 as usize) {
                    *holder = Some(*member);
                }
            }
        }
        restored.aim();
        restored
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Who is there, in the order in which they joined.
    pub fn ids(&self) -> impl Iterator<Item = MemberId> {
        self.members.keys().copied()
    }

    /// Whether this one is there.
    pub fn has(&self, member: MemberId) -> bool {
        self.members.contains_key(&member)
    }

    /// A new member, or one that comes back.
    pub fn join(&mut self, member: MemberId, session_timeout: Duration, now: Instant) {
        let releasing = self.members.get(&member).and_then(|member| member.releasing);
        self.members.insert(member, Member { session_timeout, heard: now, releasing });
        self.aim();
    }

    /// A word of the member's: it holds these and no others. What it says of partitions that are
    /// not its own means nothing.
    pub fn holds(&mut self, member: MemberId, held: &BTreeSet<PartitionId>, now: Instant) {
        self.heard(member, now);
        for (partition, holder) in (0..).map(PartitionId).zip(&mut self.holders) {
            let should_go = self.targets[partition.0 as usize] != *holder;
            if *holder == Some(member) && should_go && !held.contains(&partition) {
                *holder = None;
            }
        }
    }

    /// A word of the member's.
    pub fn heard(&mut self, member: MemberId, at: Instant) {
        if let Some(member) = self.members.get_mut(&member) {
            member.heard = member.heard.max(at);
        }
    }

    /// The partition is given to nobody until it is [unpinned](Self::unpin).
    pub fn pin(&mut self, partition: PartitionId) {
        self.pinned.insert(partition);
    }

    /// The partition may be given away again.
    pub fn unpin(&mut self, partition: PartitionId) {
        self.pinned.remove(&partition);
    }

    /// The member is gone, and with it what it held.
    pub fn leave(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.holders
                .iter_mut()
                .for_each(|holder| *holder = holder.filter(|one| *one != member));
            self.aim();
        }
    }

    /// Who was silent for too long, or does not let go of what others wait for: they are gone.
    pub fn expire(&mut self, now: Instant) -> Vec<MemberId> {
        let is_over = |(_, member): &(&MemberId, &Member)| member.ends() <= now;
        let over: Vec<_> = self.members.iter().filter(is_over).map(|(id, _)| *id).collect();
        over.iter().for_each(|member| self.leave(*member));
        over
    }

    /// When [`expire`](Self::expire) has to be asked again, unless something is heard.
    pub fn next_end(&self) -> Option<Instant> {
        self.members.values().map(Member::ends).min()
    }

    /// Gives what is free to whom it should go. Says whether anyone holds anything else than after
    /// the last time: that is to be recorded before anyone is told.
    pub fn settle(&mut self, before: &[Option<MemberId>], now: Instant) -> bool {
        let both = self.holders.iter_mut().zip(&self.targets);
        for (partition, (holder, target)) in (0..).map(PartitionId).zip(both) {
            let is_pinned =
                self.pinned.contains(&partition) && !is_planted(Bug::GivenWhileUnderWay);
            if holder.is_none() && !is_pinned {
                *holder = *target;
            }
        }
        for (id, member) in &mut self.members {
            let mut held = self.holders.iter().zip(&self.targets);
            let gives_up = held.any(|(holder, target)| *holder == Some(*id) && holder != target);
            member.releasing = gives_up.then(|| member.releasing.unwrap_or(now));
        }
        let has_changed = self.holders != before;
        self.generation += u64::from(has_changed);
        has_changed
    }

    /// Who holds each partition.
    pub fn holders(&self) -> &[Option<MemberId>] {
        &self.holders
    }

    /// How often that has changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same by member, for the record.
    pub fn record(&self) -> Vec<Holder> {
        let holder = |(id, member): (&MemberId, &Member)| Holder {
            member: *id,
            session_timeout_ms: member.session_timeout.as_millis() as u32,
            partitions: self.partitions_where(|holder, _| holder == Some(*id)),
        };
        let all = self.members.iter().map(holder);
        all.filter(|holder| !holder.partitions.is_empty()).collect()
    }

    /// What a member is told; `None` if it is none.
    pub fn assignment(&self, member: MemberId) -> Option<Assignment> {
        let me = Some(member);
        self.has(member).then(|| Assignment {
            generation: self.generation,
            partitions: self.partitions_where(|holder, target| holder == me && target == me),
            is_complete: self
                .partitions_where(|holder, target| holder != me && target == me)
                .is_empty(),
        })
    }

    fn partitions_where(
        &self,
        holds: impl Fn(Option<MemberId>, Option<MemberId>) -> bool,
    ) -> Vec<PartitionId> {
        let both = self.holders.iter().zip(&self.targets);
        let numbered = (0..).map(PartitionId).zip(both);
        numbered
            .filter(|(_, (holder, target))| holds(**holder, **target))
            .map(|(at, _)| at)
            .collect()
    }

    fn aim(&mut self) {
        let members: Vec<_> = self.ids().collect();
        self.targets = target(&self.holders, &members);
    }
}

impl Member {
    fn ends(&self) -> Instant {
        let session = self.heard + self.session_timeout;
        self.releasing.map_or(session, |since| session.min(since + RELEASE_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use weir_log::planted::plant;

    const SESSION: Duration = Duration::from_secs(10);

    /// A group at work, and what each member believes to hold.
    struct Town {
        members: Members,
        now: Instant,
        beliefs: BTreeMap<MemberId, BTreeSet<PartitionId>>,
    }

    impl Town {
        fn new(partitions: u32) -> Self {
            let members = Members::new(partitions);
            Self { members, now: Instant::now(), beliefs: BTreeMap::new() }
        }

        fn settle(&mut self, before: Vec<Option<MemberId>>) {
            let generation = self.members.generation();
            let has_changed = self.members.settle(&before, self.now);
            assert_eq!(has_changed, self.members.generation() > generation);
        }

        fn change(&mut self, work: impl FnOnce(&mut Members, Instant)) {
            let before = self.members.holders().to_vec();
            work(&mut self.members, self.now);
            self.settle(before);
        }

        fn join(&mut self, id: u64) {
            self.change(|members, now| members.join(MemberId(id), SESSION, now));
            self.beliefs.entry(MemberId(id)).or_default();
        }

        fn leave(&mut self, id: u64) {
            self.change(|members, _| members.leave(MemberId(id)));
            self.beliefs.remove(&MemberId(id));
        }

        /// The member does as it is told, and says so.
        fn obey(&mut self, id: u64) {
            let member = MemberId(id);
            let Some(assignment) = self.members.assignment(member) else {
                self.beliefs.remove(&member);
                return;
            };
            let held: BTreeSet<_> = assignment.partitions.into_iter().collect();
            self.beliefs.insert(member, held.clone());
            self.change(|members, now| members.holds(member, &held, now));
        }

        fn wait(&mut self, time: Duration) {
            self.now += time;
            self.change(|members, now| drop(members.expire(now)));
            self.beliefs.retain(|member, _| self.members.has(*member));
        }

        /// `a: 0 1, b: 2 3`, as the members are told; a `+` where more is to come.
        fn told(&self) -> String {
            let told = self.members.ids().map(|member| {
                let assignment = self.members.assignment(member).expect("it is a member");
                let more = if assignment.is_complete { "" } else { " +" };
                let held: Vec<_> = assignment.partitions.iter().map(ToString::to_string).collect();
                format!("{member}: {}{more}", held.join(" "))
            });
            told.collect::<Vec<_>>().join(", ")
        }
    }

    #[test]
    fn a_partition_goes_on_when_its_holder_has_let_go_of_it() {
        let mut town = Town::new(4);
        town.join(1);
        town.obey(1);
        assert_eq!(town.told(), "1: 0 1 2 3");
        town.join(2);
        assert_eq!(town.told(), "1: 0 1, 2:  +");
        assert!(town.members.holders()[2] == Some(MemberId(1)), "until it has let go");
        town.obey(1);
        assert_eq!(town.told(), "1: 0 1, 2: 2 3");
        town.leave(1);
        assert_eq!(town.told(), "2: 0 1 2 3");
    }

    #[test]
    fn who_is_silent_is_gone_and_who_does_not_let_go_too() {
        let mut town = Town::new(2);
        town.join(1);
        town.obey(1);
        town.wait(SESSION / 2);
        town.join(2);
        town.wait(SESSION / 2);
        assert_eq!(town.told(), "2: 0 1", "1 was not heard for its session's time");
        town.join(3);
        for _ in 0..7 {
            let (member, now) = (MemberId(2), town.now);
            town.change(|members, _| members.heard(member, now));
            town.obey(3);
            town.wait(SESSION * 9 / 10);
        }
        assert_eq!(town.told(), "3: 0 1", "2 spoke all the time and did not let go");
    }

    #[test]
    fn who_held_what_comes_back_with_it_after_a_restart() {
        let mut town = Town::new(3);
        town.join(1);
        town.join(2);
        town.obey(1);
        let (record, generation) = (town.members.record(), town.members.generation());
        town.members = Members::restored(3, generation, &record, town.now);
        assert_eq!(town.told(), "1: 0 1, 2: 2");
        town.join(1);
        town.wait(SESSION - Duration::from_millis(1));
        assert_eq!(town.told(), "1: 0 1, 2: 2");
        town.obey(1);
        town.wait(Duration::from_millis(1));
        assert_eq!(town.told(), "1: 0 1 2", "2 did not come back");
        assert!(generation < town.members.generation());
    }

    #[test]
    fn what_is_under_way_is_given_to_nobody_until_it_has_ended() {
        let mut town = Town::new(2);
        town.join(1);
        town.join(2);
        town.obey(1);
        assert_eq!(town.told(), "1: 0, 2: 1");
        town.change(|members, _| members.pin(PartitionId(0)));
        assert_eq!(town.told(), "1: 0, 2: 1", "its holder keeps it");
        town.leave(1);
        assert_eq!(town.told(), "2: 1 +");
        town.change(|members, _| members.unpin(PartitionId(0)));
        assert_eq!(town.told(), "2: 0 1");
    }

    #[test]
    fn without_the_pin_it_is_given_away_too_early() {
        let mut town = Town::new(1);
        town.join(1);
        town.join(2);
        plant(Some(Bug::GivenWhileUnderWay));
        town.change(|members, _| members.pin(PartitionId(0)));
        town.leave(1);
        plant(None);
        assert_eq!(town.told(), "2: 0");
    }

    proptest! {
        #[test]
        fn no_two_ever_believe_to_hold_the_same(
            partitions in 1u32..20,
            steps in prop::collection::vec((0u8..4, 1u64..6, 0u64..9), 1..80),
        ) {
            let mut town = Town::new(partitions);
            for (what, id, seconds) in steps {
                match what {
                    0 => town.join(id),
                    1 => town.leave(id),
                    2 => town.wait(Duration::from_secs(seconds)),
                    _ => town.obey(id),
                }
                let believed: Vec<_> = town.beliefs.values().flatten().collect();
                let distinct: BTreeSet<_> = believed.iter().collect();
                prop_assert_eq!(believed.len(), distinct.len());
                for (member, held) in &town.beliefs {
                    let holds = |at: &PartitionId| town.members.holders()[at.0 as usize] == Some(*member);
                    prop_assert!(held.iter().all(holds), "what it believes to hold it may commit");
                }
            }
            // When all obey, everything is read, and evenly.
            let ids: Vec<_> = town.members.ids().collect();
            for _ in 0..2 {
                ids.iter().for_each(|id| town.obey(id.0));
            }
            let told: Vec<_> = ids.iter().map(|id| town.members.assignment(*id).unwrap()).collect();
            prop_assert!(told.iter().all(|assignment| assignment.is_complete));
            let counts = told.iter().map(|assignment| assignment.partitions.len());
            let sum: usize = counts.clone().sum();
            prop_assert_eq!(sum, if ids.is_empty() { 0 } else { partitions as usize });
            if let (Some(most), Some(least)) = (counts.clone().max(), counts.min()) {
                prop_assert!(most - least <= 1);
            }
        }
    }
}
