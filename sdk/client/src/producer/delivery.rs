//! How an event's sender hears what became of it: one shared answer per batch, and an index into it.
//!
//! Promises: every delivery resolves, also when the producer is dropped; a delivery costs an `Arc`
//! and a number. Not here: who answers.

use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, Waker};

use weir_wire::ids::{ChainRevision, Offset, PartitionId, Timestamp};
use weir_wire::verdict::{Verdict, Verdicts};

use crate::error::ClientError;

/// What became of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Where it was judged.
    pub partition: PartitionId,
    /// What the topic's plugins said.
    pub verdict: Verdict,
    /// Where it stands; only accepted events stand anywhere.
    pub offset: Option<Offset>,
    /// When it was judged: the partition's time.
    pub partition_time: Timestamp,
    /// The chain that judged it.
    pub chain_revision: ChainRevision,
    /// Whether the answer waited for the disk; `false`: a power cut can lose the event.
    pub is_durable: bool,
    /// The answer is the recorded one: the batch had been judged before and its answer was lost.
    pub is_duplicate: bool,
    /// What the batch was made from is committed with it ([`Consumed`](crate::Consumed)).
    pub is_consumed: bool,
}

/// What holds for every event of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) partition: PartitionId,
    pub(super) partition_time: Timestamp,
    pub(super) chain_revision: ChainRevision,
    pub(super) is_durable: bool,
    pub(super) is_duplicate: bool,
    pub(super) is_consumed: bool,
}

/// The answer to a whole batch.
#[derive(Debug)]
pub(super) struct Judgement {
    circumstances: Circumstances,
    /// In batch order, so that an index finds its run by halving.
    runs: Vec<Run>,
}

/// Neighbours with one verdict.
#[derive(Debug)]
struct Run {
    /// Index in the batch of the first.
    start: u32,
    /// Index in the batch of the first that is not in this run.
    end: u32,
    /// Where the first stands, if the run is accepted.
    offset: Offset,
    verdict: Verdict,
}

impl Judgement {
    /// Prepares the verdicts for being asked by index; accepted ones stand densely from
    /// `first_offset` on.
    pub(super) fn new(
        verdicts: &Verdicts,
        first_offset: Offset,
        circumstances: Circumstances,
    ) -> Self {
        let (mut start, mut offset) = (0, first_offset);
        let runs = verdicts.runs().map(|(count, verdict)| {
            let run = Run { start, end: start + count, offset, verdict: verdict.clone() };
            start = run.end;
            if *verdict == Verdict::Accepted {
                offset = offset.plus(u64::from(count));
            }
            run
        });
        let runs = runs.collect();
        Self { circumstances, runs }
    }

    fn outcome(&self, index: u32) -> Outcome {
        let run = &self.runs[self.runs.partition_point(|run| run.end <= index)];
        let is_accepted = run.verdict == Verdict::Accepted;
        let Circumstances {
            partition,
            partition_time,
            chain_revision,
            is_durable,
            is_duplicate,
            is_consumed,
        } = self.circumstances;
        Outcome {
            partition,
            verdict: run.verdict.clone(),
            offset: is_accepted.then(|| run.offset.plus(u64::from(index - run.start))),
            partition_time,
            chain_revision,
            is_durable,
            is_duplicate,
            is_consumed,
        }
    }
}

#[derive(Debug, Default)]
struct Answer {
    result: OnceLock<Result<Judgement, ClientError>>,
    /// One place per delivery that waits; empty again once the answer is there.
    waiting: Mutex<Vec<Waker>>,
}

/// The side of a batch that answers. Dropped without an answer it answers "unknown".
#[derive(Debug, Default)]
pub(super) struct Ticket {
    answer: Arc<Answer>,
}

impl Ticket {
    /// The delivery of the event at `index` of the batch.
    pub(super) fn delivery(&self, index: u32) -> Delivery {
        Delivery { answer: self.answer.clone(), index, place: None }
    }

    /// Answers every event of the batch; only the first answer counts.
    pub(super) fn resolve(&self, result: Result<Judgement, ClientError>) {
        if self.answer.result.set(result).is_ok() {
            let waiting = std::mem::take(&mut *lock(&self.answer.waiting));
            waiting.into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.resolve(Err(ClientError::Unknown));
    }
}

/// Resolves to what became of one event. May be dropped: the event goes its way all the same.
///
/// # Errors
/// [`ClientError::Fault`] when the broker could not judge the batch, [`ClientError::Unknown`] when
/// it may have judged it and the answer was lost, [`ClientError::Unreachable`] when it was never
/// sent within the delivery timeout.
#[derive(Debug)]
#[must_use = "the verdict is in here; drop it explicitly if nobody wants to know"]
pub struct Delivery {
    answer: Arc<Answer>,
    index: u32,
    place: Option<usize>,
}

impl Delivery {
    /// Another one of the same event.
    pub(super) fn twin(&self) -> Self {
        Self { answer: self.answer.clone(), index: self.index, place: None }
    }

    /// The outcome, if it is known already.
    pub fn try_outcome(&self) -> Option<Result<Outcome, ClientError>> {
        let result = self.answer.result.get()?;
        Some(match result {
            Ok(judgement) => Ok(judgement.outcome(self.index)),
            Err(error) => Err(error.clone()),
        })
    }
}

impl Future for Delivery {
    type Output = Result<Outcome, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.try_outcome() {
            return Poll::Ready(outcome);
        }
        {
            let delivery = &mut *self;
            let mut waiting = lock(&delivery.answer.waiting);
            match delivery.place.and_then(|place| waiting.get_mut(place)) {
                Some(waker) => waker.clone_from(context.waker()),
                None => {
                    delivery.place = Some(waiting.len());
                    waiting.push(context.waker().clone());
                }
            }
        }
        // The answer may have come between the look and the waker: then nobody wakes us again.
        match self.try_outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }
}

/// A poisoned lock guards nothing here that a panic could have left half done.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(verdicts: &Verdicts) -> Judgement {
        let circumstances = Circumstances {
            partition: PartitionId(3),
            partition_time: Timestamp(7),
            chain_revision: ChainRevision(2),
            is_durable: true,
            is_duplicate: false,
            is_consumed: false,
        };
        Judgement::new(verdicts, Offset(100), circumstances)
    }

    #[test]
    fn accepted_events_have_dense_offsets_and_the_others_none() {
        let mut verdicts = Verdicts::default();
        let dropped = Verdict::Dropped { plugin: "p".into() };
        verdicts.push_many(2, Verdict::Accepted);
        verdicts.push(dropped.clone());
        verdicts.push_many(2, Verdict::Accepted);
        let ticket = Ticket::default();
        let deliveries: Vec<_> = (0..5).map(|index| ticket.delivery(index)).collect();
        assert!(deliveries[0].try_outcome().is_none());
        ticket.resolve(Ok(judgement(&verdicts)));
        let offsets: Vec<_> = deliveries
            .iter()
            .map(|delivery| delivery.try_outcome().unwrap().unwrap().offset.map(|offset| offset.0))
            .collect();
        assert_eq!(offsets, [Some(100), Some(101), None, Some(102), Some(103)]);
        assert_eq!(deliveries[2].try_outcome().unwrap().unwrap().verdict, dropped);
    }

    #[tokio::test]
    async fn a_dropped_batch_is_unknown_to_all_who_wait() {
        let ticket = Ticket::default();
        let waiting: Vec<_> = (0..3).map(|index| tokio::spawn(ticket.delivery(index))).collect();
        tokio::task::yield_now().await;
        drop(ticket);
        for delivery in waiting {
            assert!(matches!(delivery.await.unwrap(), Err(ClientError::Unknown)));
        }
    }
}
