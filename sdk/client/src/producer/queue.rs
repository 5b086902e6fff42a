//! Where a partition's events wait to be sent: the batch that is being filled, and full ones.
//!
//! Promises: bounded in bytes; order of `offer` is the order of `next`; a full queue makes the
//! sender wait, nobody else. Not here: sequences, sockets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use weir_wire::proto;
use weir_wire::record_batch::Event;

use super::delivery::{Delivery, Ticket};
use crate::error::ClientError;

/// Full batches that wait for a place in the window: one in work, one waiting. More only hides a
/// slow broker from the sender.
const FULL_BATCHES_MAX: usize = 2;
/// What an event costs in a batch beside its bytes: lengths, deltas, offsets.
const EVENT_OVERHEAD_BYTES: usize = 32;

/// When a batch is ready to go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filling {
    /// Bytes of its events.
    pub(super) batch_bytes: usize,
    /// Events.
    pub(super) batch_events: usize,
    /// How long the first event may wait for company.
    pub(super) linger: Duration,
    /// How long the first event may take to be answered.
    pub(super) delivery_timeout: Duration,
}

/// Events that travel together.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) events: Vec<Event>,
    pub(super) ticket: Ticket,
    /// What they were made from, if that is to be committed with them.
    pub(super) consumed: Option<proto::Consumed>,
    /// When the sender gives up.
    pub(super) deadline: Instant,
    bytes: usize,
    ripe_at: Instant,
}

/// The queue of one partition: any number of senders, one lane.
#[derive(Debug)]
pub(super) struct Queue {
    filling: Filling,
    inside: Mutex<Inside>,
    /// A batch became ready, or may become so with time.
    work: Notify,
    /// A place became free.
    room: Notify,
}

#[derive(Debug, Default)]
struct Inside {
    open: Option<Waiting>,
    full: VecDeque<Waiting>,
    /// The open batch goes without waiting for company.
    is_flushing: bool,
    is_closed: bool,
    /// Resolves after everything offered so far.
    last: Option<Delivery>,
}

enum Next {
    Batch(Waiting),
    At(Instant),
    Later,
    Never,
}

impl Queue {
    pub(super) fn new(filling: Filling) -> Self {
        Self { filling, inside: Mutex::default(), work: Notify::new(), room: Notify::new() }
    }

    /// Adds an event; waits while there is no room.
    pub(super) async fn send(&self, event: Event, bytes: usize) -> Result<Delivery, ClientError> {
        // Mostly there is room, and nothing to be registered for.
        let mut event = match self.offer(event, bytes)? {
            Ok(delivery) => return Ok(delivery),
            Err(back) => back,
        };
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the look, so that a place that becomes free in between is heard.
            room.as_mut().enable();
            match self.offer(event, bytes)? {
                Ok(delivery) => return Ok(delivery),
                Err(back) => event = back,
            }
            room.await;
        }
    }

    /// Adds an event, or hands it back when there is no room.
    fn offer(&self, event: Event, bytes: usize) -> Result<Result<Delivery, Event>, ClientError> {
        let bytes = bytes + EVENT_OVERHEAD_BYTES;
        let mut inside = self.lock();
        if inside.is_closed {
            return Err(ClientError::Closed);
        }
        let is_full = |open: &Waiting| {
            self.filling.batch_bytes < open.bytes + bytes
                || open.events.len() == self.filling.batch_events
        };
        if inside.open.as_ref().is_some_and(is_full) {
            if inside.full.len() == FULL_BATCHES_MAX {
                return Ok(Err(event));
            }
            let full = inside.open.take();
            inside.full.extend(full);
            self.work.notify_one();
        }
        let open = inside.open.get_or_insert_with(|| {
            // The lane has to learn when this one is ripe.
            self.work.notify_one();
            let now = Instant::now();
            Waiting {
                events: Vec::new(),
                ticket: Ticket::default(),
                consumed: None,
                deadline: now + self.filling.delivery_timeout,
                bytes: 0,
                ripe_at: now + self.filling.linger,
            }
        });
        let index = u32::try_from(open.events.len()).expect("a batch has 10,000 events at most");
        let delivery = open.ticket.delivery(index);
        open.events.push(event);
        open.bytes += bytes;
        if index == 0 {
            inside.last = Some(delivery.twin());
        }
        Ok(Ok(delivery))
    }

    /// Adds events that are one batch by themselves; waits while there is no room. Gives a delivery for
    /// each.
    pub(super) async fn send_whole(
        &self,
        events: Vec<Event>,
        bytes: usize,
        consumed: proto::Consumed,
    ) -> Result<Vec<Delivery>, ClientError> {
        let now = Instant::now();
        let mut batch = Waiting {
            bytes: bytes + events.len() * EVENT_OVERHEAD_BYTES,
            events,
            ticket: Ticket::default(),
            consumed: Some(consumed),
            deadline: now + self.filling.delivery_timeout,
            ripe_at: now,
        };
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // As in `send`.
            room.as_mut().enable();
            match self.offer_whole(batch)? {
                Ok(deliveries) => return Ok(deliveries),
                Err(back) => batch = *back,
            }
            room.await;
        }
    }

    /// Adds a batch behind the one that is being filled, or hands it back when there is no room.
    fn offer_whole(
        &self,
        batch: Waiting,
    ) -> Result<Result<Vec<Delivery>, Box<Waiting>>, ClientError> {
        let mut inside = self.lock();
        if inside.is_closed {
            return Err(ClientError::Closed);
        }
        let places = 1 + usize::from(inside.open.is_some());
        if FULL_BATCHES_MAX < inside.full.len() + places {
            return Ok(Err(Box::new(batch)));
        }
        let open = inside.open.take();
        inside.full.extend(open);
        let count = u32::try_from(batch.events.len()).expect("a batch has 10,000 events at most");
        let deliveries: Vec<_> = (0..count).map(|index| batch.ticket.delivery(index)).collect();
        inside.last = deliveries.first().map(Delivery::twin);
        inside.full.push_back(batch);
        self.work.notify_one();
        Ok(Ok(deliveries))
    }

    /// Waits for the next batch that is ready; `None` once the queue is closed and empty.
    /// Nothing is lost when this future is dropped.
    pub(super) async fn next(&self) -> Option<Waiting> {
        loop {
            match self.take(Instant::now()) {
                Next::Batch(batch) => {
                    self.room.notify_waiters();
                    return Some(batch);
                }
                Next::Never => return None,
                Next::Later => self.work.notified().await,
                Next::At(ripe) => tokio::select! {
                    () = self.work.notified() => {}
                    () = sleep_until(ripe) => {}
                },
            }
        }
    }

    fn take(&self, now: Instant) -> Next {
        let mut inside = self.lock();
        if let Some(full) = inside.full.pop_front() {
            return Next::Batch(full);
        }
        let Some(open) = inside.open.take() else {
            inside.is_flushing = false;
            return if inside.is_closed { Next::Never } else { Next::Later };
        };
        if open.ripe_at <= now || inside.is_flushing || inside.is_closed {
            inside.is_flushing = false;
            return Next::Batch(open);
        }
        let ripe = open.ripe_at;
        inside.open = Some(open);
        Next::At(ripe)
    }

    /// Sends what waits without further company; the delivery resolves after all of it.
    pub(super) fn flush(&self) -> Option<Delivery> {
        let mut inside = self.lock();
        inside.is_flushing = inside.open.is_some();
        self.work.notify_one();
        inside.last.as_ref().map(Delivery::twin)
    }

    /// Takes no more events; what waits is still sent.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_one();
        self.room.notify_waiters();
    }

    /// Answers everything that waits with `error`.
    pub(super) fn fail(&self, error: &ClientError) {
        let mut inside = self.lock();
        let open = inside.open.take();
        for batch in inside.full.drain(..).chain(open) {
            batch.ticket.resolve(Err(error.clone()));
        }
        self.room.notify_waiters();
    }

    /// A panic elsewhere leaves no batch half queued: each change above is one assignment.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
