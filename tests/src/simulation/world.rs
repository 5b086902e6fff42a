//! Runs a script: lets broker and clients live tick by tick, makes things go wrong, and asks the
//! ledger at the end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, sleep_until};
use weir::broker::{Broker, Ground};
use weir::home::Token;
use weir::listen::Listener;
use weir_log::PartitionLog;
use weir_log::blocking::Blocking;
use weir_log::commit::Identity;
use weir_log::disk::Disk;
use weir_log::planted::plant;
use weir_log::segment::{Machine, Options, SegmentLog};
use weir_log::simulated_disk::{Call, Fate, SimulatedDisk};
use weir_views::partition::PartitionView;
use weir_views::store::Store;
use weir_wire::admin::{BindingSpec, Durability, TopicSpec};
use weir_wire::fault::Fault;
use weir_wire::ids::{Offset, PartitionId, PluginName, Position, Timestamp, TopicId, TopicName};
use weir_wire::record_batch::{BatchLimits, RecordBatch};

use super::clients::{CERTIFICATE, TOKEN, Town, events_topic};
use super::net::{Net, Weather};
use super::plugins::{Known, daily_limit};
use super::script::{Action, Lie, Script, TICK_MS};
use super::trace::Trace;
use crate::ledger::{Ledger, Stored, Topics, Violation};

/// Where the simulated broker's logs are.
const LOG_DIR: &str = "/log";
/// The wall clock when a run begins: 2026-01-01.
const BEGINNING_MS: u64 = 1_767_225_600_000;
/// Ticks that everything may take to come to rest when nothing goes wrong any more: 10 minutes.
const REST_TICKS_MAX: u64 = 300_000;

/// What a run came to.
#[derive(Debug)]
pub struct Report {
    /// Everything that must not be, each in a line.
    pub findings: Vec<Finding>,
    /// The same for every run of the seed.
    pub trace: Trace,
    /// Events sent, and events with an answer.
    pub events: (usize, usize),
    /// How long it was, in simulated milliseconds.
    pub milliseconds: u64,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The ledger says so.
    Violation(Violation),
    /// A partition stopped, and nothing was done to it.
    Stopped(String),
    /// It never came to rest.
    Hangs(String),
    /// A log does not open any more, and nobody damaged it.
    Unreadable(String),
    /// The checkpoint and the log say different things.
    ViewDiffers(String),
    /// An event was refused for good, without a reason.
    Refused(String),
    /// Damage was not noticed.
    Overlooked(String),
    /// Code fell over.
    Panic(String),
}

/// Runs a script to its end.
pub fn run(script: &Script, trace: Trace) -> Report {
    plant(script.bug);
    let mut world = World::new(script, trace);
    let hangs = world.play().err();
    let mut findings: Vec<_> = hangs.into_iter().map(Finding::Hangs).collect();
    findings.append(&mut world.findings);
    if findings.is_empty() {
        findings = world.judge();
    }
    plant(None);
    let ledger = world.town.ledger.lock().unwrap();
    let events = (ledger.len(), ledger.answered());
    Report { findings, trace: world.trace.clone(), events, milliseconds: world.tick * TICK_MS }
}

/// The disk's mood, and how the broker meets it.
#[derive(Default)]
struct Mood {
    slowest_ms: AtomicU64,
    /// Writes and syncs until one fails; negative: none will.
    fails_after: AtomicI64,
    /// Something was done to the disk since the broker came up, so that a partition may stop.
    was_hurt: AtomicBool,
}

struct World {
    script: Script,
    trace: Trace,
    chance: fastrand::Rng,
    tick: u64,
    net: Net,
    disk: SimulatedDisk,
    mood: Arc<Mood>,
    store: Store,
    now_ms: Arc<AtomicU64>,
    skew_ms: i64,
    clients: Host,
    broker: Option<Host>,
    opened: Opened,
    boots: u64,
    town: Town,
    findings: Vec<Finding>,
}

type Opened = Arc<Mutex<Option<Result<Arc<Broker>, Fault>>>>;

/// A runtime and the moment it was made.
struct Host {
    runtime: Runtime,
    born: Instant,
    ticks: u64,
}

impl Host {
    fn new(seed: u64) -> Self {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true);
        #[cfg(tokio_unstable)]
        builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
        #[cfg(not(tokio_unstable))]
        let _ = seed;
        let runtime = builder.build().unwrap();
        let born = runtime.block_on(async { Instant::now() });
        Self { runtime, born, ticks: 0 }
    }

    fn live(&mut self) {
        self.ticks += 1;
        let until = self.born + Duration::from_millis(self.ticks * TICK_MS);
        self.runtime.block_on(async { sleep_until(until).await });
    }
}

impl World {
    fn new(script: &Script, trace: Trace) -> Self {
        let seed = script.seed;
        let net = Net::new(seed ^ 0xE7, trace.clone());
        let disk = SimulatedDisk::default();
        let mood = Arc::new(Mood::default());
        mood.slowest_ms.store(2, Ordering::SeqCst);
        mood.fails_after.store(-1, Ordering::SeqCst);
        disk.make_folder(Path::new(LOG_DIR)).unwrap();
        let (hook_trace, hook_mood, lies) = (trace.clone(), Arc::clone(&mood), script.disk_lies);
        disk.set_hook(move |operation| {
            let content = crc32c::crc32c(operation.bytes);
            let noted = (operation.call, operation.path, operation.place, content);
            hook_trace.note("disk", &noted);
            match (operation.call, lies) {
                (Call::Sync, Some(Lie::Files)) => return Fate::Skipped,
                (Call::SyncFolder, Some(Lie::Folders)) => return Fate::Skipped,
                (Call::WriteAt | Call::Sync, _) => {}
                _ => return Fate::Done,
            }
            if hook_mood.fails_after.load(Ordering::SeqCst) < 0 {
                return Fate::Done;
            }
            match hook_mood.fails_after.fetch_sub(1, Ordering::SeqCst) {
                0 => Fate::Fails(std::io::ErrorKind::Other, operation.bytes.len() / 2),
                _ => Fate::Done,
            }
        });
        let town = Town {
            net: net.clone(),
            broker: SocketAddr::from(([127, 0, 0, 1], 4433)),
            ledger: Arc::new(Mutex::new(Ledger::new(Some(script.limit)))),
            trace: trace.clone(),
            publishing: Arc::new(AtomicUsize::new(script.producers.0 as usize)),
            is_over: Arc::default(),
            refused: Arc::default(),
            may_expire: script.sets_clock_forward(),
        };
        Self {
            script: script.clone(),
            trace,
            chance: fastrand::Rng::with_seed(seed ^ 0xC0FFEE),
            tick: 0,
            net,
            disk,
            mood,
            store: Store::in_memory(),
            now_ms: Arc::new(AtomicU64::new(BEGINNING_MS)),
            skew_ms: 0,
            clients: Host::new(seed ^ 0xC11E),
            broker: None,
            opened: Arc::default(),
            boots: 0,
            town,
            findings: Vec::new(),
        }
    }

    /// Everything up to the end, when the broker was stopped in order. An error is why it did not
    /// come to rest.
    fn play(&mut self) -> Result<(), String> {
        self.start();
        self.set_up()?;
        let (producers, events) = self.script.producers;
        for number in 0..producers {
            let seed = self.chance.u64(..);
            self.clients.runtime.spawn(self.town.clone().produce(number + 1, seed, events));
        }
        let seed = self.chance.u64(..);
        let reader = self.clients.runtime.spawn(self.town.clone().consume(1, seed));
        let begun = self.tick;
        for (tick, action) in self.script.actions.clone() {
            while self.tick < begun + tick {
                self.live();
            }
            self.happen(action)?;
        }
        self.come_to_rest()?;
        self.town.is_over.store(true, Ordering::SeqCst);
        self.until("the consumer goes home", |_| reader.is_finished())?;
        self.stop()
    }

    fn live(&mut self) {
        self.tick += 1;
        let elapsed_ms = self.tick * TICK_MS;
        let now_ms = (BEGINNING_MS + elapsed_ms).saturating_add_signed(self.skew_ms);
        self.now_ms.store(now_ms, Ordering::SeqCst);
        self.net.advance(elapsed_ms * 1_000);
        if let Some(broker) = &mut self.broker {
            broker.live();
        }
        self.clients.live();
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), String> {
        for _ in 0..REST_TICKS_MAX {
            if is_so(self) {
                return Ok(());
            }
            self.live();
        }
        Err(format!("never: {what}"))
    }

    fn machine(&self, seed: u64) -> Machine {
        let chance = Mutex::new(fastrand::Rng::with_seed(seed));
        let mood = Arc::clone(&self.mood);
        let blocking = Blocking::by(move |work| {
            let slowest_ms = mood.slowest_ms.load(Ordering::SeqCst);
            let takes = Duration::from_millis(chance.lock().unwrap().u64(0..=slowest_ms));
            tokio::spawn(async move {
                sleep(takes).await;
                work();
            });
        });
        Machine { disk: Arc::new(self.disk.clone()), blocking }
    }

    fn start(&mut self) {
        if self.broker.is_some() {
            return;
        }
        self.boots += 1;
        let seed = self.script.seed.wrapping_mul(31).wrapping_add(self.boots);
        self.trace.note("start", &self.boots);
        let host = Host::new(seed);
        self.mood.was_hurt.store(false, Ordering::SeqCst);
        let now_ms = Arc::clone(&self.now_ms);
        let ground = Ground {
            machine: self.machine(seed),
            log_dir: PathBuf::from(LOG_DIR),
            store: self.store.clone(),
            plugins: Arc::new(Known),
            clock: Arc::new(move || Timestamp(now_ms.load(Ordering::SeqCst))),
            judges: host.runtime.handle().clone(),
            token: Token::new(TOKEN),
        };
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let socket = self.net.socket(self.town.broker);
        let opened: Opened = Arc::default();
        self.opened = Arc::clone(&opened);
        host.runtime.spawn(async move {
            let (certificate, key, _) = &*CERTIFICATE;
            let listener =
                Listener::on(socket, vec![certificate.clone()], key.clone_key(), Some(bytes));
            let broker = Broker::open(ground).await.map(Arc::new);
            *opened.lock().unwrap() = Some(broker.clone());
            if let Ok(broker) = broker {
                let (office, stopping) = (Arc::clone(&broker.office), broker.stopping.clone());
                listener.unwrap().serve(office, stopping).await;
            }
        });
        self.broker = Some(host);
    }

    /// The broker, once it is open.
    fn opened(&self) -> Option<Arc<Broker>> {
        self.opened.lock().unwrap().as_ref()?.as_ref().ok().cloned()
    }

    fn wait_until_open(&mut self) -> Result<Arc<Broker>, String> {
        self.until("the broker is open", |world| world.opened.lock().unwrap().is_some())?;
        let outcome = self.opened.lock().unwrap().clone();
        outcome.expect("waited for").map_err(|fault| format!("it does not open: {fault}"))
    }

    /// Lets an operator do something in the broker, and waits for it.
    fn operate<T: Send + 'static>(
        &mut self,
        what: &str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let host = self.broker.as_ref().expect("an operator has a broker");
        let mut task = host.runtime.spawn(work);
        self.until(what, |_| task.is_finished())?;
        match (&mut task).now_or_never() {
            Some(Ok(done)) => Ok(done),
            other => Err(format!("{what}: {:?}", other.map(|done| done.err()))),
        }
    }

    fn set_up(&mut self) -> Result<(), String> {
        let broker = self.wait_until_open()?;
        let (partitions, spec) = (self.script.partitions, binding(&self.script));
        self.operate("topics and plugin are there", async move {
            let control = &broker.control;
            for (name, partitions) in [("notices", 1), ("events", partitions), ("refused", 2)] {
                let spec = TopicSpec {
                    name: TopicName::parse(name).unwrap(),
                    partitions,
                    durability: Durability::Durable,
                    retention_ms: None,
                    retention_bytes: None,
                    cleanup: Default::default(),
                    segment_bytes: None,
                };
                control.create_topic(spec).await.unwrap();
            }
            control.push_plugin(rule(), daily_limit()).await.unwrap();
            control.bind(&events_topic(), rule(), spec).await.unwrap();
        })
    }

    fn happen(&mut self, action: Action) -> Result<(), String> {
        self.trace.note("action", &action);
        match action {
            Action::Kill => self.crash(|disk, _| disk.kill()),
            Action::PowerCut => self.crash(|disk, chance| {
                let keeps = [0, 128, 255][chance.usize(0..3)];
                disk.power_cut(|| chance.u8(..) < keeps);
            }),
            Action::KillAndForgetViews => {
                self.crash(|disk, _| disk.kill());
                self.store = Store::in_memory();
            }
            Action::Stop => self.stop()?,
            Action::Start => self.start(),
            Action::Clock(seconds) => self.skew_ms += seconds * 1_000,
            Action::DiskTakes(ms) => self.mood.slowest_ms.store(ms, Ordering::SeqCst),
            Action::DiskFailsAfter(operations) => {
                self.mood.was_hurt.store(true, Ordering::SeqCst);
                self.mood.fails_after.store(operations.into(), Ordering::SeqCst);
            }
            Action::DiskHas(None) => self.disk.set_capacity(u64::MAX),
            Action::DiskHas(Some(left)) => {
                let used = |path: &PathBuf| self.disk.bytes_of(path).map_or(0, |b| b.len() as u64);
                let used: u64 = self.disk.paths().iter().map(used).sum();
                self.disk.set_capacity(used + left);
            }
            Action::Network(lost, doubled, slowest_ms) => self.net.set_weather(Weather {
                lost,
                doubled,
                slowest_us: slowest_ms * 1_000,
                is_cut: false,
            }),
            Action::NetworkIsCut => {
                self.net.set_weather(Weather { is_cut: true, ..Weather::FAIR });
            }
            Action::NetworkIsFair => self.net.set_weather(Weather::FAIR),
            Action::Swap => {
                if let (Some(host), Some(broker)) = (&self.broker, self.opened()) {
                    let spec = binding(&self.script);
                    // It may not come to an end before the next crash: then it is all or nothing.
                    host.runtime.spawn(async move {
                        let _ = broker.control.bind(&events_topic(), rule(), spec).await;
                    });
                }
            }
        }
        Ok(())
    }

    fn crash(&mut self, of: impl FnOnce(&SimulatedDisk, &mut fastrand::Rng)) {
        self.look_for_stops();
        if self.broker.take().is_some() {
            of(&self.disk, &mut self.chance);
            self.mood.fails_after.store(-1, Ordering::SeqCst);
        }
    }

    /// A partition stops for a reason only.
    fn look_for_stops(&mut self) {
        let Some(broker) = self.opened() else { return };
        let host = self.broker.as_ref().expect("what is open has a host");
        let status = host.runtime.block_on(broker.control.status());
        if !status.stopped.is_empty() && !self.mood.was_hurt.load(Ordering::SeqCst) {
            self.findings.push(Finding::Stopped(status.stopped.join("; ")));
        }
    }

    fn stop(&mut self) -> Result<(), String> {
        if self.broker.is_none() {
            return Ok(());
        }
        let broker = self.wait_until_open()?;
        self.look_for_stops();
        self.operate("the broker stops", async move {
            broker.stop().await;
            broker.close().await;
        })?;
        self.broker = None;
        self.disk.kill();
        Ok(())
    }

    /// Nothing goes wrong any more: everyone gets an answer, and every side event arrives.
    fn come_to_rest(&mut self) -> Result<(), String> {
        self.disk.set_capacity(u64::MAX);
        self.net.set_weather(Weather::FAIR);
        self.mood.slowest_ms.store(2, Ordering::SeqCst);
        self.mood.fails_after.store(-1, Ordering::SeqCst);
        if self.mood.was_hurt.load(Ordering::SeqCst) {
            self.crash(|disk, _| disk.kill());
        }
        self.start();
        let broker = self.wait_until_open()?;
        self.until("every producer is done", |world| {
            world.town.publishing.load(Ordering::SeqCst) == 0
        })?;
        for _ in 0..REST_TICKS_MAX {
            let control = Arc::clone(&broker.control);
            let topics =
                self.operate("topics are described", async move { control.topics().await })?;
            let pending = topics.iter().flat_map(|topic| &topic.partitions);
            if pending.map(|partition| partition.outbox_pending).sum::<u64>() == 0 {
                return Ok(());
            }
            self.live();
        }
        Err("side events never arrived".to_owned())
    }

    /// What the ledger and the disk say, now that nothing runs.
    fn judge(&mut self) -> Vec<Finding> {
        let host = Host::new(self.script.seed);
        let machine = self.machine(self.script.seed);
        let disk = self.disk.clone();
        let widths =
            [("notices", 16, 1), ("events", 17, self.script.partitions), ("refused", 18, 2)];
        let mut letters = Vec::new();
        let mut topics = Topics::default();
        let mut findings = Vec::new();
        for (name, id, partitions) in widths {
            for partition in (0..partitions).map(PartitionId) {
                let identity = Identity { topic: TopicId(id), partition };
                let folder =
                    Path::new(LOG_DIR).join(format!("{name}-{id}")).join(partition.to_string());
                let fold = self.store.partition(TopicId(id), partition);
                let read = host.runtime.block_on(async {
                    let options =
                        Options { verify_all: true, may_create: false, ..Options::default() };
                    let log = SegmentLog::open(&machine, &folder, identity, options)
                        .map_err(|error| error.to_string())?;
                    let tail = log.tail().borrow().position;
                    let commits =
                        log.read(Position(0), usize::MAX).await.map_err(|e| e.to_string())?;
                    let mut folded = PartitionView::restore(None);
                    let mut resumed = PartitionView::restore(fold.load());
                    for stored in commits {
                        if stored.position >= resumed.next() {
                            resumed.apply(stored.position, &stored.commit);
                        }
                        folded.apply(stored.position, &stored.commit);
                    }
                    if folded.next() != tail || folded.digest() != resumed.digest() {
                        return Ok((Vec::new(), Some(format!("{name}/{partition}"))));
                    }
                    let fetched = log.fetch(Offset(0), usize::MAX).await;
                    let fetched = fetched.map_err(|error| error.to_string())?;
                    Ok::<_, String>((events_in(fetched.batches), None))
                });
                match read {
                    Err(why) => {
                        findings.push(Finding::Unreadable(format!("{name}/{partition}: {why}")))
                    }
                    Ok((_, Some(differs))) => findings.push(Finding::ViewDiffers(differs)),
                    Ok((events, None)) if name == "events" => topics.events.push(events),
                    Ok((events, None)) if name == "refused" => letters.push(events),
                    Ok((events, None)) => topics.notices.push(events),
                }
            }
        }
        drop(disk);
        // With nothing kept there must be nothing there either.
        let nothing_kept = letters.iter().all(Vec::is_empty);
        assert!(self.script.dead_letters || nothing_kept, "letters that nobody asked for");
        topics.refused = self.script.dead_letters.then_some(letters);
        if findings.is_empty() {
            let refused = self.town.refused.lock().unwrap();
            findings.extend(refused.iter().cloned().map(Finding::Refused));
            let ledger = self.town.ledger.lock().unwrap();
            findings.extend(ledger.check(&topics).into_iter().map(Finding::Violation));
        }
        if findings.is_empty() {
            findings.extend(self.damage(&machine, &host));
        }
        findings
    }

    /// I9: one wrong bit, or a lost end, in what was durable: no log opens and reads as if nothing
    /// were.
    fn damage(&mut self, machine: &Machine, host: &Host) -> Option<Finding> {
        let mut logs = self.disk.paths();
        logs.retain(|path| {
            path.starts_with("/log/events-17") && path.extension().is_some_and(|end| end == "log")
        });
        let path = logs[self.chance.usize(..logs.len())].clone();
        let folder = path.parent().unwrap().to_owned();
        let number: u32 = folder.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let identity = Identity { topic: TopicId(17), partition: PartitionId(number) };
        let good = self.disk.bytes_of(&path).unwrap();
        let at = self.chance.usize(..good.len());
        let mut bad = good.clone();
        let what = match self.chance.bool() {
            true => {
                bad[at] ^= 1 << self.chance.u32(..8);
                format!("a wrong bit in byte {at} of {}", path.display())
            }
            false => {
                bad.truncate(at);
                format!("{} ends at {at} of {}", path.display(), good.len())
            }
        };
        self.disk.overwrite(&path, &bad);
        let options = Options { may_create: false, ..Options::default() };
        let opened = SegmentLog::open(machine, &folder, identity, options);
        let noticed = match opened {
            Err(_) => true,
            Ok(log) => host.runtime.block_on(log.read(Position(0), usize::MAX)).is_err(),
        };
        self.disk.overwrite(&path, &good);
        (!noticed).then_some(Finding::Overlooked(what))
    }
}

fn rule() -> PluginName {
    PluginName::parse("daily-limit").unwrap()
}

fn binding(script: &Script) -> BindingSpec {
    let config = serde_json::json!({"limit": script.limit, "time": "event", "notice": "notices"});
    let dead_letter = script.dead_letters.then(|| TopicName::parse("refused").unwrap());
    BindingSpec { config: Some(config), dead_letter: Some(dead_letter), ..BindingSpec::default() }
}

fn events_in(batches: Vec<bytes::Bytes>) -> Vec<Stored> {
    let mut events = Vec::new();
    for bytes in batches {
        let batch = RecordBatch::parse(bytes).unwrap();
        let first = u64::try_from(batch.header().base_offset).unwrap();
        let records = batch.open(&BatchLimits::default()).unwrap();
        for (offset, event) in (first..).zip(records.events()) {
            let headers = event.headers.iter().map(|header| {
                (header.name.clone(), header.value.as_ref().map_or(vec![], |value| value.to_vec()))
            });
            let value = event.value.as_ref().map_or(vec![], |value| value.to_vec());
            events.push(Stored { offset, value, headers: headers.collect() });
        }
    }
    events
}
