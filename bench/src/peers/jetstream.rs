//! NATS JetStream alone: publish, and hear that it is stored. No rule looks at anything.
//!
//! Each lane has a stream and a connection of its own: an expert shards what one stream cannot take, and
//! syncs of several streams go on side by side.

use std::time::Instant;

use futures::future::BoxFuture;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep_until};

use super::nats::lane::Lane;
use super::nats::publisher::{self, Answers, Publisher, Way};
use super::nats::server::Server;
use super::nats::{connect, create_stream, delete_stream};
use crate::load::Fsync;
use crate::load::{Load, Setting, Subject};
use crate::measure::{Measured, Tally, Window, reset_memory_peak, watch};

/// How long the rest of the answers may take when nothing more is sent.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A server, and how it is published to.
pub struct JetStream {
    server: Server,
    way: Way,
    runs: u32,
}

impl JetStream {
    /// Starts a server.
    pub async fn start(setting: &Setting, fsync: Fsync, way: Way) -> Result<Self, String> {
        Ok(Self { server: Server::start(setting, fsync).await?, way, runs: 0 })
    }

    async fn measure(&mut self, load: &Load) -> Result<Measured, String> {
        self.runs += 1;
        let limits = self.way.alone();
        let load = &limits.share(load);
        let mut lanes = Vec::new();
        for lane in 0..load.lanes() {
            let client = connect(self.server.url()).await?;
            let stream = format!("IN-{}-{lane}", self.runs);
            create_stream(&client, &stream).await?;
            let (publisher, answers) = publisher::open(&client, &stream, self.way).await?;
            lanes.push((lane, stream, client, publisher, answers));
        }
        let pid = self.server.pid()?;
        reset_memory_peak(pid);
        let window = load.window(Instant::now());
        let usage = tokio::spawn(watch(window, vec![pid]));
        let mut running = JoinSet::new();
        for (lane, stream, client, publisher, answers) in lanes {
            let state = Lane::new(load, window, lane, limits);
            let tally = Tally::new(window, load.is_paced());
            running.spawn(async move {
                let tally = publish(state, tally, publisher, answers).await?;
                delete_stream(&client, &stream).await.map(|()| tally)
            });
        }
        let tally = gather(running, &window, load).await?;
        let usage = usage.await.map_err(|error| error.to_string())??;
        Ok(Measured::of(&window, tally, Some(usage), load.event_bytes))
    }
}

impl Subject for JetStream {
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>> {
        Box::pin(self.measure(load))
    }
}

/// Adds up what lanes counted; the first that failed ends it.
pub async fn gather(
    mut running: JoinSet<Result<Tally, String>>,
    window: &Window,
    load: &Load,
) -> Result<Tally, String> {
    let mut all = Tally::new(*window, load.is_paced());
    while let Some(lane) = running.join_next().await {
        all.add(&lane.map_err(|error| error.to_string())??);
    }
    Ok(all)
}

async fn publish(
    mut lane: Lane,
    mut tally: Tally,
    mut publisher: Publisher,
    mut answers: Answers,
) -> Result<Tally, String> {
    let mut stored = 0;
    loop {
        let payloads = lane.take(Instant::now());
        if !payloads.is_empty() {
            publisher.send(payloads).await?;
        }
        let is_over = lane.is_over(Instant::now());
        if is_over && lane.is_settled() {
            return Ok(tally);
        }
        let answered = tokio::select! {
            answered = answers.next() => answered?,
            () = sleep_until(lane.wake().into()), if !is_over => continue,
            () = tokio::time::sleep(SETTLE_TIMEOUT), if is_over => {
                return Err(format!("JetStream did not answer for what came after event {stored}"));
            }
        };
        let now = Instant::now();
        (stored..answered).for_each(|id| tally.answered(lane.intended(id, now), now, false));
        lane.stored(answered);
        lane.answered(answered - stored);
        stored = answered;
    }
}
