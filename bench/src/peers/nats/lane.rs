//! One publisher of a load: which events it sends when, and how many at once. Pure.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::payload;
use super::publisher::Limits;
use crate::load::{Events, Load};
use crate::measure::{Schedule, Window};

/// The events of a lane, and how far they are. Invariant: answered <= sent.
pub struct Lane {
    events: Events,
    event_bytes: usize,
    window: Window,
    schedule: Option<Schedule>,
    limits: Limits,
    /// Where each chunk that was sent ends, as long as the stream has not answered for it.
    chunks: VecDeque<u64>,
    sent: u64,
    answered: u64,
}

impl Lane {
    /// Lane `lane` of the load.
    pub fn new(load: &Load, window: Window, lane: u32, limits: Limits) -> Self {
        Self {
            events: Events::of_lane(load, lane),
            event_bytes: load.event_bytes,
            window,
            schedule: load.schedule(&window, lane),
            limits,
            chunks: VecDeque::new(),
            sent: 0,
            answered: 0,
        }
    }

    /// When the event with this id was meant to be sent; `now` if the load does not say.
    pub fn intended(&self, id: u64, now: Instant) -> Instant {
        self.schedule.map_or(now, |schedule| schedule.at(id))
    }

    /// How many events may be sent now.
    fn ready(&self, now: Instant) -> usize {
        let room = self.limits.messages - (self.sent - self.answered);
        if self.is_over(now) || !self.has_room() {
            return 0;
        }
        let chunk = self.limits.chunk;
        match self.schedule {
            // Whole chunks: half-empty ones cost as much.
            None if room < chunk as u64 => 0,
            None => chunk,
            Some(schedule) => {
                let most = chunk.min(room as usize);
                (0..most).take_while(|next| schedule.at(self.sent + *next as u64) <= now).count()
            }
        }
    }

    /// The payloads to send now; none if it is not the time.
    pub fn take(&mut self, now: Instant) -> Vec<Bytes> {
        let count = self.ready(now);
        let mut buffer = BytesMut::with_capacity(payload::room(count, self.event_bytes));
        let payloads = (0..count as u64)
            .map(|next| {
                let event = self.events.make();
                payload::write(&mut buffer, self.sent + next, &event.key, &event.value)
            })
            .collect();
        if count > 0 {
            self.sent += count as u64;
            self.chunks.push_back(self.sent);
        }
        payloads
    }

    /// The stream has so many of the events.
    pub fn stored(&mut self, stored: u64) {
        while self.chunks.front().is_some_and(|end| *end <= stored) {
            self.chunks.pop_front();
        }
    }

    /// So many more events have their verdict.
    pub fn answered(&mut self, more: u64) {
        self.answered += more;
        assert!(self.answered <= self.sent, "answers to what was not sent");
    }

    /// When to look again at the latest, if nothing is answered meanwhile. With no room only an answer
    /// changes anything.
    pub fn wake(&self) -> Instant {
        let closes = self.window.closes();
        match self.schedule {
            Some(schedule) if self.has_room() => schedule.at(self.sent).min(closes),
            _ => closes,
        }
    }

    fn has_room(&self) -> bool {
        self.chunks.len() < self.limits.chunks && self.sent - self.answered < self.limits.messages
    }

    /// Whether all is sent that ever will be.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.window.closes()
    }

    /// Whether nothing is under way.
    pub fn is_settled(&self) -> bool {
        self.answered == self.sent && self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::Size;

    const LIMITS: Limits = Limits { streams: 1, chunk: 10, chunks: 2, messages: 25 };

    fn lane(load: Load) -> (Lane, Instant) {
        let began = Instant::now();
        let load = Load { partitions: 1, connections: 1, ..load };
        (Lane::new(&load, load.window(began), 0, LIMITS), began)
    }

    #[test]
    fn as_fast_as_it_goes_is_whole_chunks_with_a_bound() {
        let (mut lane, began) = lane(Load::of(128, Size::Short));
        assert_eq!([0; 3].map(|_| lane.take(began).len()), [10, 10, 0], "two chunks at most");
        lane.stored(20);
        assert_eq!(lane.take(began).len(), 0, "no room for a whole chunk");
        lane.answered(5);
        assert_eq!(lane.take(began).len(), 10);
        lane.stored(29);
        lane.answered(25);
        assert!(!lane.is_settled(), "stored is not all");
        lane.stored(30);
        assert!(lane.is_settled());
        assert_eq!(lane.take(lane.window.closes()).len(), 0);
    }

    #[test]
    fn at_a_rate_what_is_due_is_sent_however_late() {
        let (mut lane, began) = lane(Load::of(128, Size::Short).at(1_000.0));
        let ms = |ms| began + Duration::from_millis(ms);
        assert_eq!(lane.take(began).len(), 1);
        assert_eq!((lane.take(began).len(), lane.wake()), (0, ms(1)));
        let late = lane.take(ms(5));
        assert_eq!((late.len(), payload::id(&late[0])), (5, Some(1)));
        assert_eq!(lane.intended(1, ms(5)), ms(1));
    }
}
