//! Makes the dead letter of a refused event: the event as its publisher sent it, not as an earlier
//! stage replaced it, so that publishing it again is what its publisher would have done.

use weir_wire::dead_letter::{DeadLetter, Numbered, again, is_dead_letter};
use weir_wire::ids::Timestamp;
use weir_wire::record_batch::{Event, Record};
use weir_wire::verdict::Rejection;

use super::Place;
use crate::batch::{Batch, Origin};
use crate::chain::Judge;

/// An event that was refused.
pub(super) struct Refused<'a> {
    /// What it came in.
    pub batch: &'a Batch,
    /// Its place there.
    pub index: usize,
    /// The event.
    pub record: &'a Record<'a>,
    /// How many side events lie between it and a publisher's.
    pub hops: u8,
}

impl Refused<'_> {
    /// Its dead letter. One that is a dead letter itself keeps what is known of its first refusal.
    pub fn letter(&self, judge: &Judge, place: &Place, why: &Rejection, now: Timestamp) -> Event {
        if is_dead_letter(self.record.headers) {
            return again(self.record);
        }
        let letter = DeadLetter {
            topic: place.topic.clone(),
            partition: place.partition,
            plugin: judge.plugin.clone(),
            version: judge.version,
            digest: judge.digest,
            code: why.code.clone(),
            reason: why.message.clone(),
            retry_after_ms: why.retry_after_ms,
            failed: why.fault,
            time: now,
            hops: self.hops,
            publisher: self.batch.publisher.clone(),
            producer: self.numbered(),
            // A relay has written it into the event.
            cause: None,
        };
        letter.stamp(self.record)
    }

    fn numbered(&self) -> Option<Numbered> {
        match self.batch.origin {
            Origin::Producer { id, epoch, first } => {
                Some(Numbered { id, epoch, sequence: first.plus(self.index as u32) })
            }
            Origin::Unnumbered | Origin::Relay { .. } => None,
        }
    }
}
