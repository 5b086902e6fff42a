//! Consumer groups: who reads which partition for a group, and how far the group has come; both kept
//! in the internal topic `__committed_offsets`.
//!
//! A membership is a session with the broker: it says what it holds, and is told what it should.
//! Promises: what a member is told is recorded first, so that after a crash of the broker nobody is
//! given what another may still hold; a commit is its holder's, and moves no group back.
//! Not here: who should hold what, and when (`target.rs`, `members.rs`, both pure).

mod members;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use weir_log::segment::Machine;
use weir_views::offsets::{
    Committed, CommittedOffsets, Held, OFFSETS_TOPIC, OFFSETS_TOPIC_ID, OffsetChange,
};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId, TopicId};

pub use self::members::Assignment;
use self::members::Members;
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

/// One group in one topic.
type Key = (GroupName, TopicId);

/// The groups and their log.
pub struct Groups {
    inner: Mutex<Inner>,
    clock: Clock,
    /// The number of the next member: from the broker's clock at its start, so that no two lives of
    /// it give out the same.
    next_member: AtomicU64,
    /// What times of sessions count from.
    began: Instant,
    /// Somebody came.
    news: Notify,
}

struct Inner {
    offsets: CommittedOffsets,
    topic: InternalTopic<OffsetChange>,
    live: BTreeMap<Key, Live>,
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
        let inner = Mutex::new(Inner { offsets, topic, live });
        let next_member = AtomicU64::new(clock().0 << MEMBERS_PER_MS_BITS);
        Ok(Arc::new(Self { inner, clock, next_member, began, news: Notify::new() }))
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
            let generation = inner.offsets.generation(&key.0, key.1);
            let live = inner.live.entry(key.clone()).or_insert_with(|| Live {
                members: Members::restored(partitions, generation, &[], Instant::now()),
                sessions: BTreeMap::new(),
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
        let mut inner = self.inner.lock().await;
        let key = (group, topic);
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
        // A member that was given less than it had read before must not take the others back.
        let is_behind = |partition, offset| {
            let committed = inner.offsets.offset(&key.0, topic, partition);
            member.is_some() && committed.is_some_and(|committed| offset < committed)
        };
        let changes = mine
            .into_iter()
            .filter(|(partition, offset)| !is_behind(*partition, *offset))
            .map(|(partition, offset)| committed(&key, partition, offset))
            .collect();
        self.record(&mut inner, changes).await?;
        Ok(Fenced(fenced.into_iter().map(|(partition, _)| partition).collect()))
    }

    /// Puts a group without members to other offsets, back or forth.
    ///
    /// # Errors
    /// `group-active` while it has some.
    pub async fn reset(
        &self,
        group: GroupName,
        topic: TopicId,
        offsets: Vec<(PartitionId, Offset)>,
    ) -> Result<(), Fault> {
        self.commit(group, topic, None, offsets).await.map(drop)
    }

    /// A group's committed offsets in a topic of `partitions` partitions; those it has none in are
    /// left out.
    pub async fn of(
        &self,
        group: &GroupName,
        topic: TopicId,
        partitions: u32,
    ) -> Vec<(PartitionId, Offset)> {
        let inner = self.inner.lock().await;
        (0..partitions)
            .map(PartitionId)
            .filter_map(|at| Some((at, inner.offsets.offset(group, topic, at)?)))
            .collect()
    }

    /// All groups there are, and the topics in which each has members or offsets.
    pub async fn names(&self) -> Vec<(GroupName, Vec<TopicId>)> {
        let inner = self.inner.lock().await;
        let mut names: BTreeMap<GroupName, BTreeSet<TopicId>> = BTreeMap::new();
        for (group, topics) in inner.offsets.groups() {
            names.insert(group.clone(), topics);
        }
        for (group, topic) in inner.live.keys() {
            names.entry(group.clone()).or_default().insert(*topic);
        }
        names.into_iter().map(|(group, topics)| (group, topics.into_iter().collect())).collect()
    }

    /// How a group stands in a topic of `partitions` partitions.
    pub async fn standing(&self, group: &GroupName, topic: TopicId, partitions: u32) -> Standing {
        let inner = self.inner.lock().await;
        let committed =
            (0..partitions).map(|at| inner.offsets.offset(group, topic, PartitionId(at))).collect();
        let mut standing = Standing { committed, ..Standing::default() };
        if let Some(live) = inner.live.get(&(group.clone(), topic)) {
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

    /// Forgets a topic that was deleted; its members' sessions end.
    pub async fn forget(&self, topic: TopicId) -> Result<(), Fault> {
        let mut inner = self.inner.lock().await;
        inner.live.retain(|(_, of), _| *of != topic);
        self.record(&mut inner, vec![OffsetChange::TopicDeleted { topic }]).await
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
            self.record(inner, vec![held]).await?;
        }
        if members.is_empty() {
            inner.live.remove(key);
        } else if let Some(live) = inner.live.get_mut(key) {
            live.members = members;
            live.tell();
        }
        Ok(())
    }

    async fn record(
        &self,
        inner: &mut MutexGuard<'_, Inner>,
        changes: Vec<OffsetChange>,
    ) -> Result<(), Fault> {
        if changes.is_empty() {
            return Ok(());
        }
        inner.topic.append((self.clock)(), &changes).await?;
        for change in &changes {
            inner.offsets.apply(change);
        }
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Lets go of the log.
    pub async fn close(&self) {
        self.inner.lock().await.topic.close().await;
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

fn committed((group, topic): &Key, partition: PartitionId, offset: Offset) -> OffsetChange {
    OffsetChange::Committed(Committed { group: group.clone(), topic: *topic, partition, offset })
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
