//! The task through which every commit of a consumer goes, one at a time: those that the caller asks
//! for, and with `auto_commit` those that time asks for, or others who wait for a partition.
//!
//! Promises: a commit that was asked for is made also when the caller stops waiting for it; offsets
//! of one consumer reach the broker in rising order. Not here: what is finished (`bookmark.rs`).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::warn;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::{GroupName, Offset, PartitionId, TopicName};

use super::progress::Progress;
use crate::call;
use crate::error::ClientError;
use crate::link::Link;

/// A consumer has one caller, who waits for each answer; one more may be left by a caller who
/// stopped waiting.
const ASKS_MAX: usize = 2;
/// Longer than any program runs; clocks can be asked for it.
const NEVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What is to be committed.
#[derive(Debug)]
pub(super) enum What {
    /// Everything that is finished.
    Finished,
    /// These, whatever is finished.
    These(Vec<(PartitionId, Offset)>),
}

#[derive(Debug)]
struct Ask {
    what: What,
    answer: oneshot::Sender<Result<(), ClientError>>,
}

/// The caller's end.
#[derive(Debug)]
pub(super) struct Commits(mpsc::Sender<Ask>);

impl Commits {
    /// Has `what` committed.
    pub(super) async fn ask(&self, what: What) -> Result<(), ClientError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Ask { what, answer }).await.map_err(|_| ClientError::Closed)?;
        answered.await.unwrap_or(Err(ClientError::Closed))
    }
}

/// The task.
pub(super) struct Committer {
    pub(super) link: Arc<Link>,
    pub(super) topic: TopicName,
    pub(super) group: GroupName,
    pub(super) progress: Arc<Progress>,
    /// Between two commits that nobody asks for.
    pub(super) interval: Option<Duration>,
}

impl Committer {
    /// The task, to be spawned, and how to ask it.
    pub(super) fn start(self) -> (Commits, impl Future<Output = ()>) {
        let (asks_in, asks) = mpsc::channel(ASKS_MAX);
        (Commits(asks_in), self.run(asks))
    }

    async fn run(self, mut asks: mpsc::Receiver<Ask>) {
        let period = self.interval.unwrap_or(NEVER).min(NEVER);
        let mut ticks = interval_at(Instant::now() + period, period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let is_automatic = self.interval.is_some();
        loop {
            tokio::select! {
                ask = asks.recv() => {
                    let Some(Ask { what, answer }) = ask else { return };
                    // A caller who waits no longer finds out from the next commit.
                    let _ = answer.send(self.commit(what).await);
                    continue;
                }
                _ = ticks.tick(), if is_automatic => {}
                () = self.progress.due(), if is_automatic => {}
            }
            if let Err(error) = self.commit(What::Finished).await {
                warn!(group = %self.group, topic = %self.topic, %error,
                    "an automatic commit failed; the next one covers it as well");
            }
        }
    }

    async fn commit(&self, what: What) -> Result<(), ClientError> {
        let next = match what {
            What::Finished => self.progress.uncommitted(),
            What::These(next) => next,
        };
        if next.is_empty() {
            return Ok(());
        }
        let (link, member) = (&self.link, self.progress.member());
        let fenced = call::commit_offsets(link, &self.group, &self.topic, member, &next).await?;
        self.progress.has_committed(&next, &fenced);
        if fenced.is_empty() { Ok(()) } else { Err(fenced_by(&self.topic, &fenced)) }
    }
}

fn fenced_by(topic: &TopicName, fenced: &[PartitionId]) -> ClientError {
    let partitions: Vec<_> = fenced.iter().map(ToString::to_string).collect();
    let sentence = format!(
        "partitions {} of {topic} are another member's by now; what was not committed there is \
         given to it again",
        partitions.join(", ")
    );
    Fault::new(Code::MemberFenced, sentence).into()
}
