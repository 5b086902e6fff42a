//! The task that brings one partition's batches to the broker, over a stream of its own.
//!
//! ```text
//! queue ─▶ encode with the next sequence ─▶ window ─▶ publish stream ─▶ broker
//!                                             ▲            │ lost, or "later"
//!                                             └── again ───┘ same bytes, same order
//! ```
//! Promises: order of sends is order of sequences, through every retry; one slow partition delays
//! no other; a batch whose deadline passes, or that the broker refuses for good, takes those behind
//! it along, and what follows travels under a new producer id.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, warn};
use weir_wire::fault::{Action, Fault};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, Timestamp, TopicName};
use weir_wire::proto::{self, client_frame, publish_answer, server_frame};
use weir_wire::record_batch::Compression;
use weir_wire::verdict::Verdicts;

use super::batch;
use super::delivery::Judgement;
use super::queue::Queue;
use super::window::Window;
use crate::backoff::Backoff;
use crate::call::{self, Identity};
use crate::error::ClientError;
use crate::frames::{self, StreamError};
use crate::link::Link;

/// A lane without work gives its stream back: the broker grants a limited number.
const IDLE_STREAM: Duration = Duration::from_secs(2);

/// What a lane needs.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) link: Arc<Link>,
    pub(super) topic: TopicName,
    pub(super) partition: PartitionId,
    pub(super) mode: proto::PublishMode,
    pub(super) compression: Compression,
    /// Batches without an answer at most.
    pub(super) window_max: usize,
    pub(super) queue: Arc<Queue>,
    /// `None` after a life that ended with a gap.
    pub(super) identity: Option<Identity>,
    pub(super) window: Window,
}

/// Why a stream is no longer used.
enum Pause {
    /// No work; or the producer was closed and all is answered.
    Idle,
    /// The same again, later.
    Retry(ClientError),
    /// The broker refuses the front for good.
    Refused(ClientError),
    /// The front's deadline passed.
    Late,
}

impl Lane {
    /// Runs until the queue is closed and everything is answered.
    pub(super) async fn run(mut self) {
        let mut backoff = Backoff::default();
        loop {
            if self.window.is_empty() && !self.admit_next().await {
                return;
            }
            match self.publish(&mut backoff).await {
                Pause::Idle => {}
                Pause::Retry(why) => {
                    let wait = backoff.after_failure(why.retry_after_ms());
                    debug!(partition = %self.partition, error = %why, ?wait, "publishing paused; sending again");
                    self.window.interrupted(&why);
                    let again = Instant::now() + wait;
                    sleep_until(self.window.deadline().map_or(again, |late| late.min(again))).await;
                }
                Pause::Refused(why) => self.give_up(Some(why)),
                Pause::Late => self.give_up(None),
            }
        }
    }

    /// Moves the next batch from the queue into the window; `false` when there will be none.
    async fn admit_next(&mut self) -> bool {
        let Some(waiting) = self.queue.next().await else { return false };
        self.admit(waiting).await;
        true
    }

    async fn admit(&mut self, waiting: super::queue::Waiting) {
        let identity = match self.identity {
            Some(identity) => identity,
            None => match call::init_producer(&self.link, waiting.deadline).await {
                Ok(identity) => *self.identity.insert(identity),
                Err(why) => return waiting.ticket.resolve(Err(why)),
            },
        };
        match batch::encode(&waiting.events, self.compression, identity, self.window.next_sequence()) {
            Ok(bytes) => self.window.admit(bytes, waiting),
            // It has no sequence yet, so nothing behind it has to suffer.
            Err(why) => waiting.ticket.resolve(Err(why)),
        }
    }

    fn give_up(&mut self, answer: Option<ClientError>) {
        let why = self.window.give_up(answer);
        warn!(
            topic = %self.topic, partition = %self.partition, error = %why,
            "a batch failed for good; those behind it fail too, and a new producer id follows"
        );
        self.queue.fail(&why);
        self.identity = None;
    }

    /// One stream's life: everything in the window again, then what comes.
    async fn publish(&mut self, backoff: &mut Backoff) -> Pause {
        let Some(deadline) = self.window.deadline() else { return Pause::Idle };
        let (mut send, receive) = match self.link.open(deadline).await {
            Ok(streams) => streams,
            Err(why) if why.is_retryable() => return Pause::Retry(why),
            Err(why) => return Pause::Refused(why),
        };
        let (answers_in, mut answers) = mpsc::channel(self.window_max);
        // Answers are read beside the writing: a broker that waits for us to read would otherwise
        // never read what we write. Dropping the set ends the task.
        let mut reader = JoinSet::new();
        reader.spawn(read_answers(receive, answers_in));
        loop {
            while let Some(bytes) = self.window.write_next() {
                let late = self.window.deadline().unwrap_or(deadline);
                match timeout_at(late, self.write(&mut send, bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Pause::Retry(self.lost(&error)),
                    Err(_) => return Pause::Late,
                }
            }
            let has_room = self.window.len() < self.window_max;
            let wake_at = self.window.deadline().unwrap_or_else(|| Instant::now() + IDLE_STREAM);
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(Ok(answer)) => match self.take_answer(answer) {
                        Ok(()) => backoff.reset(),
                        Err(pause) => return pause,
                    },
                    Some(Err(error)) => return Pause::Retry(self.lost(&error)),
                    None => return Pause::Retry(ClientError::Unknown),
                },
                waiting = self.queue.next(), if has_room => match waiting {
                    Some(waiting) => self.admit(waiting).await,
                    None if self.window.is_empty() => {
                        // All is answered; the broker may forget the stream whenever it likes.
                        let _ = send.finish();
                        return Pause::Idle;
                    }
                    // Closed: nothing more comes, answers are still due.
                    None => match self.last_answers(&mut answers).await {
                        Ok(()) => {}
                        Err(pause) => return pause,
                    },
                },
                () = sleep_until(wake_at) => {
                    if !self.window.is_empty() {
                        return Pause::Late;
                    }
                    let _ = send.finish();
                    return Pause::Idle;
                }
            }
        }
    }
}
