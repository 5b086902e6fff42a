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

use quinn::RecvStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, warn};
use weir_wire::fault::{Action, Fault};
use weir_wire::ids::{ChainRevision, Offset, PartitionId, Timestamp, TopicName};
use weir_wire::proto::{self, client_frame, publish_answer, server_frame};
use weir_wire::record_batch::{BatchBuilder, Compression};
use weir_wire::verdict::Verdicts;

use super::delivery::{Circumstances, Judgement};
use super::queue::{Queue, Waiting};
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
    /// Its buffer serves every batch.
    pub(super) builder: BatchBuilder,
}

/// Why a stream is no longer used.
enum Pause {
    /// No work; or the producer was closed and all is answered.
    Idle,
    /// The same again, later.
    Retry(ClientError),
    /// The broker refuses the front for good.
    Refused(ClientError),
    /// No further batch can be sent, which says nothing of those that were.
    Broken(ClientError),
    /// The front's deadline passed.
    Late,
}

impl Lane {
    /// Runs until the queue is closed and everything is answered.
    pub(super) async fn run(mut self) {
        let mut backoff = self.link.backoff();
        loop {
            if self.window.is_empty() {
                match self.queue.next().await {
                    Some(waiting) => self.admit(waiting).await,
                    None => return,
                }
            }
            if self.window.deadline().is_some_and(|late| late <= Instant::now()) {
                self.give_up(None);
                continue;
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
                Pause::Broken(why) => {
                    self.window.interrupted(&why);
                    self.give_up(None);
                }
                Pause::Late => self.give_up(None),
            }
        }
    }

    async fn admit(&mut self, waiting: Waiting) {
        let identity = match self.identity {
            Some(identity) => identity,
            None => match call::init_producer(&self.link, waiting.deadline).await {
                Ok(identity) => *self.identity.insert(identity),
                // It has no sequence yet, so nothing behind it has to suffer.
                Err(why) => return waiting.ticket.resolve(Err(why)),
            },
        };
        let sequence = self.window.next_sequence();
        self.builder.set_producer(identity.id, identity.epoch, sequence);
        waiting.events.iter().for_each(|event| self.builder.push(&event.as_record()));
        self.window.admit(self.builder.finish(self.compression), waiting);
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
            Err(why) => return Pause::Broken(why),
        };
        let (answers_in, mut answers) = mpsc::channel(self.window_max);
        // Answers are read beside the writing: a broker that waits for us to read would otherwise
        // never read what we write. Dropping the set ends the task.
        let mut reader = JoinSet::new();
        reader.spawn(read_answers(receive, answers_in));
        let queue = self.queue.clone();
        let mut is_closed = false;
        loop {
            while let Some((correlation, bytes, consumed)) = self.window.write_next() {
                let late = self.window.deadline().unwrap_or(deadline);
                let request = self.request(correlation, consumed);
                match timeout_at(late, frames::write(&mut send, request, bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return self.lost(error),
                    Err(_) => return Pause::Late,
                }
            }
            if is_closed && self.window.is_empty() {
                // All is answered; the broker may forget the stream whenever it likes.
                let _ = send.finish();
                return Pause::Idle;
            }
            let has_room = self.window.len() < self.window_max;
            let wake_at = self.window.deadline().unwrap_or_else(|| Instant::now() + IDLE_STREAM);
            tokio::select! {
                answer = answers.recv() => match answer {
                    Some(Ok(answer)) => match self.take_answer(answer) {
                        Ok(()) => backoff.reset(),
                        Err(pause) => return pause,
                    },
                    Some(Err(error)) => return self.lost(error),
                    None => return self.lost(StreamError::Lost("its reader ended".to_owned())),
                },
                waiting = queue.next(), if has_room && !is_closed => match waiting {
                    Some(waiting) => self.admit(waiting).await,
                    None => is_closed = true,
                },
                () = sleep_until(wake_at) => {
                    if self.window.is_empty() {
                        let _ = send.finish();
                        return Pause::Idle;
                    }
                    return Pause::Late;
                }
            }
        }
    }

    fn request(&self, correlation: u64, consumed: Option<proto::Consumed>) -> client_frame::Kind {
        client_frame::Kind::Publish(proto::PublishRequest {
            correlation,
            topic: self.topic.to_string(),
            partition: self.partition.0,
            mode: self.mode.into(),
            consumed,
        })
    }

    fn lost(&self, error: StreamError) -> Pause {
        match error {
            StreamError::Lost(reason) => Pause::Retry(self.link.unreachable(&reason)),
            StreamError::Protocol(reason) => Pause::Broken(ClientError::Protocol(reason)),
        }
    }

    fn take_answer(&mut self, answer: server_frame::Kind) -> Result<(), Pause> {
        let broken = |what: &str| Pause::Broken(ClientError::Protocol(what.to_owned()));
        let answer = match answer {
            server_frame::Kind::Publish(answer) => answer,
            server_frame::Kind::Fault(fault) => {
                // The broker stopped at the front. A retry may find it judged all the same.
                let fault = Fault::from(fault);
                return Err(match fault.action() {
                    Action::Retry | Action::GoElsewhere => Pause::Retry(fault.into()),
                    Action::Fix | Action::Stop => Pause::Refused(fault.into()),
                });
            }
            _ => return Err(broken("a publish stream answered with another kind of frame")),
        };
        let Some((correlation, events)) = self.window.front() else {
            return Err(broken("a publish answer came without a question"));
        };
        if answer.correlation != correlation {
            return Err(broken("publish answers came out of order"));
        }
        match answer.result {
            Some(publish_answer::Result::Judged(judged)) => {
                match judgement(self.partition, events, judged) {
                    Some(judgement) => self.window.judged(judgement),
                    None => return Err(broken("a publish answer has other events than the batch")),
                }
            }
            Some(publish_answer::Result::Fault(fault)) => {
                let fault = Fault::from(fault);
                return Err(match fault.action() {
                    Action::Retry | Action::GoElsewhere => {
                        self.window.refused(&fault);
                        Pause::Retry(fault.into())
                    }
                    Action::Fix | Action::Stop => Pause::Refused(fault.into()),
                });
            }
            None => return Err(broken("a publish answer is empty")),
        }
        Ok(())
    }
}

/// What the broker said of a batch of `events`; `None` if it speaks of another number.
fn judgement(partition: PartitionId, events: u32, judged: proto::Judged) -> Option<Judgement> {
    let verdicts = Verdicts::from_proto(judged.verdicts?, events).ok()?;
    if verdicts.len() != events {
        return None;
    }
    let durability = proto::Durability::try_from(judged.durability).ok()?;
    Some(Judgement::new(
        &verdicts,
        Offset(judged.first_offset),
        Circumstances {
            partition,
            partition_time: Timestamp(judged.partition_time_ms),
            chain_revision: ChainRevision(judged.chain_revision),
            is_durable: durability == proto::Durability::Durable,
            is_duplicate: judged.duplicate,
            is_consumed: judged.consumed,
        },
    ))
}

/// Hands over each answer, then why there are no more.
async fn read_answers(
    mut receive: RecvStream,
    answers: mpsc::Sender<Result<server_frame::Kind, StreamError>>,
) {
    loop {
        let answer = match frames::read(&mut receive).await {
            Ok(Some((answer, _))) => Ok(answer),
            Ok(None) => Err(StreamError::Lost("the broker ended the stream".to_owned())),
            Err(error) => Err(error),
        };
        let is_over = answer.is_err();
        // The lane is gone when nobody receives; then the answer has no reader.
        if answers.send(answer).await.is_err() || is_over {
            return;
        }
    }
}
