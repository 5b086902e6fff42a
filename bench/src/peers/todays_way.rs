//! Today's way to publish under a rule: a stream of what was sent, a service that reads and judges it,
//! streams of what it let pass and of what it refused, and a publisher who reads those to hear of its own.
//!
//! ```text
//! load ══▶ IN ══▶ service: so many per user and day ══▶ OUT      ══▶ load
//!                                                   ══▶ REFUSED  ══▶ load
//! ```
//! Promises: at least once, nothing lost: the service acknowledges what it read after the streams have
//! what became of it. Not here, since this way does not have it: counts that survive the service, or that
//! count an event once when it is delivered again. weir's are durable and exact.

use std::process::Stdio;
use std::time::Instant;

use async_nats::jetstream::consumer::pull;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep, sleep_until, timeout};

use super::jetstream::gather;
use super::nats::lane::Lane;
use super::nats::publisher::{self, Answers, Publisher, Way};
use super::nats::server::Server;
use super::nats::{Acks, connect, create_stream, delete_stream, payload, read};
use super::todays_service::READY;
use crate::load::Fsync;
use crate::load::{Events, Load, Setting, Subject};
use crate::measure::{Measured, Tally, reset_memory_peak, watch};

/// How long the service may take to read: it connects and asks for messages.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the rest of the verdicts may take when nothing more is sent.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Verdicts that are taken as come at one moment.
const VERDICTS_PER_LOOK: usize = 64;

/// A server, and how it is published to.
pub struct TodaysWay {
    server: Server,
    way: Way,
    /// Events of a key a day.
    limit: u64,
    runs: u32,
}

impl TodaysWay {
    /// Starts a server; the service comes with each run.
    pub async fn start(
        setting: &Setting,
        fsync: Fsync,
        way: Way,
        limit: u64,
    ) -> Result<Self, String> {
        Ok(Self { server: Server::start(setting, fsync).await?, way, limit, runs: 0 })
    }

    async fn measure(&mut self, load: &Load) -> Result<Measured, String> {
        self.runs += 1;
        let limits = self.way.with_service();
        let load = &limits.share(load);
        let streams: Vec<String> =
            (0..load.lanes()).map(|lane| format!("{}-{lane}", self.runs)).collect();
        let admin = connect(self.server.url()).await?;
        for stream in every(&streams) {
            create_stream(&admin, &stream).await?;
        }
        let mut service = self.serve(&streams).await?;
        let mut roads = Vec::new();
        for stream in &streams {
            let client = connect(self.server.url()).await?;
            let (publisher, stored) =
                publisher::open(&client, &format!("IN-{stream}"), self.way).await?;
            let passed = read(&client, &format!("OUT-{stream}"), Acks::None).await?;
            let refused = read(&client, &format!("REFUSED-{stream}"), Acks::None).await?;
            roads.push(Road { publisher, stored, passed, refused });
        }
        let pids = [self.server.pid()?, service.id().ok_or("the service ended at once")?];
        pids.into_iter().for_each(reset_memory_peak);
        let window = load.window(Instant::now());
        let usage = tokio::spawn(watch(window, pids.to_vec()));
        let mut running = JoinSet::new();
        for (lane, road) in (0..).zip(roads) {
            let keys = u64::from(Events::of_lane(load, lane).keys());
            let state = Lane::new(load, window, lane, limits);
            let tally = Tally::new(window, load.is_paced());
            // Keys come in turns, so the first so many rounds pass and nothing else.
            let passing = keys.saturating_mul(self.limit);
            running.spawn(publish(state, tally, road, passing));
        }
        // It ends when this is closed, and waiting for it would close it.
        let stdin = service.stdin.take();
        let tally = tokio::select! {
            tally = gather(running, &window, load) => tally?,
            _ = service.wait() => return Err("the service ended; its reason is above".into()),
        };
        let usage = usage.await.map_err(|error| error.to_string())??;
        drop((stdin, service));
        for stream in every(&streams) {
            delete_stream(&admin, &stream).await?;
        }
        Ok(Measured::of(&window, tally, Some(usage), load.event_bytes))
    }

    /// Starts the service. It ends when it is dropped.
    async fn serve(&self, streams: &[String]) -> Result<Child, String> {
        let cannot = |error: std::io::Error| format!("cannot start the service: {error}");
        let mut service = Command::new(std::env::current_exe().map_err(cannot)?)
            .arg("todays-service")
            .args(["--server", self.server.url(), "--way", self.way.name()])
            .args(["--limit", &self.limit.to_string()])
            .args(streams)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        let stdout = service.stdout.take().ok_or("the service says nothing")?;
        let mut lines = BufReader::new(stdout).lines();
        match timeout(READY_TIMEOUT, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == READY => Ok(service),
            _ => Err("the service did not become ready; its reason is above".into()),
        }
    }
}

impl Subject for TodaysWay {
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>> {
        Box::pin(self.measure(load))
    }
}

/// All streams of these names.
fn every(streams: &[String]) -> impl Iterator<Item = String> {
    let of = |stream: &String| ["IN", "OUT", "REFUSED"].map(|kind| format!("{kind}-{stream}"));
    streams.iter().flat_map(of)
}

/// What a lane has to do with the server.
struct Road {
    publisher: Publisher,
    stored: Answers,
    passed: pull::Stream,
    refused: pull::Stream,
}

/// Sends a lane's events, and hears of each what became of it: the first `passing` pass.
async fn publish(
    mut lane: Lane,
    mut tally: Tally,
    road: Road,
    passing: u64,
) -> Result<Tally, String> {
    let Road { mut publisher, mut stored, passed, refused } = road;
    let mut passed = passed.ready_chunks(VERDICTS_PER_LOOK);
    let mut refused = refused.ready_chunks(VERDICTS_PER_LOOK);
    // Ids come in the order in which they were sent, first those that pass: none is lost, none twice.
    let (mut next_passed, mut next_refused) = (0, passing);
    loop {
        let payloads = lane.take(Instant::now());
        if !payloads.is_empty() {
            publisher.send(payloads).await?;
        }
        let is_over = lane.is_over(Instant::now());
        if is_over && lane.is_settled() {
            return Ok(tally);
        }
        let (verdicts, next, is_refused) = tokio::select! {
            stored = stored.next() => {
                lane.stored(stored?);
                continue;
            }
            Some(verdicts) = passed.next() => (verdicts, &mut next_passed, false),
            Some(verdicts) = refused.next() => (verdicts, &mut next_refused, true),
            () = sleep_until(lane.wake().into()), if !is_over => continue,
            () = sleep(SETTLE_TIMEOUT), if is_over => {
                return Err(format!("event {next_passed} did not come to OUT, nor {next_refused} to REFUSED"));
            }
        };
        let now = Instant::now();
        lane.answered(verdicts.len() as u64);
        for verdict in verdicts {
            let verdict = verdict.map_err(|error| format!("cannot read verdicts: {error}"))?;
            let id = payload::id(&verdict.payload);
            if id != Some(*next) || (!is_refused && passing <= *next) {
                return Err(format!("a verdict of event {id:?} where that of {next} was due"));
            }
            tally.answered(lane.intended(*next, now), now, is_refused);
            *next += 1;
        }
    }
}
