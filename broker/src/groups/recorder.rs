//! Writes what groups change into `__committed_offsets`, and has the fold of it.
//!
//! Promises: in the order in which it was asked; nobody hears that it is recorded before it is
//! durable, and nobody reads it before; whatever is asked while the disk syncs goes into the next
//! append together, so that a thousand commits at once take two syncs and not a thousand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::oneshot;
use weir_views::consumed::Reached;
use weir_views::offsets::{Committed, CommittedOffsets, OffsetChange};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, Offset, PartitionId, ResetEpoch, TopicId};

use crate::internal_topic::InternalTopic;
use crate::wall_clock::Clock;

/// Requests that go into one append: a rebalance of a large group among them stays far below what a
/// commit may hold.
const GROUP_REQUESTS_MAX: usize = 1_024;

/// What is to be recorded.
#[derive(Debug)]
pub enum Wish {
    /// This, as it is.
    Change(OffsetChange),
    /// A group has come this far.
    Reach(Reach),
}

/// A group's offset, to be committed.
#[derive(Debug)]
pub struct Reach {
    pub group: GroupName,
    pub topic: TopicId,
    pub partition: PartitionId,
    pub offset: Offset,
    /// How far it has come beside what is recorded.
    pub carried: Option<Reached>,
    /// Whether it may be put back, which begins a new epoch.
    pub may_go_back: bool,
}

/// See the module's text. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    topic: tokio::sync::Mutex<InternalTopic<OffsetChange>>,
    /// All that is durable.
    fold: RwLock<CommittedOffsets>,
    queue: Mutex<Queue>,
}

type Reply = oneshot::Sender<Result<(), Fault>>;

#[derive(Default)]
struct Queue {
    /// Bounded by who asks: each waits for its answer.
    waiting: Vec<(Vec<Wish>, Reply)>,
    /// Somebody writes, and looks here again.
    is_writing: bool,
}

impl Recorder {
    /// Goes on behind what was folded.
    pub fn new(topic: InternalTopic<OffsetChange>, fold: CommittedOffsets, clock: Clock) -> Self {
        let topic = tokio::sync::Mutex::new(topic);
        let (fold, queue) = (RwLock::new(fold), Mutex::default());
        Self { shared: Arc::new(Shared { clock, topic, fold, queue }) }
    }

    /// What is recorded.
    pub fn fold(&self) -> RwLockReadGuard<'_, CommittedOffsets> {
        // Changes of the fold are whole maps' own: a panic leaves none of them half done.
        self.shared.fold.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `wishes` behind all others. It is recorded whether or not the answer is waited for.
    pub fn record(&self, wishes: Vec<Wish>) -> impl Future<Output = Result<(), Fault>> + use<> {
        let (reply, answer) = oneshot::channel();
        if wishes.is_empty() {
            let _ = reply.send(Ok(()));
        } else {
            let mut queue = self.shared.queue();
            queue.waiting.push((wishes, reply));
            if !std::mem::replace(&mut queue.is_writing, true) {
                tokio::spawn(write_all(Arc::clone(&self.shared)));
            }
        }
        async move {
            answer.await.unwrap_or_else(|_| {
                Err(Fault::new(Code::ShuttingDown, "the broker is going down; try again later"))
            })
        }
    }

    /// Lets go of the log, once what was taken is written.
    pub async fn close(&self) {
        self.shared.topic.lock().await.close().await;
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until nothing waits.
async fn write_all(shared: Arc<Shared>) {
    let mut topic = shared.topic.lock().await;
    loop {
        let group: Vec<_> = {
            let mut queue = shared.queue();
            let count = queue.waiting.len().min(GROUP_REQUESTS_MAX);
            queue.is_writing = 0 < count;
            queue.waiting.drain(..count).collect()
        };
        if group.is_empty() {
            return;
        }
        let (wishes, replies): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let changes = {
            let fold = shared.fold.read().unwrap_or_else(PoisonError::into_inner);
            decided(&fold, wishes.into_iter().flatten())
        };
        let recorded = match changes.is_empty() {
            true => Ok(()),
            false => topic.append((shared.clock)(), &changes).await,
        };
        if recorded.is_ok() {
            let mut fold = shared.fold.write().unwrap_or_else(PoisonError::into_inner);
            changes.iter().for_each(|change| fold.apply(change));
        }
        for reply in replies {
            // Whoever does not wait any more will look.
            let _ = reply.send(recorded.clone());
        }
    }
}

/// What the wishes come to behind `fold`, each on top of those before it.
fn decided(fold: &CommittedOffsets, wishes: impl Iterator<Item = Wish>) -> Vec<OffsetChange> {
    let mut decided = BTreeMap::new();
    let mut changes = Vec::new();
    for wish in wishes {
        let reach = match wish {
            Wish::Change(change) => {
                changes.push(change);
                continue;
            }
            Wish::Reach(reach) => reach,
        };
        let Reach { group, topic, partition, offset, carried, may_go_back } = reach;
        let place = (group, topic, partition);
        let known = || fold.reached(&place.0, topic, partition);
        let before = decided.get(&place).copied().or_else(known).max(carried);
        let Some(reached) = placed(before, offset, may_go_back) else { continue };
        let (group, Reached { epoch, offset }) = (place.0.clone(), reached);
        changes.push(OffsetChange::Committed(Committed { group, topic, partition, offset, epoch }));
        decided.insert(place, reached);
    }
    changes
}

/// Where a group is that was at `before` and commits `offset`; `None` if it stays.
fn placed(before: Option<Reached>, offset: Offset, may_go_back: bool) -> Option<Reached> {
    match before {
        None => Some(Reached { epoch: ResetEpoch(0), offset }),
        Some(before) if before.offset <= offset => Some(Reached { offset, ..before }),
        // So that it wins over what is carried elsewhere, in commits that stay.
        Some(before) if may_go_back => {
            Some(Reached { epoch: ResetEpoch(before.epoch.0.saturating_add(1)), offset })
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use weir_log::segment::Machine;
    use weir_views::offsets::OFFSETS_TOPIC_ID;
    use weir_wire::ids::Timestamp;

    /// Wishes as `offset`, `!offset` where it may go back, with `/epoch.offset` for what is carried.
    fn check(wishes: &str, expected: Expect) {
        let wish = |raw: &str| {
            let (raw, carried) =
                raw.split_once('/').map_or((raw, None), |(raw, of)| (raw, Some(of)));
            let carried =
                carried.and_then(|of| of.split_once('.')).map(|(epoch, offset)| Reached {
                    epoch: ResetEpoch(epoch.parse().unwrap()),
                    offset: Offset(offset.parse().unwrap()),
                });
            Wish::Reach(Reach {
                group: GroupName::parse("readers").unwrap(),
                topic: TopicId(16),
                partition: PartitionId(0),
                offset: Offset(raw.trim_start_matches('!').parse().unwrap()),
                carried,
                may_go_back: raw.starts_with('!'),
            })
        };
        let changes = decided(&CommittedOffsets::default(), wishes.split(' ').map(wish));
        let text = |change: &OffsetChange| match change {
            OffsetChange::Committed(at) => format!("{}.{}", at.epoch, at.offset),
            other => format!("{other:?}"),
        };
        expected.assert_eq(&changes.iter().map(text).collect::<Vec<_>>().join(" "));
    }

    #[test]
    fn an_offset_goes_back_only_where_it_may_and_then_in_a_new_epoch() {
        check("5 9 7 9", expect!["0.5 0.9 0.9"]);
        check("5 !3 4 !9 !9 !0", expect!["0.5 1.3 1.4 1.9 1.9 2.0"]);
    }

    #[tokio::test]
    async fn commits_that_come_while_one_is_written_share_the_next_sync() {
        let folder = tempfile::tempdir().unwrap();
        let (machine, id) = (Machine::real(), OFFSETS_TOPIC_ID);
        let topic = InternalTopic::open(&machine, folder.path(), id, true, drop).await.unwrap();
        let before = topic.appends();
        let clock: Clock = Arc::new(|| Timestamp(1_000));
        let recorder = Recorder::new(topic, CommittedOffsets::default(), clock);
        let group = GroupName::parse("readers").unwrap();
        let reach = |partition| {
            Wish::Reach(Reach {
                group: group.clone(),
                topic: TopicId(16),
                partition: PartitionId(partition),
                offset: Offset(9),
                carried: None,
                may_go_back: false,
            })
        };
        let first = recorder.record(vec![reach(0)]);
        tokio::task::yield_now().await;
        // The first is on its way to the disk by now.
        let others: Vec<_> = (1..500).map(|at| recorder.record(vec![reach(at)])).collect();
        first.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(recorder.fold().all().count(), 500);
        assert!(recorder.shared.topic.lock().await.appends() - before <= 2);
    }

    #[test]
    fn what_is_carried_elsewhere_counts_as_reached() {
        check("5/0.7 8/0.7 !6/0.8", expect!["0.8 1.6"]);
        check("!5/3.7 6/3.7", expect!["4.5 4.6"]);
        check("5 6/2.1", expect!["0.5 2.6"]);
    }
}
