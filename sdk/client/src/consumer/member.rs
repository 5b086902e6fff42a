//! The task of a group's member: joins, says what it holds, and reads what it is assigned.
//!
//! ```text
//! broker ══ Assignment ═▶ take: where to begin ─▶ reader per partition ─▶ the consumer's channel
//!        ◀═ Heartbeat ══  what it holds: all it reads, and what is leaving
//! ```
//! Promises: what is assigned to others is given to the caller no longer, and let go of only when
//! it is committed or its time is over; a member that the broker has not heard of for its session's
//! time gives nothing more, since others may read it by then; a goodbye ends when the broker has
//! given to others what was held.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};
use tracing::{debug, warn};
use weir_wire::fault::{Action, Code, Fault};
use weir_wire::ids::{GroupName, MemberId, Offset, PartitionId};
use weir_wire::proto::{self, client_frame, server_frame};

use super::options::{ConsumerOptions, From};
use super::progress::Reading;
use super::reader::{Reader, Ready, Source};
use super::start::starts;
use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::frames::{self, StreamError};

/// Words to the broker in one session's time: two may be late.
const HEARTBEATS_PER_SESSION: u32 = 3;
/// Frames of the broker that wait for the task: it tells news rarely, and answers heartbeats.
const FRAMES_MAX: usize = 8;
/// How long a goodbye may take: the broker writes it to its disk. Without it, the session's time
/// goes by.
const GOODBYE_WAIT: Duration = Duration::from_secs(5);

/// What a member needs.
pub(super) struct Member {
    pub(super) source: Arc<Source>,
    pub(super) group: GroupName,
    /// Where to end, if it ends.
    pub(super) ends: Option<BTreeMap<PartitionId, Offset>>,
    /// `None` when everything that was to be read is read.
    pub(super) ready: Option<mpsc::Sender<Ready>>,
}

/// A member at work.
struct Working {
    member: Member,
    /// The stream that is the membership, while there is one.
    stream: Option<Stream>,
    readers: JoinSet<()>,
    reading: BTreeMap<PartitionId, AbortHandle>,
    /// Where partitions begin is being asked for.
    starting: JoinSet<Result<Vec<Start>, ClientError>>,
    /// Every partition that was read once: the second time it goes on where the group is.
    seen: BTreeSet<PartitionId>,
    /// When the broker last said anything.
    heard: Instant,
    /// When we last asked to be a member.
    joined: Instant,
    /// Nothing is coming that others still hold.
    is_complete: bool,
}

/// Both directions of a membership.
struct Stream {
    send: SendStream,
    frames: mpsc::Receiver<Result<proto::Assignment, End>>,
    /// A task of its own: a frame that was half read must not be dropped for another's turn.
    _listening: JoinSet<()>,
}

/// A partition, its reading, and where that begins.
type Start = (PartitionId, Reading, Offset);

/// Why a session ended.
enum End {
    /// The same again, later.
    Lost(ClientError),
    /// The member is none any more.
    Fenced,
    /// Trying again would not help.
    Failed(ClientError),
}

impl Member {
    /// Runs until it is dropped, or told to `leave` and has left, or until an error that joining again cannot mend.
    pub(super) async fn run(self, leave: oneshot::Receiver<()>) {
        let mut working = Working {
            heard: Instant::now(),
            joined: Instant::now(),
            member: self,
            stream: None,
            readers: JoinSet::new(),
            reading: BTreeMap::new(),
            starting: JoinSet::new(),
            seen: BTreeSet::new(),
            is_complete: false,
        };
        let failure = tokio::select! {
            failure = working.sessions() => failure,
            // Told to, or nobody is left who could tell: then the task is about to be dropped.
            _ = leave => return working.say_goodbye().await,
        };
        working.lose_all();
        if let Some(ready) = working.member.ready.take() {
            // When nobody receives it, nobody wants to know.
            let _ = ready.send(Ready::Failed(failure)).await;
        }
    }
}

impl Working {
    /// One session after another, until an error that joining again cannot mend.
    async fn sessions(&mut self) -> ClientError {
        let outage_timeout = self.member.source.options.outage_timeout;
        let mut backoff = self.member.source.link.backoff();
        let mut outage_ends = Instant::now() + outage_timeout;
        loop {
            let before = self.heard;
            let end = self.session().await;
            self.stream = None;
            match end {
                End::Failed(why) => return why,
                End::Fenced => {
                    let Member { group, source, .. } = &self.member;
                    warn!(%group, topic = %source.topic,
                        "the group has gone on without this member; joining again");
                    self.lose_all();
                }
                End::Lost(why) => {
                    if before < self.heard {
                        backoff.reset();
                        outage_ends = Instant::now() + outage_timeout;
                    }
                    if outage_ends <= Instant::now() {
                        return why;
                    }
                    debug!(error = %why, "a member's session was lost; coming back");
                    self.rest(&mut backoff, &why).await;
                }
            }
        }
    }

    /// Leaves, and waits until the broker has noted it.
    async fn say_goodbye(mut self) {
        self.lose_all();
        let Some(mut stream) = self.stream.take() else { return };
        // The end of our half is the goodbye; the broker ends its half when it is noted.
        let _ = stream.send.finish();
        let noted = async { while let Some(Ok(_)) = stream.frames.recv().await {} };
        if timeout(GOODBYE_WAIT, noted).await.is_err() {
            warn!(group = %self.member.group,
                "the broker did not note a goodbye in time; others get the partitions when the session is over");
        }
    }

    /// From the first word to the last.
    async fn session(&mut self) -> End {
        if let Err(end) = self.join().await {
            return end;
        }
        let session = self.member.source.options.session_timeout;
        let mut heartbeat = interval(session / HEARTBEATS_PER_SESSION);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = None;
        loop {
            let next_release = self.member.source.progress.let_go(Instant::now());
            let held = self.member.source.progress.held();
            if said.as_ref().is_some_and(|said| *said != held)
                && let Err(end) = self.say(&held).await
            {
                return end;
            }
            let holds = !held.is_empty();
            said = Some(held);
            self.end_if_done();
            let (session_ends, silence_ends) = (self.session_ends(), self.silence_ends());
            let progress = Arc::clone(&self.member.source.progress);
            tokio::select! {
                frame = hear(&mut self.stream) => match frame {
                    Some(Ok(assignment)) => self.apply(assignment),
                    Some(Err(end)) => return end,
                    None => return End::Lost(ClientError::Unknown),
                },
                _ = heartbeat.tick() => said = None,
                () = progress.news() => {}
                Some(started) = self.starting.join_next() => match started {
                    Ok(Ok(starts)) => self.read(starts),
                    Ok(Err(why)) if why.is_retryable() => {
                        self.lose_all();
                        return End::Lost(why);
                    }
                    Ok(Err(why)) => return End::Failed(why),
                    // Aborted: it was lost meanwhile.
                    Err(_) => {}
                },
                Some(_) = self.readers.join_next() => {}
                () = sleep_until(next_release.unwrap_or(silence_ends)) => {}
                // Others may read it by now, whatever the answer will be.
                () = sleep_until(session_ends), if holds => self.lose_all(),
                () = sleep_until(silence_ends) => {
                    return End::Lost(self.member.source.link.unreachable("it is silent"));
                }
            }
            if said.is_none() {
                let held = self.member.source.progress.held();
                if let Err(end) = self.say(&held).await {
                    return end;
                }
                said = Some(held);
            }
        }
    }

    async fn join(&mut self) -> Result<(), End> {
        let deadline = self.session_ends().max(Instant::now() + Duration::from_secs(1));
        let Source { link, topic, options, progress } = &*self.member.source;
        let (mut send, receive) = match link.open(deadline).await {
            Ok(streams) => streams,
            Err(why) if why.is_retryable() => return Err(End::Lost(why)),
            Err(why) => return Err(End::Failed(why)),
        };
        let request = client_frame::Kind::JoinGroup(proto::JoinGroupRequest {
            group: self.member.group.to_string(),
            topic: topic.to_string(),
            member_id: progress.member().map(|member| member.0),
            session_timeout_ms: options.session_timeout.as_millis() as u32,
            held: progress.held().iter().map(|partition| partition.0).collect(),
        });
        let asked = frames::write(&mut send, request, Bytes::new()).await;
        asked.map_err(|error| End::Lost(error.into()))?;
        let (frames_in, frames) = mpsc::channel(FRAMES_MAX);
        let mut listening = JoinSet::new();
        listening.spawn(listen(receive, frames_in));
        self.stream = Some(Stream { send, frames, _listening: listening });
        self.joined = Instant::now();
        Ok(())
    }

    async fn say(&mut self, held: &BTreeSet<PartitionId>) -> Result<(), End> {
        let held = held.iter().map(|partition| partition.0).collect();
        let heartbeat = client_frame::Kind::Heartbeat(proto::Heartbeat { held });
        let deadline = self.silence_ends();
        let Some(stream) = &mut self.stream else { return Err(End::Lost(ClientError::Unknown)) };
        let said = frames::write(&mut stream.send, heartbeat, Bytes::new());
        match timeout_at(deadline, said).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(error.into())),
            Err(_) => Err(End::Lost(self.member.source.link.unreachable("it does not read"))),
        }
    }

    /// When the broker gives up on us, if it hears nothing more.
    fn session_ends(&self) -> Instant {
        self.heard + self.member.source.options.session_timeout
    }

    /// When we give up on the broker, if we hear nothing more: after an outage its last word is long
    /// ago, and it has to be given the time to answer.
    fn silence_ends(&self) -> Instant {
        self.heard.max(self.joined) + self.member.source.options.session_timeout
    }

    /// Waits before the next attempt; what is held is others' when the session's time is over.
    async fn rest(&mut self, backoff: &mut Backoff, why: &ClientError) {
        let until = Instant::now() + backoff.after_failure(why.retry_after_ms());
        if self.session_ends() <= until {
            sleep_until(self.session_ends()).await;
            self.lose_all();
        }
        sleep_until(until).await;
    }

    fn apply(&mut self, assignment: proto::Assignment) {
        self.heard = Instant::now();
        let member = MemberId(assignment.member_id);
        let progress = Arc::clone(&self.member.source.progress);
        if progress.member() != Some(member) {
            // Who we were is no member any more.
            self.lose_all();
            progress.set_member(member);
        }
        self.is_complete = assignment.is_complete;
        let assigned: BTreeSet<_> = assignment.partitions.into_iter().map(PartitionId).collect();
        let held = progress.held();
        let others: BTreeSet<_> = held.difference(&assigned).copied().collect();
        // Half of what the broker gives us: it waits longer, but the others wait for us.
        progress.give_up(&others, Instant::now() + self.member.source.options.release_timeout);
        for partition in &others {
            self.stop_reading(*partition);
        }
        // What is leaving and comes back is read anew from where the group is, once it is let go of.
        let back = progress.leaving();
        let new: Vec<_> = assigned
            .iter()
            .filter(|partition| !held.contains(partition) && !back.contains(partition))
            .map(|partition| (*partition, progress.take(*partition)))
            .collect();
        if !new.is_empty() && self.member.ready.is_some() {
            self.start(new);
        }
    }

    /// Asks where these partitions begin.
    fn start(&mut self, new: Vec<(PartitionId, Reading)>) {
        let (first, again): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|(partition, _)| self.seen.insert(*partition));
        let from = self.member.source.options.from;
        for (some, from) in [(first, from), (again, From::Committed)] {
            if some.is_empty() {
                continue;
            }
            let source = Arc::clone(&self.member.source);
            self.starting.spawn(async move {
                let partitions: Vec<_> = some.iter().map(|(partition, _)| *partition).collect();
                let options = ConsumerOptions { from, ..source.options.clone() };
                let starts = starts(&source.link, &source.topic, &partitions, &options).await?;
                let start = |(partition, reading)| {
                    let from = starts.get(&partition).copied();
                    from.map(|from| (partition, reading, from))
                };
                Ok(some.into_iter().filter_map(start).collect())
            });
        }
    }

    /// Reads partitions from where they begin.
    fn read(&mut self, starts: Vec<Start>) {
        let Some(ready) = &self.member.ready else { return };
        for (partition, reading, next) in starts {
            if !self.member.source.progress.is_read(partition, reading) {
                continue;
            }
            let until = self.member.ends.as_ref().and_then(|ends| ends.get(&partition).copied());
            if until.is_some_and(|until| until <= next) {
                continue;
            }
            let reader = Reader {
                source: Arc::clone(&self.member.source),
                partition,
                reading,
                next,
                given: next,
                until,
                ready: ready.clone(),
                was_open: false,
            };
            self.reading.insert(partition, self.readers.spawn(reader.run()));
        }
    }

    fn stop_reading(&mut self, partition: PartitionId) {
        if let Some(reader) = self.reading.remove(&partition) {
            reader.abort();
        }
    }

    fn lose_all(&mut self) {
        self.readers.abort_all();
        self.reading.clear();
        self.starting.abort_all();
        self.member.source.progress.lose_all();
    }

    /// With an end in sight: when everything assigned is read, and nothing more is coming.
    fn end_if_done(&mut self) {
        let is_done = self.is_complete && self.readers.is_empty() && self.starting.is_empty();
        if self.member.ends.is_some() && is_done && self.member.source.progress.leaving().is_empty()
        {
            self.member.ready = None;
        }
    }
}

/// The broker's next word.
async fn hear(stream: &mut Option<Stream>) -> Option<Result<proto::Assignment, End>> {
    stream.as_mut()?.frames.recv().await
}

/// Hands the broker's words over until the stream ends.
async fn listen(mut receive: RecvStream, frames: mpsc::Sender<Result<proto::Assignment, End>>) {
    loop {
        let frame = match frames::read(&mut receive).await {
            Ok(Some((server_frame::Kind::Assignment(assignment), _))) => Ok(assignment),
            Ok(Some((server_frame::Kind::Fault(fault), _))) => Err(ended(fault.into())),
            Ok(Some(_)) => Err(End::Failed(ClientError::Protocol(
                "a membership brought another kind of frame".to_owned(),
            ))),
            Ok(None) => Err(End::Lost(ClientError::Unknown)),
            Err(StreamError::Lost(_)) => Err(End::Lost(ClientError::Unknown)),
            Err(StreamError::Protocol(reason)) => Err(End::Failed(ClientError::Protocol(reason))),
        };
        let is_last = frame.is_err();
        if frames.send(frame).await.is_err() || is_last {
            return;
        }
    }
}

fn ended(fault: Fault) -> End {
    match (fault.code, fault.action()) {
        (Code::MemberFenced, _) => End::Fenced,
        (_, Action::Retry | Action::GoElsewhere) => End::Lost(fault.into()),
        (_, Action::Fix | Action::Stop) => End::Failed(fault.into()),
    }
}
