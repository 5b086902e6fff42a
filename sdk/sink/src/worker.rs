//! One event at a time: take it, deliver it or keep its dead letter, commit, take the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{debug, error, info, warn};
use weir_client::{
    ClientError, ConsumedEvent, Consumer, Event, Outcome as Published, Producer, Verdict,
};
use weir_wire::fault::Code;
use weir_wire::ids::Timestamp;

use crate::dead_letter;
use crate::deliver::{Deliver, Never};
use crate::sink::{Sink, SinkError};
use crate::tries::{Next, Tries};

/// How long the broker may be away while it is to be told of an event that is done: as long as a
/// consumer waits for it.
const COMMIT_PATIENCE: Duration = Duration::from_secs(120);
/// Between two tries at that. Each of them tries for half a minute by itself.
const COMMIT_PAUSE: Duration = Duration::from_secs(1);

/// A member of the group with one event in hand.
pub(crate) struct Worker<D> {
    pub(crate) sink: Arc<Sink<D>>,
    pub(crate) consumer: Consumer,
    pub(crate) letters: Option<Arc<Producer>>,
    /// Turns true when no further event is to be begun.
    pub(crate) stop: watch::Receiver<bool>,
}

/// What became of the event in hand.
enum Settled {
    /// It is delivered, or its dead letter is kept.
    Done,
    /// The sink is to stop; it comes again at the next start.
    Stopped,
    /// Its partition is another member's meanwhile, who is given it.
    Lost,
}

impl<D: Deliver> Worker<D> {
    /// Until the topic's end, if there is one, or until told to stop.
    pub(crate) async fn run(mut self) -> Result<(), SinkError> {
        let result = self.work().await;
        let closed = self.consumer.close().await;
        result.and(closed.map_err(SinkError::from))
    }

    async fn work(&mut self) -> Result<(), SinkError> {
        loop {
            let event = tokio::select! {
                biased;
                () = told(&mut self.stop) => return Ok(()),
                event = self.consumer.next() => event,
            };
            let Some(event) = event.transpose()? else { return Ok(()) };
            if !self.sink.unconfirmed.has(event.partition, event.offset) {
                match self.settle(&event).await? {
                    Settled::Done => self.sink.unconfirmed.note(event.partition, event.offset),
                    Settled::Stopped => return Ok(()),
                    Settled::Lost => {
                        info!(partition = %event.partition, offset = %event.offset,
                            "another member goes on with this event");
                        continue;
                    }
                }
            }
            self.commit(&event).await?;
        }
    }

    /// Tries until there is an end to it.
    async fn settle(&mut self, event: &ConsumedEvent) -> Result<Settled, SinkError> {
        let sink = Arc::clone(&self.sink);
        let mut tries = Tries::begin(sink.options.patience, Instant::now());
        let parcel = match sink.deliver.prepare(event) {
            Ok(parcel) => parcel,
            Err(why) => return self.bury(event, &why, 0).await,
        };
        loop {
            // Never broken off: what the other side has taken by then, it has to be known.
            let outcome = sink.deliver.attempt(&parcel).await;
            let chance = getrandom::u32().unwrap_or(u32::MAX / 2);
            let (wait, reason) = match tries.next(outcome, Instant::now(), chance) {
                Next::Done => {
                    count(&sink.counts.delivered);
                    debug!(partition = %event.partition, offset = %event.offset, "delivered");
                    return Ok(Settled::Done);
                }
                Next::Never(why) => return self.bury(event, &why, tries.attempts()).await,
                Next::Stop(reason) => return Err(SinkError::Stopped(reason)),
                Next::Wait(wait, reason) => (wait, reason),
            };
            warn!(partition = %event.partition, offset = %event.offset, %reason, ?wait,
                "not delivered yet; trying again");
            tokio::select! {
                () = told(&mut self.stop) => return Ok(Settled::Stopped),
                () = sleep(wait) => count(&sink.counts.retries),
            }
            if !self.holds(event) {
                return Ok(Settled::Lost);
            }
        }
    }

    /// Keeps the dead letter of an event, if there are to be any.
    async fn bury(
        &self,
        event: &ConsumedEvent,
        why: &Never,
        attempts: u32,
    ) -> Result<Settled, SinkError> {
        let (partition, offset) = (event.partition, event.offset);
        let Never { code, reason } = why;
        let Some(letters) = &self.letters else {
            count(&self.sink.counts.discarded);
            warn!(%partition, %offset, code, %reason, "an event cannot be delivered; passed over");
            return Ok(Settled::Done);
        };
        let letter =
            dead_letter::letter(event, &self.sink.options.group, why, attempts, wall_clock());
        match publish(letters, letter).await?.verdict {
            Verdict::Accepted => {
                count(&self.sink.counts.dead_lettered);
                warn!(%partition, %offset, code, %reason,
                    "an event cannot be delivered; it is in the dead-letter topic");
            }
            verdict => {
                count(&self.sink.counts.lost);
                error!(%partition, %offset, code, %reason, ?verdict,
                    "an event cannot be delivered, and the dead-letter topic refuses it");
            }
        }
        Ok(Settled::Done)
    }

    /// Tells the broker that the event is done, before the next one is begun.
    async fn commit(&mut self, event: &ConsumedEvent) -> Result<(), SinkError> {
        let (partition, offset) = (event.partition, event.offset);
        let patience_ends = Instant::now() + COMMIT_PATIENCE;
        loop {
            let error = match self.consumer.commit().await {
                Ok(()) => {
                    // Where the member was out of touch for too long there was nothing to commit.
                    if self.holds(event) {
                        self.sink.unconfirmed.confirm(partition);
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            if matches!(&error, ClientError::Fault(fault) if fault.code == Code::MemberFenced) {
                warn!(%partition, %offset, "another member has the partition by now, and may \
                    deliver this event once more");
                return Ok(());
            }
            if !error.is_retryable() || patience_ends <= Instant::now() {
                return Err(error.into());
            }
            warn!(%partition, %offset, %error, "done, but not committed; telling the broker again");
            tokio::select! {
                () = told(&mut self.stop) => return Ok(()),
                () = sleep(COMMIT_PAUSE) => {}
            }
        }
    }

    /// Whether the event's partition is still this member's, and was all the time.
    fn holds(&self, event: &ConsumedEvent) -> bool {
        let mut positions = self.consumer.positions();
        positions.any(|(partition, next)| partition == event.partition && event.offset < next)
    }
}

/// Publishes a dead letter; without its value where the topic takes no event of that size.
async fn publish(letters: &Producer, letter: Event) -> Result<Published, ClientError> {
    let delivery = match letters.send(letter.clone()).await {
        Err(ClientError::Fault(fault)) if fault.code == Code::TooLarge => {
            letters.send(dead_letter::without_value(letter)).await?
        }
        sent => sent?,
    };
    delivery.await
}

/// Returns when the sink is to stop.
async fn told(stop: &mut watch::Receiver<bool>) {
    // The sender outlives the workers; an error would be the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis().try_into().unwrap_or(u64::MAX))
}
