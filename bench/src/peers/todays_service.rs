//! The service of today's way, a process of its own: reads events, counts, writes what it decided, and
//! acknowledges what it read when that is stored.
//!
//! Its counts are in its memory, and a restart begins anew: what that takes to mend (a table that is
//! written with the events, ids that are looked up) would only make it slower.

use std::collections::VecDeque;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::jetstream::{self, consumer::pull};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use tokio::io::AsyncReadExt as _;
use tokio::task::{JoinSet, unconstrained};

use super::counting::DailyLimit;
use super::nats::publisher::{self, Answers, Publisher, Way};
use super::nats::{Acks, connect, payload, read};

/// What it says when it reads.
pub const READY: &str = "ready";

/// Where it is to work, and how.
#[derive(Debug, Clone)]
pub struct Order {
    /// The server.
    pub server: String,
    /// The streams: `IN-…`, `OUT-…` and `REFUSED-…` of each.
    pub streams: Vec<String>,
    /// How it publishes.
    pub way: Way,
    /// Events of a key a day.
    pub limit: u64,
}

/// Works until its standard input is closed.
pub async fn serve(order: Order) -> Result<(), String> {
    let mut lanes = JoinSet::new();
    for stream in &order.streams {
        let client = connect(&order.server).await?;
        let input = read(&client, &format!("IN-{stream}"), Acks::All).await?;
        let out = publisher::open(&client, &format!("OUT-{stream}"), order.way).await?;
        let refused = publisher::open(&client, &format!("REFUSED-{stream}"), order.way).await?;
        let lane = Lane {
            rule: DailyLimit::new(order.limit),
            out: Output::new(out),
            refused: Output::new(refused),
            decided: VecDeque::new(),
        };
        lanes.spawn(lane.run(input, order.way));
    }
    println!("{READY}");
    std::io::stdout().flush().map_err(|error| error.to_string())?;
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    tokio::select! {
        _ = stdin.read(&mut byte) => Ok(()),
        Some(lane) = lanes.join_next() => lane.map_err(|error| error.to_string())?,
    }
}

/// A stream it writes to.
struct Output {
    publisher: Publisher,
    answers: Answers,
    sent: u64,
    stored: u64,
}

impl Output {
    fn new((publisher, answers): (Publisher, Answers)) -> Self {
        Self { publisher, answers, sent: 0, stored: 0 }
    }

    async fn send(&mut self, payloads: Vec<Bytes>) -> Result<(), String> {
        if !payloads.is_empty() {
            self.sent = self.publisher.send(payloads).await?;
        }
        Ok(())
    }
}

/// What was decided of a chunk, and is not stored yet.
struct Decided {
    /// Its last message: acknowledged, it stands for all before it.
    last: jetstream::Message,
    /// How far its outputs have to be stored before.
    out: u64,
    refused: u64,
}

/// One set of streams. Events of one key are in one of them, so lanes share no count.
struct Lane {
    rule: DailyLimit,
    out: Output,
    refused: Output,
    decided: VecDeque<Decided>,
}

impl Lane {
    async fn run(mut self, input: pull::Stream, way: Way) -> Result<(), String> {
        let limits = way.with_service();
        let mut input = input.ready_chunks(limits.chunk);
        loop {
            // Without tokio's budget, which would end each chunk after 128 messages.
            let next = unconstrained(input.next());
            tokio::select! {
                stored = self.out.answers.next() => self.out.stored = stored?,
                stored = self.refused.answers.next() => self.refused.stored = stored?,
                chunk = next, if self.decided.len() < limits.chunks => {
                    let chunk = chunk.ok_or("the stream of events ended")?;
                    let chunk: Result<Vec<_>, _> = chunk.into_iter().collect();
                    self.decide(chunk.map_err(|error| format!("cannot read events: {error}"))?).await?;
                }
            }
            self.acknowledge().await?;
        }
    }

    async fn decide(&mut self, chunk: Vec<jetstream::Message>) -> Result<(), String> {
        let now_ms = now_ms()?;
        let mut passed = Vec::with_capacity(chunk.len());
        let mut refused = Vec::new();
        let mut buffer = BytesMut::new();
        for message in &chunk {
            let event = &message.payload;
            let (Some(id), Some(key)) = (payload::id(event), payload::key(event)) else {
                return Err(format!("an event of {} bytes is none", event.len()));
            };
            if self.rule.admit(key, now_ms) {
                passed.push(event.clone());
            } else {
                refused.push(payload::write(&mut buffer, id, key, payload::OVER_LIMIT));
            }
        }
        self.out.send(passed).await?;
        self.refused.send(refused).await?;
        if let Some(last) = chunk.into_iter().next_back() {
            let (out, refused) = (self.out.sent, self.refused.sent);
            self.decided.push_back(Decided { last, out, refused });
        }
        Ok(())
    }

    async fn acknowledge(&mut self) -> Result<(), String> {
        let mut last = None;
        while let Some(decided) = self.decided.front()
            && decided.out <= self.out.stored
            && decided.refused <= self.refused.stored
        {
            last = self.decided.pop_front();
        }
        match last {
            Some(decided) => {
                let acknowledged = decided.last.ack().await;
                acknowledged.map_err(|error| format!("cannot acknowledge events: {error}"))
            }
            None => Ok(()),
        }
    }
}

fn now_ms() -> Result<u64, String> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map(|since| since.as_millis() as u64).map_err(|_| "the clock is before 1970".to_owned())
}
