//! The batches of one partition that have no answer yet, in the order of their sequences.
//!
//! Promises: a batch keeps its bytes and its sequence through every attempt; only the front is
//! answered; what may have reached the broker is never reported as "not stored". Pure: no socket,
//! no clock.

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::time::Instant;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::Sequence;
use weir_wire::proto;

use super::delivery::{Judgement, Ticket};
use super::queue::Waiting;
use crate::error::ClientError;

/// One batch, encoded.
#[derive(Debug)]
struct InFlight {
    /// What is sent, every time.
    bytes: Bytes,
    /// And with it, if it carries one.
    consumed: Option<proto::Consumed>,
    /// How many events it has.
    events: u32,
    /// When its sender gives up.
    deadline: Instant,
    /// Of the last attempt.
    correlation: u64,
    ticket: Ticket,
    /// Times it was written and got no answer that rules out that it was judged.
    open_attempts: u32,
    /// Why it was not judged so far.
    last_failure: Option<ClientError>,
}

/// Batches without an answer, oldest first.
///
/// Invariant: their sequences follow one another without a gap, and `next_sequence` follows them.
#[derive(Debug, Default)]
pub(super) struct Window {
    batches: VecDeque<InFlight>,
    next_sequence: Sequence,
    /// Batches from here on were not yet written to the stream at hand.
    written: usize,
    correlation: u64,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.batches.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The sequence that the next batch has to be encoded with.
    pub(super) fn next_sequence(&self) -> Sequence {
        self.next_sequence
    }

    /// When the oldest batch's sender gives up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.batches.front().map(|batch| batch.deadline)
    }

    /// Takes a batch that was encoded with [`next_sequence`](Self::next_sequence).
    pub(super) fn admit(&mut self, bytes: Bytes, batch: Waiting) {
        let events = u32::try_from(batch.events.len()).expect("a batch has 10,000 events at most");
        self.next_sequence = self.next_sequence.plus(events);
        self.batches.push_back(InFlight {
            bytes,
            consumed: batch.consumed,
            events,
            deadline: batch.deadline,
            ticket: batch.ticket,
            correlation: 0,
            open_attempts: 0,
            last_failure: None,
        });
    }

    /// The next batch to be written to the stream at hand. It counts as sent from now on: half of
    /// a write may be all that the broker needs.
    ///
    /// Returns the number that its answer has to echo, too: a new one for every attempt.
    pub(super) fn write_next(&mut self) -> Option<(u64, Bytes, Option<proto::Consumed>)> {
        let batch = self.batches.get_mut(self.written)?;
        self.written += 1;
        self.correlation += 1;
        batch.correlation = self.correlation;
        batch.open_attempts += 1;
        Some((batch.correlation, batch.bytes.clone(), batch.consumed.clone()))
    }

    /// The number and the events of the batch whose answer is due.
    pub(super) fn front(&self) -> Option<(u64, u32)> {
        let front = self.batches.front().filter(|_| 0 < self.written)?;
        Some((front.correlation, front.events))
    }

    /// The front was judged.
    pub(super) fn judged(&mut self, judgement: Judgement) {
        if let Some(batch) = self.batches.pop_front() {
            self.written -= 1;
            batch.ticket.resolve(Ok(judgement));
        }
    }

    /// The front was answered by a fault that asks for a retry.
    pub(super) fn refused(&mut self, fault: &Fault) {
        if let Some(batch) = self.batches.front_mut() {
            // These three promise that nothing was done; other faults leave it open.
            if let Code::Overloaded | Code::StorageFull | Code::ShuttingDown = fault.code {
                batch.open_attempts = batch.open_attempts.saturating_sub(1);
            }
        }
        self.interrupted(&ClientError::Fault(fault.clone()));
    }

    /// The stream at hand is gone: all that has no answer is to be written again.
    pub(super) fn interrupted(&mut self, why: &ClientError) {
        self.written = 0;
        if let Some(batch) = self.batches.front_mut() {
            batch.last_failure = Some(why.clone());
        }
    }

    /// Gives everything up because of the front, which gets `answer` if the broker itself said it,
    /// and begins a new life with sequence zero: one batch missing would leave a gap, which the
    /// broker refuses for ever. Returns what to answer those that were never sent.
    pub(super) fn give_up(&mut self, answer: Option<ClientError>) -> ClientError {
        let front = self.batches.pop_front();
        let why = match (answer, &front) {
            (Some(answer), Some(front)) => {
                front.ticket.resolve(Err(answer.clone()));
                answer
            }
            (Some(answer), None) => answer,
            (None, Some(front)) => {
                let late = ClientError::Timeout {
                    what: "sending a batch",
                    after: std::time::Duration::ZERO,
                };
                let why = front.last_failure.clone().unwrap_or(late);
                front.ticket.resolve(Err(front.uncertain(&why)));
                why
            }
            (None, None) => ClientError::Unknown,
        };
        for batch in self.batches.drain(..) {
            batch.ticket.resolve(Err(batch.uncertain(&why)));
        }
        *self = Self::default();
        why
    }
}

impl Drop for Window {
    /// A lane that is ended says what it knows: what was never written was not judged.
    fn drop(&mut self) {
        for batch in self.batches.drain(..) {
            batch.ticket.resolve(Err(batch.uncertain(&ClientError::Closed)));
        }
    }
}

impl InFlight {
    /// `why`, unless the batch may have been judged all the same.
    fn uncertain(&self, why: &ClientError) -> ClientError {
        if self.open_attempts == 0 { why.clone() } else { ClientError::Unknown }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_wire::record_batch::Event;

    use super::super::delivery::Delivery;
    use super::super::queue::{Filling, Queue};
    use super::*;

    /// A window with `count` batches of one event each, and the deliveries of the events.
    async fn window(count: usize) -> (Window, Vec<Delivery>) {
        let filling = Filling {
            batch_bytes: 1,
            batch_events: 1,
            linger: Duration::ZERO,
            delivery_timeout: Duration::from_secs(60),
        };
        let (queue, mut window, mut deliveries) =
            (Queue::new(filling), Window::default(), Vec::new());
        for number in 0..count {
            deliveries.push(queue.send(Event::default(), 0).await.unwrap());
            let bytes = Bytes::from(number.to_string());
            window.admit(bytes, queue.next().await.unwrap());
        }
        (window, deliveries)
    }

    fn words(deliveries: &[Delivery]) -> Vec<String> {
        let word = |delivery: &Delivery| match delivery.try_outcome() {
            None => "waits".to_owned(),
            Some(Err(ClientError::Unknown)) => "unknown".to_owned(),
            Some(Err(ClientError::Fault(fault))) => fault.code.to_string(),
            Some(other) => format!("{other:?}"),
        };
        deliveries.iter().map(word).collect()
    }

    fn fault(code: Code) -> Fault {
        Fault::new(code, "why")
    }

    #[tokio::test]
    async fn every_attempt_has_the_same_bytes_in_the_same_order_and_a_number_of_its_own() {
        let (mut window, _deliveries) = window(2).await;
        let first = [window.write_next().unwrap(), window.write_next().unwrap()];
        assert!(window.write_next().is_none());
        window.interrupted(&ClientError::Unknown);
        assert_eq!(
            window.front(),
            None,
            "no answer is due on a stream that nothing was written to"
        );
        let again = [window.write_next().unwrap(), window.write_next().unwrap()];
        assert_eq!(
            first.clone().map(|(_, bytes, _)| bytes),
            again.clone().map(|(_, bytes, _)| bytes)
        );
        assert_eq!(
            [first, again].concat().iter().map(|(number, ..)| *number).collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert_eq!(window.front(), Some((3, 1)));
        assert_eq!(window.next_sequence(), Sequence::new(2));
    }

    #[tokio::test]
    async fn what_may_have_arrived_is_unknown_and_what_never_left_has_a_reason() {
        let (mut window, deliveries) = window(3).await;
        window.write_next();
        window.write_next();
        window.interrupted(&ClientError::Fault(fault(Code::Overloaded)));
        window.give_up(None);
        assert_eq!(words(&deliveries), ["unknown", "unknown", "overloaded"]);
        assert!(window.is_empty() && window.next_sequence() == Sequence::ZERO);
    }

    #[tokio::test]
    async fn a_refusal_that_promises_that_nothing_was_done_is_believed() {
        for (code, word) in [
            (Code::Overloaded, "overloaded"),
            (Code::StorageFull, "storage-full"),
            (Code::ShuttingDown, "shutting-down"),
            (Code::StorageBroken, "unknown"),
        ] {
            let (mut window, deliveries) = window(1).await;
            window.write_next();
            window.refused(&fault(code));
            window.give_up(None);
            assert_eq!(words(&deliveries), [word]);
        }
    }

    #[tokio::test]
    async fn a_refusal_after_a_lost_answer_leaves_it_open() {
        let (mut window, deliveries) = window(1).await;
        window.write_next();
        window.interrupted(&ClientError::Unknown);
        window.write_next();
        window.refused(&fault(Code::Overloaded));
        window.give_up(None);
        assert_eq!(words(&deliveries), ["unknown"]);
    }

    #[tokio::test]
    async fn the_brokers_last_word_on_the_front_is_its_answer() {
        let (mut window, deliveries) = window(2).await;
        window.write_next();
        let last = window.give_up(Some(fault(Code::Expired).into()));
        assert_eq!(words(&deliveries), ["expired", "expired"]);
        assert!(matches!(last, ClientError::Fault(fault) if fault.code == Code::Expired));
    }
}
