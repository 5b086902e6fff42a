//! Consumer groups: who reads which partition for a group, and how far the group has come; both kept
//! in the internal topic `__committed_offsets`.
//!
//! A membership is a session with the broker: it says what it holds, and is told what it should.
//! Promises: what a member is told is recorded first, so that after a crash of the broker nobody is
//! given what another may still hold; a commit is its holder's, and moves no group back. An offset
//! may also be committed by what was made of the events: in the commit of that batch, by a publish
//! that begins here and ends here.
//! Not here: who should hold what, and when (`target.rs`, `members.rs`, both pure); which publish may
//! begin (`carried.rs`, pure); the log (`recorder.rs`).

mod members;
mod target;
mod carried;
mod recorder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use weir_log::commit::Consumed;
use weir_log::segment::Machine;
use weir_views::consumed::{Of, Reached};
use weir_views::offsets::{
    Carrier, CommittedOffsets, Held, OFFSETS_TOPIC, OFFSETS_TOPIC_ID, OffsetChange,
};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId, TopicId};

pub use self::carried::Claim;
use self::carried::{Begun, Carried, Place, Refusal};
pub use self::members::Assignment;
use self::members::Members;
use self::recorder::{Reach, Recorder, Wish};
use crate::internal_topic::InternalTopic;
use crate::wall_clock::Clock;

/// Members of one group in one topic: more could not have a partition each anywhere.
const MEMBERS_MAX: usize = 4_096;
/// Bits of a member's number below the millisecond: a million joins in one.
const MEMBERS_PER_MS_BITS: u32 = 20;
/// How long a change waits to be tried again when it could not be recorded.
const RECORD_RETRY: Duration = Duration::from_secs(1);
/// How long the watch sleeps when nobody's session can end.
const IDLE: Duration = Duration::from_secs(3_600);
/// How long a member is told to wait for its publish under way.
const UNDER_WAY_RETRY_MS: u64 = 50;

/// One group in one topic.
type Key = (GroupName, TopicId);

/// The groups and their log.
pub struct Groups {
    inner: Mutex<Inner>,
    recorder: Recorder,
    /// The number of the next member: from the broker's clock at its start, so that no two lives of
    /// it give out the same.
    next_member: AtomicU64,
    /// What times of sessions count from.
    began: Instant,
    /// Somebody came.
    news: Notify,
}

struct Inner {
    live: BTreeMap<Key, Live>,
    carried: Carried,
    /// Groups of whose offsets some stand in a topic's log that could not be opened, and why.
    unknown: BTreeMap<Key, (TopicId, Fault)>,
}

/// A group that has members in a topic.
struct Live {
    members: Members,
    sessions: BTreeMap<MemberId, Session>,
}

/// The broker's end of a membership that is connected.
struct Session {
    told: watch::Sender<Assignment>,
    heard: Arc<AtomicU64>,
    client: String,
}

/// A member as its session sees it.
pub struct Membership {
    groups: Arc<Groups>,
    key: Key,
    /// Who it is.
    pub member: MemberId,
    /// What it should hold. Ends when it is no member any more, or is connected elsewhere.
    pub told: watch::Receiver<Assignment>,
    heard: Arc<AtomicU64>,
    held: BTreeSet<PartitionId>,
}

/// What came of a publish that carries an offset.
pub enum Began {
    /// It is under way, and its end has to be told.
    Begun(Ticket),
    /// It may not be judged. If it was before, that stands: else this is its answer.
    Settled(Fault),
}

/// A publish under way. Until its [end](Self::end) nobody else gets the partition that it consumed.
pub struct Ticket {
    groups: Arc<Groups>,
    place: Place,
    begun: Begun,
}

/// What came of a commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fenced(pub Vec<PartitionId>);

/// A group's members and progress in one topic, for operators.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// How often it changed who holds what.
    pub generation: u64,
    /// Who is there: its id, its connection's software, if it is connected, and what it holds.
    pub members: Vec<(MemberId, Option<String>, Vec<PartitionId>)>,
    /// Where the group reads on, per partition; `None` where it never committed.
    pub committed: Vec<Option<Offset>>,
}

impl Groups {
    /// Folds offsets and holders from their log under `log_dir`, which may be missing if
    /// `may_create`. Members have the time of their sessions to come back. `width` knows how many
    /// partitions a topic has; `None` of one that is no more.
    pub async fn open(
        machine: &Machine,
        log_dir: &Path,
        may_create: bool,
        clock: Clock,
        width: impl Fn(TopicId) -> Option<u32>,
    ) -> Result<Arc<Self>, Fault> {
        let mut offsets = CommittedOffsets::default();
        let dir = log_dir.join(OFFSETS_TOPIC).join("0");
        let topic = InternalTopic::open(machine, &dir, OFFSETS_TOPIC_ID, may_create, |change| {
            offsets.apply(&change)
        })
        .await?;
        let began = Instant::now();
        let mut live = BTreeMap::new();
        for held in offsets.holders().filter(|held| !held.holders.is_empty()) {
            let Some(partitions) = width(held.topic) else { continue };
            let members = Members::restored(partitions, held.generation, &held.holders, began);
            let one = Live { members, sessions: BTreeMap::new() };
            live.insert((held.group.clone(), held.topic), one);
        }
        let unknown = BTreeMap::new();
        let inner = Mutex::new(Inner { live, carried: Carried::default(), unknown });
        let next_member = AtomicU64::new(clock().0 << MEMBERS_PER_MS_BITS);
        let recorder = Recorder::new(topic, offsets, clock);
        Ok(Arc::new(Self { inner, recorder, next_member, began, news: Notify::new() }))
    }

    /// What the commits of a topic's partition say of groups that made its events of others'. To be
    /// told of every partition before anyone is served; of one that could not be opened, why.
    pub async fn restore(&self, by: TopicId, carried: Result<&[(Of, Reached)], &Fault>) {
        let mut inner = self.inner.lock().await;
        match carried {
            Ok(rows) => {
                for ((topic, partition, group), reached) in rows {
                    inner.carried.restore(((group.clone(), *topic), *partition), *reached);
                }
            }
            Err(fault) => {
                let fold = self.recorder.fold();
                for carrier in fold.carriers().filter(|carrier| carrier.by == by) {
                    let key = (carrier.group.clone(), carrier.topic);
                    inner.unknown.insert(key, (by, fault.clone()));
                }
            }
        }
    }

    /// A publish of what a member made of `claim.from..claim.to` of a partition: begins it, if that
    /// partition is the member's and the group has come as far as `claim.from`.
    ///
    /// # Errors
    /// `storage-…` where it cannot be recorded that offsets stand in that topic's commits.
    pub async fn begin(
        self: &Arc<Self>,
        group: GroupName,
        topic: TopicId,
        partition: PartitionId,
        claim: Claim,
    ) -> Result<Began, Fault> {
        let (groups, key) = (Arc::clone(self), (group, topic));
        to_its_end(async move {
            let mut inner = groups.inner.lock().await;
            inner.knows(&key)?;
            let live = inner.live.get(&key);
            let holder = live.and_then(|live| *live.members.holders().get(partition.0 as usize)?);
            let recorded = groups.recorder.fold().reached(&key.0, topic, partition);
            let place = (key.clone(), partition);
            let begun = match inner.carried.begin(place.clone(), holder, recorded, claim) {
                Ok(begun) => begun,
                Err(refusal) => return Ok(Began::Settled(refused(refusal, &key.0, partition))),
            };
            let carrier = Carrier { group: key.0.clone(), topic, by: claim.by };
            let is_carried = groups.recorder.fold().is_carried(&carrier);
            if !is_carried {
                let carried = Wish::Change(OffsetChange::Carried(carrier));
                if let Err(fault) = groups.recorder.record(vec![carried]).await {
                    inner.carried.end(&place, begun.number, false);
                    return Err(fault);
                }
            }
            if let Some(live) = inner.live.get_mut(&key) {
                live.members.pin(partition);
            }
            drop(inner);
            Ok(Began::Begun(Ticket { groups, place, begun }))
        })
        .await
    }

    /// A member joins `group` in a topic of `partitions` partitions: a new one, or `back` with what
    /// it held, if it still is one.
    ///
    /// # Errors
    /// `overloaded` where the group is full; `storage-…` where it cannot be recorded.
    pub async fn join(
        self: &Arc<Self>,
        group: GroupName,
        (topic, partitions): (TopicId, u32),
        back: Option<(MemberId, BTreeSet<PartitionId>)>,
        session_timeout: Duration,
        client: String,
    ) -> Result<Membership, Fault> {
        let (groups, key) = (Arc::clone(self), (group, topic));
        to_its_end(async move {
            let mut inner = groups.inner.lock().await;
            inner.knows(&key)?;
            let generation = groups.recorder.fold().generation(&key.0, key.1);
            let Inner { live, carried, .. } = &mut *inner;
            let live = live.entry(key.clone()).or_insert_with(|| {
                let mut members = Members::restored(partitions, generation, &[], Instant::now());
                carried.under_way(&key).for_each(|partition| members.pin(partition));
                Live { members, sessions: BTreeMap::new() }
            });
            let back = back.filter(|(member, _)| live.members.has(*member));
            if back.is_none() && live.members.len() >= MEMBERS_MAX {
                return Err(Fault::new(
                    Code::Overloaded,
                    format!(
                        "group {} has {MEMBERS_MAX} members here, as many as it can; stop some",
                        key.0
                    ),
                ));
            }
            let (member, held) = match back {
                Some(back) => back,
                None => {
                    let number = groups.next_member.fetch_add(1, Ordering::Relaxed);
                    (MemberId(number), BTreeSet::new())
                }
            };
            let said = held.clone();
            groups
                .change(&mut inner, &key, |members, now| {
                    members.join(member, session_timeout, now);
                    members.holds(member, &said, now);
                })
                .await?;
            let live = inner.live.get_mut(&key).expect("it has a member");
            let assignment = live.members.assignment(member).unwrap_or_default();
            let (told_in, told) = watch::channel(assignment);
            let heard = Arc::new(AtomicU64::new(groups.now_ms()));
            // An older session of the same member hears that it is over when its sender is dropped.
            let session = Session { told: told_in, heard: Arc::clone(&heard), client };
            live.sessions.insert(member, session);
            drop(inner);
            groups.news.notify_one();
            Ok(Membership { groups, key, member, told, heard, held })
        })
        .await
    }

    /// Makes a group's progress durable: a member's, of what it holds, or somebody's while the group
    /// has no members there. Gives what was not committed, because the member does not hold it.
    ///
    /// # Errors
    /// `group-active` for somebody who is no member of a group that has some.
    pub async fn commit(
        &self,
        group: GroupName,
        topic: TopicId,
        member: Option<MemberId>,
        offsets: Vec<(PartitionId, Offset)>,
    ) -> Result<Fenced, Fault> {
        let key = (group, topic);
        let (recorded, fenced) = {
            let inner = self.inner.lock().await;
            inner.knows(&key)?;
            let live = inner.live.get(&key).filter(|live| !live.members.is_empty());
            let (mine, fenced): (Vec<_>, Vec<_>) = match (member, live) {
                (None, None) => (offsets, Vec::new()),
                (None, Some(_)) => return Err(active(&key.0)),
                (Some(_), None) => (Vec::new(), offsets),
                (Some(member), Some(live)) => {
                    let holders = live.members.holders();
                    offsets.into_iter().partition(|(partition, _)| {
                        holders.get(partition.0 as usize) == Some(&Some(member))
                    })
                }
            };
            let mut wishes = Vec::with_capacity(mine.len());
            for (partition, offset) in mine {
                let place = (key.clone(), partition);
                if inner.carried.is_under_way(&place) {
                    return Err(refused(Refusal::UnderWay, &key.0, partition));
                }
                wishes.push(Wish::Reach(Reach {
                    group: key.0.clone(),
                    topic,
                    partition,
                    offset,
                    carried: inner.carried.reached(&place),
                    // A member that was given less than it had read before must not take the
                    // others back.
                    may_go_back: member.is_none(),
                }));
            }
            // Taken in the order of this lock, so that nobody is given a partition before the commits
            // of its last holder are recorded. Waited for without it: whoever commits meanwhile shares
            // the next sync.
            (self.recorder.record(wishes), fenced)
        };
        recorded.await?;
        Ok(Fenced(fenced.into_iter().map(|(partition, _)| partition).collect()))
    }

    /// A group's committed offsets in a topic of `partitions` partitions; those it has none in are
    /// left out.
    ///
    /// # Errors
    /// Where some of them stand in a log that could not be opened.
    pub async fn of(
        &self,
        group: &GroupName,
        topic: TopicId,
        partitions: u32,
    ) -> Result<Vec<(PartitionId, Offset)>, Fault> {
        let (inner, key) = (self.inner.lock().await, (group.clone(), topic));
        inner.knows(&key)?;
        let of = |at| Some((at, self.committed(&inner, &key, at)?));
        Ok((0..partitions).map(PartitionId).filter_map(of).collect())
    }

    /// Where a group reads on, wherever that is recorded.
    fn committed(&self, inner: &Inner, key: &Key, partition: PartitionId) -> Option<Offset> {
        let recorded = self.recorder.fold().reached(&key.0, key.1, partition);
        let reached = recorded.max(inner.carried.reached(&(key.clone(), partition)));
        reached.map(|reached| reached.offset)
    }

    /// All groups there are, and the topics in which each has members or offsets.
    pub async fn names(&self) -> Vec<(GroupName, Vec<TopicId>)> {
        let inner = self.inner.lock().await;
        let mut names: BTreeMap<GroupName, BTreeSet<TopicId>> = BTreeMap::new();
        for (group, topics) in self.recorder.fold().groups() {
            names.insert(group.clone(), topics);
        }
        for (group, topic) in inner.live.keys() {
            names.entry(group.clone()).or_default().insert(*topic);
        }
        names.into_iter().map(|(group, topics)| (group, topics.into_iter().collect())).collect()
    }

    /// How a group stands in a topic of `partitions` partitions.
    pub async fn standing(&self, group: &GroupName, topic: TopicId, partitions: u32) -> Standing {
        let (inner, key) = (self.inner.lock().await, (group.clone(), topic));
        let committed =
            (0..partitions).map(|at| self.committed(&inner, &key, PartitionId(at))).collect();
        let mut standing = Standing { committed, ..Standing::default() };
        if let Some(live) = inner.live.get(&key) {
            standing.generation = live.members.generation();
            let holders = live.members.record();
            for member in live.members.ids() {
                let client = live.sessions.get(&member).map(|session| session.client.clone());
                let held = holders.iter().find(|holder| holder.member == member);
                let held = held.map(|holder| holder.partitions.clone()).unwrap_or_default();
                standing.members.push((member, client, held));
            }
        }
        standing
    }

    /// Records by itself what stands in other topics' commits: before one of those goes, and at the end.
    pub async fn settle(&self) -> Result<(), Fault> {
        let recorded = {
            let inner = self.inner.lock().await;
            let wishes = self.unsettled(&inner.carried);
            self.recorder.record(wishes)
        };
        recorded.await
    }

    /// What only other topics' commits say.
    fn unsettled(&self, carried: &Carried) -> Vec<Wish> {
        let fold = self.recorder.fold();
        let is_news = |((key, at), reached): &(&Place, Reached)| {
            fold.reached(&key.0, key.1, *at) < Some(*reached)
        };
        let wish = |(((group, topic), partition), reached): (&Place, Reached)| {
            Wish::Reach(Reach {
                group: group.clone(),
                topic: *topic,
                partition: *partition,
                offset: reached.offset,
                carried: Some(reached),
                may_go_back: false,
            })
        };
        carried.all().filter(is_news).map(wish).collect()
    }

    /// Forgets a topic that was deleted; its members' sessions end.
    pub async fn forget(&self, topic: TopicId) -> Result<(), Fault> {
        let mut inner = self.inner.lock().await;
        inner.live.retain(|(_, of), _| *of != topic);
        inner.unknown.retain(|(_, of), (by, _)| *of != topic && *by != topic);
        for place in inner.carried.forget(topic) {
            self.let_go(&mut inner, &place).await;
        }
        let deleted = vec![Wish::Change(OffsetChange::TopicDeleted { topic })];
        self.recorder.record(deleted).await
    }

    /// A partition whose publish has ended may be given away again.
    async fn let_go(&self, inner: &mut MutexGuard<'_, Inner>, (key, partition): &Place) {
        let Some(live) = inner.live.get_mut(key) else { return };
        let holder = live.members.holders().get(partition.0 as usize).copied().flatten();
        live.members.unpin(*partition);
        if holder.is_some() {
            return;
        }
        // Its holder is gone, and somebody waits for it.
        if let Err(fault) = self.change(inner, key, |_, _| {}).await {
            tracing::warn!(group = %key.0, %partition, %fault, "a partition waits for its group's next change");
        }
    }

    /// Ends the sessions of members that were silent for too long, until `stop` turns true.
    pub async fn watch(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let groups = Arc::clone(&self);
            let next = to_its_end(async move { groups.expire().await }).await;
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.news.notified() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Takes out who is over; gives when to look again.
    async fn expire(&self) -> Instant {
        let mut inner = self.inner.lock().await;
        let now = Instant::now();
        let mut next = now + IDLE;
        for key in inner.live.keys().cloned().collect::<Vec<_>>() {
            let Some(live) = inner.live.get_mut(&key) else { continue };
            for (member, session) in &live.sessions {
                let heard = Duration::from_millis(session.heard.load(Ordering::Relaxed));
                live.members.heard(*member, self.began + heard);
            }
            let Some(end) = live.members.next_end() else { continue };
            if now < end {
                next = next.min(end);
                continue;
            }
            let expired = self
                .change(&mut inner, &key, |members, now| {
                    let over = members.expire(now);
                    tracing::info!(group = %key.0, topic = %key.1, members = over.len(), "members are silent for too long; others get what they held");
                })
                .await;
            match expired {
                Ok(()) => next = now,
                Err(fault) => {
                    tracing::warn!(group = %key.0, %fault, "a group cannot change its members");
                    next = next.min(now + RECORD_RETRY);
                }
            }
        }
        next
    }

    /// Changes the members of a group, records who holds what now, and tells them. All of it or
    /// nothing; not to be dropped half way.
    async fn change(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        key: &Key,
        work: impl FnOnce(&mut Members, Instant),
    ) -> Result<(), Fault> {
        let Some(live) = inner.live.get(key) else { return Ok(()) };
        let mut members = live.members.clone();
        let now = Instant::now();
        work(&mut members, now);
        if members.settle(live.members.holders(), now) {
            let held = OffsetChange::Held(Held {
                group: key.0.clone(),
                topic: key.1,
                generation: members.generation(),
                holders: members.record(),
            });
            self.recorder.record(vec![Wish::Change(held)]).await?;
        }
        if members.is_empty() {
            inner.live.remove(key);
        } else if let Some(live) = inner.live.get_mut(key) {
            live.members = members;
            live.tell();
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Lets go of the log.
    pub async fn close(&self) {
        if let Err(fault) = self.settle().await {
            tracing::warn!(%fault, "offsets stay where they are: in the commits that carry them");
        }
        self.recorder.close().await;
    }
}

impl Inner {
    /// Nothing is said of a group of whose offsets some cannot be read: to begin before them would be
    /// to do again what was done.
    fn knows(&self, key: &Key) -> Result<(), Fault> {
        match self.unknown.get(key) {
            None => Ok(()),
            Some((by, why)) => Err(Fault::new(
                why.code,
                format!(
                    "how far group {} has come stands in topic {by}, which could not be opened ({why}): \
                     mend that one, or delete it, and the group goes on from what is known elsewhere",
                    key.0
                ),
            )),
        }
    }
}

impl Ticket {
    /// What is to be committed with the batch.
    pub fn consumed(&self) -> Consumed {
        self.begun.consumed.clone()
    }

    /// The publish has its answer: the offset `stands` in a durable commit, or will be in none.
    pub async fn end(self, stands: bool) {
        let Self { groups, place, begun } = self;
        let mut inner = groups.inner.lock().await;
        if inner.carried.end(&place, begun.number, stands) {
            groups.let_go(&mut inner, &place).await;
        }
    }
}

impl Live {
    /// Everyone hears what is its own now; who is no member any more, that it is over.
    fn tell(&mut self) {
        let members = &self.members;
        self.sessions.retain(|member, session| match members.assignment(*member) {
            None => false,
            Some(assignment) => {
                session.told.send_if_modified(|told| {
                    let is_news = *told != assignment;
                    *told = assignment;
                    is_news
                });
                true
            }
        });
    }
}

impl Membership {
    /// The member says what it holds.
    ///
    /// # Errors
    /// Where it cannot be recorded; it may say so again.
    pub async fn holds(&mut self, held: BTreeSet<PartitionId>) -> Result<(), Fault> {
        self.heard.store(self.groups.now_ms(), Ordering::Relaxed);
        if held == self.held {
            return Ok(());
        }
        let (groups, key, member) = (Arc::clone(&self.groups), self.key.clone(), self.member);
        let said = held.clone();
        to_its_end(async move {
            let mut inner = groups.inner.lock().await;
            groups.change(&mut inner, &key, |members, now| members.holds(member, &said, now)).await
        })
        .await?;
        self.held = held;
        Ok(())
    }

    /// The member says goodbye.
    pub async fn leave(self) {
        let Self { groups, key, member, heard, .. } = self;
        let left = to_its_end(async move {
            let mut inner = groups.inner.lock().await;
            // If it is connected anew, this was the goodbye of the old connection only.
            let is_current = inner.live.get(&key).and_then(|live| live.sessions.get(&member));
            if !is_current.is_some_and(|session| Arc::ptr_eq(&session.heard, &heard)) {
                return Ok(());
            }
            groups.change(&mut inner, &key, |members, _| members.leave(member)).await
        });
        if let Err(fault) = left.await {
            tracing::warn!(%fault, "a member's goodbye could not be recorded; its session times out");
        }
    }
}

/// Runs `work` to its end, whoever stops waiting for it: what was recorded is then made true, too.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the end of the runtime cancels it; then nobody goes on from here.
            Err(_) => loop {
                sleep(IDLE).await;
            },
        },
    }
}

/// What a publisher hears whose batch may not begin.
fn refused(refusal: Refusal, group: &GroupName, partition: PartitionId) -> Fault {
    match refusal {
        Refusal::NotHeld => Fault::new(
            Code::MemberFenced,
            format!(
                "partition {partition} is not this member's of group {group}: what it read is given to \
                 another. Join again, and read on from the committed offset"
            ),
        ),
        Refusal::Elsewhere(committed) => {
            let committed = committed.map_or("none".to_owned(), |offset| offset.to_string());
            Fault::new(
                Code::MemberFenced,
                format!(
                    "group {group} has committed {committed} in partition {partition}, which is not \
                     where this batch begins. Join again, and read on from the committed offset"
                ),
            )
        }
        Refusal::UnderWay => Fault::new(
            Code::Overloaded,
            format!(
                "a publish that carries the offset of partition {partition} for group {group} is under \
                 way; wait for its answer"
            ),
        )
        .after_ms(UNDER_WAY_RETRY_MS),
    }
}

fn active(group: &GroupName) -> Fault {
    Fault::new(
        Code::GroupActive,
        format!(
            "group {group} has members, and only they commit; join it, or stop them first \
             (`weir group describe {group}` shows them)"
        ),
    )
}
