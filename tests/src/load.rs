//! Producers and consumers that keep the ledger while the broker under them is killed and started
//! again, and the reading of everything at the end.
//!
//! Promises: an event is in the ledger before it is sent, and an answer as soon as it came; what a
//! producer of the SDK gave up on stays unanswered, and the ledger allows both outcomes.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use weir_client::{
    Admin, AdminError, Client, ClientConfig, ClientError, ConsumedBatch, Consumer, ConsumerOptions,
    Delivery, Event, From, Producer, ProducerOptions, Verdict,
};
use weir_wire::admin::{BindingSpec, Durability, TopicSpec};
use weir_wire::fault::Code;
use weir_wire::ids::{GroupName, PartitionId, PluginName, Timestamp, TopicName};

use crate::broker::Broker;
use crate::flights;
use crate::ledger::{DAY_MS, Ledger, Name, Stored, Told, Topics};

/// Where producers write.
pub const EVENTS: &str = "bookings";
/// Where the rule's side events go.
pub const NOTICES: &str = "notices";
/// What the rule lets pass of one user and day.
pub const LIMIT: u64 = 2;
/// The first day of all events: 2024-01-01.
const FIRST_DAY: u64 = 19_723;
/// Users that events are about: few, so that they meet the limit.
const USERS: u64 = 20;
/// Events of one producer that fall on one day: with eight producers, half of a day is refused.
const DAY_EVENTS: u64 = 10;
/// How long a change of the operator may take, kills of the broker included.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Between two looks at something that tells nobody when it changes.
const POLL: Duration = Duration::from_millis(10);
/// From an event to its answer, however often the broker is killed in between.
const DELIVERY_WAIT_MAX: Duration = Duration::from_secs(120);

/// The ledger that everyone writes to.
#[derive(Debug, Clone)]
pub struct Shared(Arc<Mutex<Ledger>>);

impl Shared {
    /// See [`Ledger::new`].
    pub fn new(limit: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(Ledger::new(limit))))
    }

    /// The ledger itself.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A topic's name.
pub fn topic(name: &str) -> TopicName {
    TopicName::parse(name).unwrap()
}

/// A client of the broker whose context file this is; waits until it answers.
pub async fn connect(context: &Path) -> Client {
    let deadline = Instant::now() + CHANGE_WAIT_MAX;
    loop {
        let connected = match ClientConfig::from_context(context) {
            Ok(config) => Client::connect(config).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(client) => return client,
            Err(error) => assert!(Instant::now() < deadline, "cannot connect: {error}"),
        }
        sleep(POLL).await;
    }
}

/// Does what an operator does, again until it is done: a broker that was killed in the middle may
/// have done it or not. `is_done` says whether a refusal means that it is.
pub async fn insist<T>(
    what: &str,
    is_done: impl Fn(&AdminError) -> Option<T>,
    mut change: impl AsyncFnMut() -> Result<T, AdminError>,
) -> T {
    let deadline = Instant::now() + CHANGE_WAIT_MAX;
    loop {
        let error = match change().await {
            Ok(done) => return done,
            Err(error) => error,
        };
        if let Some(done) = is_done(&error) {
            return done;
        }
        if let AdminError::Refused { status: 400..500, .. } = error {
            panic!("{what} was refused: {error}");
        }
        assert!(Instant::now() < deadline, "{what} was never done: {error}");
        sleep(POLL).await;
    }
}

/// Creates a topic.
pub async fn create_topic(admin: &Admin, name: &str, partitions: u32, durability: Durability) {
    let spec = TopicSpec {
        name: topic(name),
        partitions,
        durability,
        retention_ms: None,
        retention_bytes: None,
        cleanup: Default::default(),
        segment_bytes: None,
    };
    let exists = |error: &AdminError| (error.code() == Some("topic-exists")).then_some(());
    insist("a topic", exists, async || admin.create_topic(&spec).await.map(drop)).await;
}

/// Pushes daily-limit.
pub async fn push_rule(admin: &Admin) {
    let component = Bytes::from(std::fs::read(flights::daily_limit()).unwrap());
    let rule = PluginName::parse("daily-limit").unwrap();
    let push = async || admin.push_plugin(&rule, component.clone()).await.map(drop);
    insist("a push", |_| None, push).await;
}

/// Binds daily-limit to [`EVENTS`] with [`LIMIT`]. The `edition` is another config each, which
/// means the same.
pub async fn bind_rule(admin: &Admin, edition: usize) {
    let rule = PluginName::parse("daily-limit").unwrap();
    let config = match edition {
        0 => serde_json::json!({ "limit": LIMIT, "time": "event", "notice": NOTICES }),
        _ => {
            serde_json::json!({ "limit": LIMIT, "time": "event", "notice": NOTICES, "key": "event" })
        }
    };
    let spec =
        BindingSpec { config: Some(config), emit: vec![topic(NOTICES)], ..BindingSpec::default() };
    let bind = async || admin.bind(&topic(EVENTS), &rule, &spec).await.map(drop);
    insist("a binding", |_| None, bind).await;
}

impl Shared {
    /// The broker said that nothing of these was done.
    pub fn refused(&self, names: &[Name]) {
        for name in names {
            self.ledger().told(*name, Told::Rejected(Code::StorageFull.as_str().to_owned()));
        }
    }
}

impl Burst {
    /// Its events.
    pub fn names(&self) -> Vec<Name> {
        self.0.iter().map(|(name, _)| *name).collect()
    }
}

/// One producer of the test: its events are numbered, and about users and days that others write
/// about, too.
pub struct Sender {
    /// Which.
    number: u32,
    /// Of its next event.
    next: u64,
    /// Bytes that each event is long at least.
    pub padding: usize,
    producer: Producer,
    shared: Shared,
}

/// Events that wait for their answers.
pub struct Burst(Vec<(Name, Result<Delivery, ClientError>)>);

impl Sender {
    /// Opens one.
    pub async fn open(client: &Client, number: u32, shared: &Shared) -> Self {
        let options =
            ProducerOptions { delivery_timeout: DELIVERY_WAIT_MAX, ..ProducerOptions::default() };
        Self::open_with(client, number, shared, options).await
    }

    /// Opens one with other options.
    pub async fn open_with(
        client: &Client,
        number: u32,
        shared: &Shared,
        options: ProducerOptions,
    ) -> Self {
        Self::try_open_with(client, number, shared, options).await.unwrap()
    }

    /// The same where the broker may be unable to: it has to record who publishes.
    pub async fn try_open_with(
        client: &Client,
        number: u32,
        shared: &Shared,
        options: ProducerOptions,
    ) -> Result<Self, ClientError> {
        let producer = client.producer(&topic(EVENTS), options).await?;
        Ok(Self { number, next: 0, padding: 16, producer, shared: shared.clone() })
    }

    /// Sends some events.
    pub async fn send(&mut self, rng: &mut fastrand::Rng, events: u64) -> Burst {
        let mut burst = Vec::new();
        for _ in 0..events {
            let name = Name { producer: self.number, number: self.next };
            self.next += 1;
            let (user, day) =
                (format!("user-{}", rng.u64(..USERS)), FIRST_DAY + name.number / DAY_EVENTS);
            let value = name.value(self.padding);
            self.shared.ledger().sent(name, &user, day, value.clone());
            let event = Event {
                timestamp: Timestamp(day * DAY_MS),
                key: Some(user.into()),
                value: Some(value.into()),
                headers: Vec::new(),
            };
            burst.push((name, self.producer.send(event).await));
        }
        Burst(burst)
    }

    /// Waits for the answers and writes them down; gives why events have none.
    pub async fn settle(&self, burst: Burst) -> Vec<ClientError> {
        let mut failures = Vec::new();
        for (name, delivery) in burst.0 {
            let outcome = match delivery {
                Ok(delivery) => delivery.await,
                Err(error) => Err(error),
            };
            let told = match outcome {
                Ok(outcome) => match outcome.verdict {
                    Verdict::Accepted => Told::Accepted {
                        partition: outcome.partition.0,
                        offset: outcome.offset.expect("accepted events have one").0,
                        chain: outcome.chain_revision.0,
                    },
                    Verdict::Rejected(rejection) => {
                        assert!(!rejection.fault, "the rule failed: {rejection:?}");
                        Told::Rejected(rejection.code)
                    }
                    other => panic!("daily-limit does not say {other:?}"),
                },
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            };
            self.shared.ledger().told(name, told);
        }
        failures
    }

    /// Sends and waits.
    pub async fn publish(&mut self, rng: &mut fastrand::Rng, events: u64) -> Vec<ClientError> {
        let burst = self.send(rng, events).await;
        self.settle(burst).await
    }

    /// Publishes until it is told to stop.
    pub async fn run(mut self, mut rng: fastrand::Rng, stop: watch::Receiver<bool>) -> Unanswered {
        /// Events sent before the answers of the first are awaited, at most.
        const BURST_EVENTS_MAX: u64 = 16;
        let mut unanswered = Unanswered::default();
        while !*stop.borrow() {
            let events = rng.u64(1..=BURST_EVENTS_MAX);
            for failure in self.publish(&mut rng, events).await {
                match failure {
                    ClientError::Unknown => unanswered.unknown += 1,
                    other => unanswered.refused.push(format!("producer {}: {other}", self.number)),
                }
            }
        }
        self.producer.close().await;
        unanswered
    }
}

/// Events that a producer got no verdict for.
#[derive(Debug, Default)]
pub struct Unanswered {
    /// How many the SDK gave up on.
    pub unknown: u64,
    /// What the broker said where it refused to judge. Nothing that the crowd sends gives it a
    /// reason to.
    pub refused: Vec<String>,
}

/// What some consumers did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Consumed {
    /// Events given to them.
    pub events: u64,
    /// Commits confirmed to them.
    pub commits: u64,
}

/// Reads from where its group stands, commits now and then, and begins anew now and then, until it
/// is told to stop.
pub async fn consume(
    client: Client,
    group: String,
    shared: Shared,
    mut rng: fastrand::Rng,
    mut stop: watch::Receiver<bool>,
) -> Consumed {
    /// Batches after which it forgets where it was.
    const LIFE_BATCHES_MAX: u32 = 20;
    let mut done = Consumed::default();
    let name = GroupName::parse(&group).unwrap();
    while !*stop.borrow() {
        look_at_cursor(&client, &group, &shared).await;
        let options = ConsumerOptions {
            from: From::Committed,
            group: Some(name.clone()),
            outage_timeout: DELIVERY_WAIT_MAX,
            ..ConsumerOptions::default()
        };
        let mut consumer = match client.consumer(&topic(EVENTS), options).await {
            Ok(consumer) => consumer,
            Err(error) => {
                assert!(error.is_retryable(), "{group} cannot read: {error}");
                continue;
            }
        };
        for _ in 0..rng.u32(1..=LIFE_BATCHES_MAX) {
            let batch = tokio::select! {
                batch = consumer.next_batch() => batch,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let batch = batch.expect("it follows for ever").unwrap();
            done.events += batch.events.len() as u64;
            given(&shared, &batch);
            if rng.bool() {
                done.commits += u64::from(commit(&mut consumer, &group, &shared).await);
            }
        }
        consumer.close().await.unwrap();
    }
    done
}

/// Shows the ledger what a consumer was given.
pub fn given(shared: &Shared, batch: &ConsumedBatch) {
    for (offset, event) in &batch.events {
        shared.ledger().given(batch.partition.0, &stored(offset.0, event));
    }
}

/// Commits what the consumer was given; whether it was confirmed.
pub async fn commit(consumer: &mut Consumer, group: &str, shared: &Shared) -> bool {
    let positions: Vec<_> = consumer.positions().collect();
    let is_committed = consumer.commit().await.is_ok();
    if is_committed {
        for (partition, next) in positions {
            shared.ledger().committed(group, partition.0, next.0);
        }
    }
    is_committed
}

/// Shows the ledger where a group stands.
pub async fn look_at_cursor(client: &Client, group: &str, shared: &Shared) {
    let name = GroupName::parse(group).unwrap();
    let width = partitions(client).await;
    let Ok(found) = client.committed_offsets(&name, &topic(EVENTS)).await else { return };
    for partition in 0..width {
        let at = found.iter().find(|(of, _)| of.0 == partition).map(|(_, next)| next.0);
        shared.ledger().cursor_found(group, partition, at);
    }
}

async fn partitions(client: &Client) -> u32 {
    client.topic(&topic(EVENTS)).await.map_or(0, |shape| shape.partitions)
}

/// Waits until no partition has side events that are not in their topic.
pub async fn relays_rest(admin: &Admin) {
    let deadline = Instant::now() + CHANGE_WAIT_MAX;
    loop {
        let seen = admin.topics().await.unwrap();
        let mut all = seen.iter().flat_map(|topic| &topic.partitions);
        if all.clone().all(|partition| partition.outbox_pending == 0) {
            return;
        }
        let stopped = all.find_map(|partition| partition.stopped.as_ref());
        assert!(stopped.is_none(), "a partition stands still: {stopped:?}");
        assert!(Instant::now() < deadline, "side events do not reach their topic: {seen:?}");
        sleep(POLL).await;
    }
}

/// Everything that both topics hold, once the relays have come to rest.
pub async fn read_all(client: &Client, has_notices: bool) -> Topics {
    relays_rest(&client.admin().unwrap()).await;
    let events = read_topic(client, EVENTS).await;
    let notices = if has_notices { read_topic(client, NOTICES).await } else { Vec::new() };
    Topics { events, notices, refused: None }
}

/// Everything that one topic holds.
pub async fn read_topic(client: &Client, name: &str) -> Vec<Vec<Stored>> {
    let width = client.topic(&topic(name)).await.unwrap().partitions;
    let mut all = vec![Vec::new(); width as usize];
    for partition in 0..width {
        let options = ConsumerOptions {
            partitions: Some(vec![PartitionId(partition)]),
            until_end: true,
            ..ConsumerOptions::default()
        };
        let mut consumer = client.consumer(&topic(name), options).await.unwrap();
        while let Some(batch) = consumer.next_batch().await {
            let batch = batch.unwrap();
            let events = batch.events.iter().map(|(offset, event)| stored(offset.0, event));
            all[partition as usize].extend(events);
        }
    }
    all
}

fn stored(offset: u64, event: &Event) -> Stored {
    let bytes =
        |value: &Option<Bytes>| value.as_ref().map_or_else(Vec::new, |value| value.to_vec());
    let headers = event.headers.iter().map(|header| (header.name.clone(), bytes(&header.value)));
    Stored { offset, value: bytes(&event.value), headers: headers.collect() }
}

/// Fails with everything that is wrong.
pub fn expect_nothing_wrong(shared: &Shared, topics: &Topics, broker: &Broker) {
    let found = shared.ledger().check(topics);
    if found.is_empty() {
        return;
    }
    let kept = keep_evidence(broker);
    let lines: Vec<String> = found.iter().take(20).map(ToString::to_string).collect();
    panic!("{} violations, the folder is kept at {kept}:\n{}", found.len(), lines.join("\n"));
}

/// Copies the broker's folder to where nobody removes it.
fn keep_evidence(broker: &Broker) -> String {
    let kept = tempfile::Builder::new().prefix("weir-violation-").tempdir().unwrap().keep();
    for from in [broker.folder().to_owned(), broker.data_dir()] {
        let _ = std::process::Command::new("cp").arg("-a").arg(from).arg(&kept).status();
    }
    kept.display().to_string()
}

/// Does `work` while the broker may end at any moment: then it is started again. Gives how often.
pub async fn tend<T>(broker: &mut Broker, work: impl Future<Output = T>) -> (T, u64) {
    let mut work = pin!(work);
    let mut ends = 0;
    loop {
        tokio::select! {
            done = &mut work => return (done, ends),
            () = broker.ended() => {
                ends += 1;
                broker.wait();
                broker.start_again();
            }
        }
    }
}

/// Many producers and consumers at work.
pub struct Crowd {
    stop: watch::Sender<bool>,
    producers: JoinSet<Unanswered>,
    consumers: JoinSet<Consumed>,
    groups: Vec<String>,
    shared: Shared,
}

impl Crowd {
    /// Starts them, each with a connection of its own.
    pub async fn start(
        context: &Path,
        producers: u32,
        consumers: u32,
        shared: &Shared,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let stop = watch::Sender::new(false);
        let (mut sending, mut reading, mut groups) = (JoinSet::new(), JoinSet::new(), Vec::new());
        for number in 0..producers {
            let sender = Sender::open(&connect(context).await, number, shared).await;
            sending.spawn(sender.run(rng.fork(), stop.subscribe()));
        }
        for number in 0..consumers {
            let (client, group) = (connect(context).await, format!("group-{number}"));
            groups.push(group.clone());
            reading.spawn(consume(client, group, shared.clone(), rng.fork(), stop.subscribe()));
        }
        Self { stop, producers: sending, consumers: reading, groups, shared: shared.clone() }
    }

    /// Lets them work for a while. A failure of one of them is ours at once.
    pub async fn work(&mut self, time: Duration) {
        tokio::select! {
            () = sleep(time) => {}
            Some(ended) = self.producers.join_next() => {
                ended.unwrap();
            }
            Some(ended) = self.consumers.join_next() => {
                ended.unwrap();
            }
        }
    }

    /// Ends them when every event has its answer, or none: which have none, and what was consumed.
    /// The broker runs.
    pub async fn finish(mut self, client: &Client) -> (Unanswered, Consumed) {
        self.stop.send_replace(true);
        let (mut unanswered, mut consumed) = (Unanswered::default(), Consumed::default());
        while let Some(ended) = self.producers.join_next().await {
            let more = ended.unwrap();
            unanswered.unknown += more.unknown;
            unanswered.refused.extend(more.refused);
        }
        while let Some(ended) = self.consumers.join_next().await {
            let more = ended.unwrap();
            consumed.events += more.events;
            consumed.commits += more.commits;
        }
        for group in &self.groups {
            look_at_cursor(client, group, &self.shared).await;
        }
        (unanswered, consumed)
    }
}

/// Whether it says that the disk has no room, and that nothing was done.
pub fn is_full(error: &ClientError) -> bool {
    matches!(error, ClientError::Fault(fault) if fault.code == Code::StorageFull)
}

/// Ends the broker by a signal and starts it again.
pub fn restart(broker: &mut Broker, signal: Signal) {
    broker.end(signal);
    broker.start_again();
}
