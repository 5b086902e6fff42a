//! Publishing to one stream, as fast as its client can: many messages under way, answers read apart
//! from sending, by one subscription and without a map of who waits for what.

use async_nats::{Client, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt as _;

use super::protocol::{
    ATOMIC_BATCH_MAX, Answer, atomic_headers, fast_answer, fast_reply, ordinal_answer,
    ordinal_reply,
};
use crate::load::Load;

/// How messages are put into a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Each alone, answered alone; thousands under way.
    Async,
    /// In atomic batches: what is there to be sent is one batch, answered as a whole.
    Atomic,
    /// In fast batches: stored as they come, answered for together.
    Fast,
}

impl Way {
    /// All of them.
    pub const ALL: [Way; 3] = [Way::Async, Way::Atomic, Way::Fast];

    /// How it is used where nothing but publishing is asked of the server.
    pub fn alone(self) -> Limits {
        match self {
            Way::Async | Way::Fast => {
                Limits { streams: 1, chunk: 500, chunks: 40, messages: 5_000 }
            }
            Way::Atomic => {
                Limits { streams: 4, chunk: ATOMIC_BATCH_MAX, chunks: 2, messages: 10_000 }
            }
        }
    }

    /// How it is used where a service publishes again what it read: the bound is on what has no verdict.
    pub fn with_service(self) -> Limits {
        match self {
            Way::Async | Way::Fast => self.alone(),
            Way::Atomic => Limits { messages: 20_000, ..self.alone() },
        }
    }

    /// As notes and command lines name it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Async => "async",
            Way::Atomic => "atomic",
            Way::Fast => "fast",
        }
    }
}

/// How much is under way at once. The best of what was tried in November 2026 on two busy cores: one, two
/// and four streams, batches of 100 to 10,000, 2,000 to 60,000 messages.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Streams that share the events, each with a connection. An atomic batch is some syncs one after
    /// another, and those of several streams go on side by side; otherwise one stream is as fast as four.
    pub streams: u32,
    /// Messages that are sent in one go.
    pub chunk: usize,
    /// Of those without an answer of the stream. Few batches at once are large ones.
    pub chunks: usize,
    /// Messages without an answer.
    pub messages: u64,
}

impl Limits {
    /// The load as so many lanes.
    pub fn share(&self, load: &Load) -> Load {
        Load { partitions: self.streams, connections: self.streams, ..*load }
    }
}

/// The sending half. Ordinals count messages from 0.
pub struct Publisher {
    client: Client,
    subject: Subject,
    way: Way,
    inbox: String,
    sent: u64,
    batches: u64,
}

/// The half that hears what is stored.
pub struct Answers {
    subscriber: Subscriber,
    way: Way,
    stored: u64,
}

/// Opens both.
pub async fn open(
    client: &Client,
    subject: &str,
    way: Way,
) -> Result<(Publisher, Answers), String> {
    let inbox = client.new_inbox();
    let subscriber = client
        .subscribe(format!("{inbox}.>"))
        .await
        .map_err(|error| format!("cannot subscribe to {inbox}: {error}"))?;
    let publisher = Publisher {
        client: client.clone(),
        subject: Subject::from(subject.to_owned()),
        way,
        inbox,
        sent: 0,
        batches: 0,
    };
    Ok((publisher, Answers { subscriber, way, stored: 0 }))
}

impl Publisher {
    /// Sends all of them; says how many were ever sent.
    pub async fn send(&mut self, payloads: Vec<Bytes>) -> Result<u64, String> {
        let sent = match self.way {
            Way::Async => self.send_async(payloads).await,
            Way::Atomic => self.send_atomic(payloads).await,
            Way::Fast => self.send_fast(payloads).await,
        };
        sent.map_err(|error| format!("cannot publish to {}: {error}", self.subject))?;
        Ok(self.sent)
    }

    async fn send_async(&mut self, payloads: Vec<Bytes>) -> Result<(), async_nats::PublishError> {
        for payload in payloads {
            let reply = ordinal_reply(&self.inbox, self.sent);
            self.client.publish_with_reply(self.subject.clone(), reply, payload).await?;
            self.sent += 1;
        }
        Ok(())
    }

    /// Of a batch only the last message asks for an answer: the server answers for all of it, or
    /// says that something was amiss.
    async fn send_atomic(&mut self, payloads: Vec<Bytes>) -> Result<(), async_nats::PublishError> {
        assert!(payloads.len() <= ATOMIC_BATCH_MAX, "what is sent at once is one batch");
        let id = format!("{}-{}", self.inbox.trim_start_matches("_INBOX."), self.batches);
        self.batches += 1;
        let count = payloads.len();
        for (at, payload) in payloads.into_iter().enumerate() {
            let subject = self.subject.clone();
            let last = at + 1 == count;
            let headers = atomic_headers(&id, at + 1, last);
            if last {
                let reply = ordinal_reply(&self.inbox, self.sent);
                self.client
                    .publish_with_reply_and_headers(subject, reply, headers, payload)
                    .await?;
            } else {
                self.client.publish_with_headers(subject, headers, payload).await?;
            }
            self.sent += 1;
        }
        Ok(())
    }

    async fn send_fast(&mut self, payloads: Vec<Bytes>) -> Result<(), async_nats::PublishError> {
        let (first, count) = (self.sent, payloads.len());
        for (at, payload) in payloads.into_iter().enumerate() {
            let reply = fast_reply(&self.inbox, first, at, count);
            self.client.publish_with_reply(self.subject.clone(), reply, payload).await?;
            self.sent += 1;
        }
        Ok(())
    }
}

impl Answers {
    /// Waits until more is stored than before; says how many messages that is from the first one on.
    pub async fn next(&mut self) -> Result<u64, String> {
        loop {
            let Some(message) = self.subscriber.next().await else {
                return Err("the connection to nats-server is gone".into());
            };
            if let Some(status) = message.status {
                return Err(format!("nobody takes what is published: status {status}"));
            }
            let answer = match self.way {
                Way::Fast => fast_answer(&message.subject, &message.payload),
                Way::Async | Way::Atomic => ordinal_answer(&message.subject, &message.payload),
            };
            match answer {
                Answer::Refused(why) => return Err(why),
                Answer::Stored(stored) if stored > self.stored => {
                    // A stream answers in the order in which it stores.
                    if self.way == Way::Async && stored != self.stored + 1 {
                        return Err(format!("message {} was not answered for", self.stored));
                    }
                    self.stored = stored;
                    return Ok(stored);
                }
                Answer::Stored(_) | Answer::Listening => {}
            }
        }
    }
}
