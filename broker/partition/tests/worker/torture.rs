//! The worker against the model: random histories, with crashes, full disks and jumping clocks.
//!
//! A history is a row of numbers, each an operation and its arguments, so that it shrinks well. The
//! model says every answer exactly, and when it may leave; after a crash the test knows what the disk
//! kept, because it chose it. `WEIR_TORTURE_SIZE=release` runs more; what fails is printed as a call
//! that plays it again.

use std::fs::File;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::test_runner::{Config, TestError, TestRunner};
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinHandle;
use weir_log::blocking::Blocking;
use weir_log::commit::{Identity, Kind};
use weir_log::memory::MemoryLog;
use weir_log::planted::{Bug, plant};
use weir_log::{Commit, PartitionLog};
use weir_partition::{Answer, Batch, Mode, Origin, Partition, PartitionOptions, Source, When};
use weir_views::partition::PartitionView;
use weir_views::store::{PartitionFold, Store};
use weir_wire::admin::Durability;
use weir_wire::fault::Fault;
use weir_wire::ids::{
    Offset, PartitionId, PluginName, Position, Principal, ProducerEpoch, ProducerId, Sequence,
    Timestamp, TopicId, TopicName,
};
use weir_wire::record_batch::{BatchBuilder, BatchLimits, Compression, Event, RecordBatch};
use weir_wire::retention::Retention;
use weir_wire::verdict::{Verdict, Verdicts};

use crate::daily::{daily, key_of, value_of};
use crate::house::soon;
use crate::model::{self, DAY_MS, DROP, Expected, Model, Outcome, Record, Sent, Told};

/// What fits into a minute of one core (a history takes 3 ms in a debug build), and 5 million
/// operations.
const CASES: [(&str, u32); 2] = [("ci", 20_000), ("release", 50_000)];
const OPERATIONS_MAX: usize = 200;
/// Side events of so many commits are given at once: what the door's text calls "a few".
const OUTBOX_COMMITS: usize = 64;
const BEGIN_MS: u64 = 20_000 * DAY_MS;

/// Histories in which clocks jump more than anything else: R12's figure, for both sizes.
const CLOCK_CASES: u32 = 500;
/// What happens in them, of the hundred operations: batches, the clock, a crash, a close, a tick.
const CLOCK_OPERATIONS: [u64; 10] = [0, 10, 20, 42, 56, 58, 60, 94, 97, 98];

#[test]
fn the_worker_does_what_the_model_says() {
    let size = std::env::var("WEIR_TORTURE_SIZE").unwrap_or_else(|_| "ci".to_owned());
    let (_, cases) = CASES.into_iter().find(|(name, _)| *name == size).unwrap_or(CASES[0]);
    play_all("R10", "the worker against its model", cases, |operation| operation);
}

#[test]
fn clocks_jump_and_partition_time_does_not_fall() {
    play_all("R12", "clocks that jump", CLOCK_CASES, |operation| {
        let (kind, rest) = (operation % 100, operation / 100);
        CLOCK_OPERATIONS[kind as usize % CLOCK_OPERATIONS.len()] + rest * 100
    });
}

/// What the model has to see: mistakes that the simulation of the whole broker does not meet, since
/// its clients have no reason to.
const PLANTED: [Bug; 5] = [
    Bug::RefusalBeforeSync,
    Bug::HorizonOffByOne,
    Bug::RecallFirstOnly,
    Bug::GroupNotTakenBack,
    Bug::CleanVerdicts,
];
/// Within so many histories.
const CASES_PER_BUG: u32 = 1_000;

#[test]
fn planted_bugs_are_caught_by_the_model() {
    for bug in PLANTED {
        let config = Config {
            cases: CASES_PER_BUG,
            failure_persistence: None,
            max_shrink_iters: 0,
            ..Config::default()
        };
        let world = World::new();
        plant(Some(bug));
        let outcome =
            TestRunner::new(config).run(&vec(any::<u64>(), 1..=OPERATIONS_MAX), |history| {
                world.play(&history);
                Ok(())
            });
        plant(None);
        let Err(TestError::Fail(..)) = outcome else { panic!("{bug:?} is not caught") };
        tell(&format!(
            r#"{{"row":"R2","what":"the model sees {bug:?}","result":"passed","seed":"-","seconds":0,"counts":{{}}}}"#
        ));
    }
}

/// Plays random histories, each operation as `choose` makes it, as long as there is time.
fn play_all(row: &str, what: &str, cases: u32, choose: fn(u64) -> u64) {
    let (world, begun) = (World::new(), Instant::now());
    let minutes = std::env::var("WEIR_TORTURE_MINUTES").ok();
    let minutes = minutes.map_or(u64::MAX / 60, |minutes| minutes.parse().unwrap());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let (histories, operations) = (AtomicU64::new(0), AtomicU64::new(0));
    let outcome = TestRunner::new(config).run(&vec(any::<u64>(), 1..=OPERATIONS_MAX), |history| {
        if begun.elapsed() < Duration::from_secs(minutes * 60) {
            let history: Vec<u64> = history.into_iter().map(choose).collect();
            histories.fetch_add(1, Ordering::Relaxed);
            operations.fetch_add(history.len() as u64, Ordering::Relaxed);
            world.play(&history);
        }
        Ok(())
    });
    let result = if outcome.is_ok() { "passed" } else { "failed" };
    let line = format!(
        r#"{{"row":"{row}","what":"{what}","result":"{result}","seed":"-","seconds":{:.1},"counts":{{"histories":{histories:?},"operations":{operations:?}}}}}"#,
        begun.elapsed().as_secs_f64()
    );
    tell(&line);
    if let Err(TestError::Fail(why, history)) = outcome {
        let history: Vec<u64> = history.into_iter().map(choose).collect();
        panic!("{why}\nplay it again: world.play(&{history:#x?})");
    }
    outcome.unwrap();
}

/// For people, and for the file of `cargo xtask torture` (`tests/src/torture.rs` has its form).
#[expect(clippy::print_stderr, reason = "how many histories were played is part of the result")]
fn tell(line: &str) {
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("WEIR_TORTURE_RESULTS") {
        let mut file = File::options().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// What plays histories, one after another: one thread, and time that stands still.
struct World(Runtime);

impl World {
    fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        Self(builder.enable_all().start_paused(true).build().unwrap())
    }

    fn play(&self, history: &[u64]) {
        let seed = history.first().map_or(0, |first| first >> 56);
        let durability = if seed & 16 == 0 { Durability::Durable } else { Durability::Os };
        self.0.block_on(async {
            let mut case = Case::begin(durability).await;
            for operation in history {
                case.operate(*operation).await;
            }
            case.end().await;
        });
    }
}

fn identity() -> Identity {
    Identity { topic: TopicId(4), partition: PartitionId(0) }
}

type Hearing = Result<Heard, Fault>;

#[derive(Debug)]
enum Heard {
    Answer(Answer),
    Changed(Offset),
}

struct Waiting {
    expected: Expected,
    what: String,
    answer: Pin<Box<dyn Future<Output = Hearing>>>,
}

struct Work {
    partition: Partition,
    task: JoinHandle<()>,
}

/// One history under way. Invariant: between operations the worker has done all it was given.
struct Case {
    model: Model,
    /// Records that are durable.
    durable: usize,
    log: Arc<MemoryLog>,
    clock: Arc<AtomicU64>,
    fold: PartitionFold,
    store: Store,
    durability: Durability,
    work: Work,
    waiting: Vec<Waiting>,
    /// The catalog's chain.
    catalog: u64,
    is_held: bool,
    is_full: bool,
    is_stopped: bool,
    /// The catalog's chain waits for room.
    chain_waits: bool,
    unnumbered: u64,
}

/// A stream of small choices out of one number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        let rolled = self.0 % sides;
        self.0 /= sides;
        rolled
    }
}

impl Case {
    async fn begin(durability: Durability) -> Self {
        let (log, store) = (Arc::new(MemoryLog::new(identity())), Store::in_memory());
        let clock = Arc::new(AtomicU64::new(BEGIN_MS));
        let fold = store.partition(identity().topic, identity().partition);
        let work = open(&log, &clock, &fold, durability, 1).await;
        let mut model = Model::begin(BEGIN_MS);
        model.change_chain(1);
        Self {
            model,
            durable: 1,
            log,
            clock,
            fold,
            store,
            durability,
            work,
            waiting: Vec::new(),
            catalog: 1,
            is_held: false,
            is_full: false,
            is_stopped: false,
            chain_waits: false,
            unnumbered: 0,
        }
    }

    async fn operate(&mut self, operation: u64) {
        let mut dice = Dice(operation & (u64::MAX >> 8));
        match dice.roll(100) {
            0..42 => self.burst(1, &mut dice).await,
            42..56 => {
                let batches = 2 + dice.roll(3);
                self.burst(batches, &mut dice).await;
            }
            56..66 => self.turn_clock(&mut dice),
            66..71 => self.hold(),
            71..76 => self.release().await,
            76..79 => self.change_chain().await,
            79..82 => self.relay(&mut dice).await,
            82..85 => self.ask_outbox().await,
            85..87 => self.fill(true).await,
            87..90 => self.fill(false).await,
            90..92 => self.burst_without_room(&mut dice).await,
            92 => self.break_append(&mut dice).await,
            93 => self.break_sync(&mut dice).await,
            94..97 => self.crash(&mut dice).await,
            97 => self.close(&mut dice).await,
            98 => self.clean(&mut dice).await,
            _ => self.tick().await,
        }
        self.look();
    }

    fn accepts(&self) -> bool {
        !self.is_stopped && !self.is_full && !self.chain_waits
    }

    async fn burst(&mut self, batches: u64, dice: &mut Dice) {
        // A fresh budget, so that the batches enter in one go.
        tokio::task::yield_now().await;
        for _ in 0..batches {
            let sent = self.choose(dice);
            self.send(&sent).await;
        }
        self.settle().await;
    }

    /// The next batch: mostly new numbers, else a retry, a part, a gap, another life, or none.
    fn choose(&mut self, dice: &mut Dice) -> Sent {
        let kind = dice.roll(12);
        let count = 1 + dice.roll(4) as u32;
        let all_or_nothing = dice.roll(5) == 0;
        let id = 1 + dice.roll(3);
        let (epoch, next) = self.model.next_sequence(id);
        let back = 1 + dice.roll(8) as u32;
        let producer = match kind {
            0..6 => Some((id, epoch, next)),
            6..8 => Some((id, epoch, next.saturating_sub(back))),
            8 => Some((id, epoch, next + back)),
            9 if back < 4 => Some((id, epoch + 1, back / 3)),
            9 => Some((id, epoch.saturating_sub(1), next.saturating_sub(back / 2))),
            _ => None,
        };
        self.numbered(producer, count, all_or_nothing)
    }

    fn numbered(
        &mut self,
        producer: Option<(u64, u16, u32)>,
        count: u32,
        all_or_nothing: bool,
    ) -> Sent {
        let event = |index: u32| {
            let (name, chance) = match producer {
                Some((id, epoch, first)) => {
                    let sequence = first + index;
                    let chance = (id * 31 + u64::from(epoch)) * 1_009 + u64::from(sequence);
                    (format!("{id}.{epoch}.{sequence}"), chance)
                }
                None => (format!("u{}.{index}", self.unnumbered), self.unnumbered),
            };
            // Scattered, and the same for a retry.
            let chance = chance.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let drops = chance % 16 == 0;
            let value = if drops { format!("{DROP} {name}") } else { name };
            ((chance >> 8) as u8 % 4, value)
        };
        let events = (0..count).map(event).collect();
        self.unnumbered += u64::from(producer.is_none());
        Sent { producer, all_or_nothing, events }
    }

    async fn send(&mut self, sent: &Sent) {
        let expected = match self.refusal() {
            Some(code) => Expected { told: Told::Fault(code), after: 0 },
            None => self.model.publish(sent),
        };
        let pending = self.work.partition.submit(batch(sent)).await.unwrap();
        let answer = async move { pending.answer().await.map(Heard::Answer) };
        let what = format!("{sent:?}");
        self.waiting.push(Waiting { expected, what, answer: Box::pin(answer) });
    }

    fn refusal(&self) -> Option<&'static str> {
        match () {
            () if self.is_stopped => Some("storage-broken"),
            () if self.is_full || self.chain_waits => Some("storage-full"),
            () => None,
        }
    }

    async fn send_chain(&mut self) {
        self.catalog += 1;
        let expected = match self.refusal() {
            Some(code) => Expected { told: Told::Fault(code), after: 0 },
            None => self.model.change_chain(self.catalog),
        };
        let (door, revision) = (self.work.partition.clone(), self.catalog);
        let mut answer: Pin<Box<dyn Future<Output = Hearing>>> = Box::pin(async move {
            door.change_chain(daily(revision), Bytes::new()).await.map(Heard::Changed)
        });
        let told = answer.as_mut().now_or_never();
        assert!(told.is_none(), "a chain change was answered before it was seen: {told:?}");
        let what = format!("chain {revision}");
        self.waiting.push(Waiting { expected, what, answer });
    }

    async fn change_chain(&mut self) {
        tokio::task::yield_now().await;
        self.send_chain().await;
        self.settle().await;
    }

    /// Lets the worker do what it was given, and hears who is to hear.
    async fn settle(&mut self) {
        for _ in 0..2 {
            soon(self.work.partition.outbox(u64::MAX)).await.unwrap();
        }
        if !self.is_held && !self.is_stopped {
            self.durable = self.model.records.len();
        }
        self.hear().await;
    }

    async fn hear(&mut self) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            if self.durable < waiting.expected.after {
                let told = waiting.answer.as_mut().now_or_never();
                assert!(told.is_none(), "{} was answered too early: {told:?}", waiting.what);
                self.waiting.push(waiting);
            } else {
                let told = told(soon(waiting.answer).await);
                assert_eq!(told, waiting.expected.told, "{}", waiting.what);
            }
        }
    }

    fn turn_clock(&mut self, dice: &mut Dice) {
        // From a step to a leap second, an hour, a day, and the ten years of a wrong battery.
        let far = [1, 1_000, 3_600_000, DAY_MS, 8 * DAY_MS, 3_650 * DAY_MS];
        let far = far[dice.roll(6) as usize];
        let by = dice.roll(far) + 1;
        self.model.clock = match dice.roll(3) {
            0 => self.model.clock.saturating_sub(by),
            _ => self.model.clock + by,
        };
        self.clock.store(self.model.clock, Ordering::Relaxed);
    }

    fn hold(&mut self) {
        if !self.is_stopped {
            self.log.hold_durability();
            self.is_held = true;
        }
    }

    async fn release(&mut self) {
        if self.is_held && !self.is_stopped {
            self.log.release_durability();
            self.is_held = false;
            self.settle().await;
        }
    }

    async fn fill(&mut self, is_full: bool) {
        if self.is_stopped {
            return;
        }
        self.log.set_full(is_full);
        self.is_full = is_full;
        if !is_full && std::mem::take(&mut self.chain_waits) {
            self.model.change_chain(self.catalog);
        }
        self.settle().await;
    }

    async fn relay(&mut self, dice: &mut Dice) {
        let durable = self.model.notices.iter().filter(|(at, _)| *at < self.durable).count() as u64;
        let ordinal = match dice.roll(8) {
            0 => self.model.notices.len() as u64 + 1 + dice.roll(9),
            _ => dice.roll(durable + 1),
        };
        self.work.partition.relayed(ordinal).await;
        if ordinal <= durable {
            self.model.relayed = self.model.relayed.max(ordinal);
        }
        self.settle().await;
    }

    /// I6: each notice is given once, under its own number, and only when it is durable.
    async fn ask_outbox(&self) {
        let from = self.model.relayed;
        let given = self.work.partition.outbox(from).await.unwrap();
        let mut commits = Vec::new();
        let mut expected = Vec::new();
        for (ordinal, (at, notice)) in (0..).zip(&self.model.notices).skip(from as usize) {
            if commits.last() != Some(at) {
                commits.push(*at);
            }
            if OUTBOX_COMMITS < commits.len() || self.durable <= *at {
                break;
            }
            expected.push((ordinal, notice.clone()));
        }
        let given: Vec<_> = given
            .into_iter()
            .map(|side| (side.ordinal, text(&side.event.value.unwrap())))
            .collect();
        assert_eq!(given, expected);
    }

    /// The room that was there when it was asked for is gone when it is needed.
    async fn burst_without_room(&mut self, dice: &mut Dice) {
        if !self.accepts() {
            return;
        }
        tokio::task::yield_now().await;
        let (stays, hears) = (self.model.records.len(), self.waiting.len());
        self.log.refuse_next_group();
        self.send_group(dice).await;
        while self.log.refuses_next_group() {
            tokio::task::yield_now().await;
        }
        for waiting in &mut self.waiting[hears..] {
            if stays < waiting.expected.after {
                waiting.expected = Expected { told: Told::Fault("storage-full"), after: stays };
            }
        }
        self.model.take_back(stays);
        // The worker waits for what it appended before.
        if std::mem::take(&mut self.is_held) {
            self.log.release_durability();
        }
        self.settle().await;
    }

    /// A few batches of which at least one leaves a record; sometimes a chain between them.
    async fn send_group(&mut self, dice: &mut Dice) {
        let sent = self.choose(dice);
        self.send(&sent).await;
        if dice.roll(4) == 0 {
            self.send_chain().await;
        }
        let (epoch, next) = self.model.next_sequence(1);
        let sent = self.numbered(Some((1, epoch, next)), 2, false);
        self.send(&sent).await;
        self.send(&sent).await;
    }

    async fn break_append(&mut self, dice: &mut Dice) {
        if !self.accepts() {
            return;
        }
        tokio::task::yield_now().await;
        let stays = self.model.records.len();
        self.log.fail_next_append();
        self.send_group(dice).await;
        self.model.take_back(stays);
        self.has_stopped().await;
    }

    async fn break_sync(&mut self, dice: &mut Dice) {
        if !self.accepts() {
            return;
        }
        tokio::task::yield_now().await;
        self.log.fail_next_sync();
        if std::mem::take(&mut self.is_held) {
            self.log.release_durability();
        } else {
            self.send_group(dice).await;
        }
        self.has_stopped().await;
    }

    /// Whoever waits for what is not durable hears that nobody knows.
    async fn has_stopped(&mut self) {
        self.is_stopped = true;
        for waiting in &mut self.waiting {
            if self.durable < waiting.expected.after {
                waiting.expected = Expected { told: Told::Fault("storage-broken"), after: 0 };
            }
        }
        self.settle().await;
    }

    /// The power goes. Of what was not durable the disk kept as much as the dice say; of what was,
    /// everything, unless the topic did not ask for that.
    async fn crash(&mut self, dice: &mut Dice) {
        let written = self.model.records.len();
        let kept = match self.durability {
            Durability::Os if dice.roll(2) == 0 => {
                self.durable - dice.roll(5).min(self.durable as u64) as usize
            }
            _ => self.durable + dice.roll((written - self.durable) as u64 + 1) as usize,
        };
        self.die(kept).await;
        self.forget_checkpoints(dice);
        self.open(dice).await;
    }

    /// Retention removes what is durable, or all but a few commits of it: nobody hears of it, and
    /// everything else is as it was.
    async fn clean(&mut self, dice: &mut Dice) {
        let bytes = [0, 600, 2_000][dice.roll(3) as usize];
        let retention = Retention { bytes: Some(bytes), ..Retention::default() };
        let cleaned = soon(self.work.partition.clean(&retention, When::Due)).await;
        match cleaned {
            Ok(_) => {}
            Err(error) => assert!(self.is_stopped, "{error}"),
        }
        self.settle().await;
    }

    async fn die(&mut self, kept: usize) {
        // A stretch that was cleaned was sealed, and so it was synced, whatever the topic asks for.
        let kept = kept.max((self.log.earliest().0.0 as usize).saturating_sub(1));
        self.work.task.abort();
        let _ = soon(&mut self.work.task).await;
        for waiting in std::mem::take(&mut self.waiting) {
            let told = told(soon(waiting.answer).await);
            assert_eq!(told, Told::Fault("shutting-down"), "{}", waiting.what);
        }
        self.log = Arc::new(self.log.reopen_at(Position(1 + kept as u64)));
        self.model.cut(kept);
        self.durable = kept;
    }

    async fn close(&mut self, dice: &mut Dice) {
        soon(self.work.partition.close()).await;
        if !self.is_stopped {
            self.durable = self.model.records.len();
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let told = told(soon(waiting.answer).await);
            // Old verdicts are read back from the log, which may be closed by then.
            let reads = matches!(
                waiting.expected.told,
                Told::Judged { duplicate: true, .. } | Told::Fault("out-of-order-sequence")
            );
            if !reads || told != Told::Fault("shutting-down") {
                assert_eq!(told, waiting.expected.told, "{}", waiting.what);
            }
        }
        let before = self.durable;
        self.log = Arc::new(self.log.reopen());
        self.model.take_back(before);
        self.take_marks().await;
        // Nobody remembers what was said and not recorded.
        self.model.cut(self.model.records.len());
        self.durable = self.model.records.len();
        self.forget_checkpoints(dice);
        self.open(dice).await;
    }

    fn forget_checkpoints(&self, dice: &mut Dice) {
        if dice.roll(4) == 0 {
            self.store.forget(identity().topic).unwrap();
        }
    }

    async fn open(&mut self, dice: &mut Dice) {
        (self.is_held, self.is_stopped) = (false, false);
        self.is_full = dice.roll(8) == 0;
        self.log.set_full(self.is_full);
        self.chain_waits = false;
        self.work = open(&self.log, &self.clock, &self.fold, self.durability, self.catalog).await;
        if self.model.chain != self.catalog {
            match self.is_full {
                true => self.chain_waits = true,
                false => drop(self.model.change_chain(self.catalog)),
            }
        }
        self.settle().await;
    }

    /// Ten seconds pass: marks and checkpoints are written.
    async fn tick(&mut self) {
        if self.is_stopped {
            return;
        }
        self.release().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        self.settle().await;
        self.settle().await;
        self.take_marks().await;
        self.durable = self.model.records.len();
    }

    /// Marks are the worker's to write or not; their content is not.
    async fn take_marks(&mut self) {
        let from = Position(1 + self.model.records.len() as u64);
        let more = self.log.read(from, usize::MAX).await.unwrap();
        assert!(more.len() <= 1, "one mark says it all: {more:?}");
        for stored in more {
            self.model.mark();
            let record = self.model.records.last().unwrap();
            assert_eq!(record_of(&stored.commit), *record);
        }
    }

    fn look(&self) {
        let now = self.work.partition.snapshot().borrow().clone();
        let emitted = self.model.notices.len() as u64;
        assert_eq!(now.stopped.is_some(), self.is_stopped);
        if self.is_stopped {
            return;
        }
        assert_eq!(now.time.0, self.model.time, "partition time");
        assert_eq!(now.chain.0, self.model.chain, "chain");
        assert_eq!((now.next_ordinal, now.relayed), (emitted, self.model.relayed), "outbox");
        assert_eq!(now.outbox_pending, emitted - self.model.relayed);
        let tail = self.log.tail().borrow().position;
        assert_eq!(tail.0, 1 + self.durable as u64, "the log's tail");
    }

    /// I1 to I6 on what a last crash leaves.
    async fn end(mut self) {
        if !self.is_stopped {
            self.release().await;
        }
        self.die(self.durable).await;
        let (begin, start) = self.log.earliest();
        let mut stored = self.log.read(begin, usize::MAX).await.unwrap();
        let (mut view, mut time) = (PartitionView::restore(None), 0);
        if let Some(snapshot) = self.log.snapshot().await.unwrap() {
            view = PartitionView::unpack(&snapshot.view).unwrap();
            assert_eq!(view.pack(), snapshot.view, "a view that was packed is the same again");
        } else {
            let open = stored.remove(0);
            view.apply(open.position, &open.commit);
        }
        let gone = view.next().0 as usize - 1;
        assert_eq!(gone + stored.len(), self.model.records.len());
        let mut ordinal = view.next_ordinal();
        for (stored, record) in stored.iter().zip(&self.model.records[gone..]) {
            assert_eq!(record_of(&stored.commit), *record);
            assert!(time <= record.time, "partition time never falls");
            time = record.time;
            for side in &stored.commit.outbox {
                assert_eq!(side.ordinal, ordinal, "ordinals are dense");
                ordinal += 1;
            }
            view.apply(stored.position, &stored.commit);
        }
        let fetched = self.log.fetch(start, usize::MAX).await.unwrap();
        let values: Vec<String> = fetched.batches.into_iter().flat_map(values_in).collect();
        let all = self.model.records.iter().flat_map(|record| &record.stored);
        let expected: Vec<&String> = all.skip(start.0 as usize).collect();
        assert_eq!(values.iter().collect::<Vec<_>>(), expected);
        assert_eq!(fetched.next.0, start.0 + values.len() as u64, "every offset has its event");

        let state = view.state(&PluginName::parse("daily").unwrap());
        assert_eq!(state.keys(), self.model.counts.len() as u64);
        for (&(key, day), &(passed, noticed)) in &self.model.counts {
            let value = state.get(&key_of(key, day)).map(|(value, _)| value.to_vec());
            assert_eq!(value, Some(value_of(passed, noticed)), "key {key} on day {day}");
        }
        drop(state);
        if let Some(checkpoint) = self.fold.load()
            && (begin..=view.next()).contains(&checkpoint.position())
            && self.durability == Durability::Durable
        {
            let mut restored = PartitionView::restore(Some(checkpoint));
            for stored in self.log.read(restored.next(), usize::MAX).await.unwrap() {
                restored.apply(stored.position, &stored.commit);
            }
            assert_eq!(restored.digest(), view.digest(), "a checkpoint and the log's rest");
        }
    }
}

async fn open(
    log: &Arc<MemoryLog>,
    clock: &Arc<AtomicU64>,
    fold: &PartitionFold,
    durability: Durability,
    revision: u64,
) -> Work {
    let clock = Arc::clone(clock);
    let options = PartitionOptions {
        topic: TopicName::parse("bookings").unwrap(),
        partition: PartitionId(0),
        log: Arc::clone(log) as Arc<dyn PartitionLog>,
        durability,
        fold: fold.clone(),
        chain: daily(revision),
        chain_note: Bytes::new(),
        // In the order in which it was begun, when the worker waits.
        blocking: Blocking::by(|work| drop(tokio::spawn(async move { work() }))),
        clock: Arc::new(move || Timestamp(clock.load(Ordering::Relaxed))),
    };
    let (partition, task) = Partition::open(options, &Handle::current()).await.unwrap();
    Work { partition, task }
}

fn batch(sent: &Sent) -> Batch {
    let mut builder = BatchBuilder::default();
    for (key, value) in &sent.events {
        let (key, value) = (Some(Bytes::copy_from_slice(&[*key])), Some(value.clone().into()));
        builder.push(&Event { key, value, ..Event::default() }.as_record());
    }
    let encoded = RecordBatch::parse(builder.finish(Compression::None)).unwrap();
    let records = encoded.open(&BatchLimits::default()).unwrap();
    let origin = match sent.producer {
        None => Origin::Unnumbered,
        Some((id, epoch, first)) => Origin::Producer {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            first: Sequence::new(first),
        },
    };
    let mode = if sent.all_or_nothing { Mode::AllOrNothing } else { Mode::PerEvent };
    Batch {
        publisher: Principal::parse("tester").unwrap(),
        mode,
        origin,
        source: Source::Untold,
        encoded,
        records,
    }
}

fn told(heard: Hearing) -> Told {
    match heard {
        Err(fault) => Told::Fault(fault.code.as_str()),
        Ok(Heard::Changed(offset)) => Told::Changed { offset: offset.0 },
        Ok(Heard::Answer(answer)) => Told::Judged {
            first_offset: answer.first_offset.0,
            outcomes: outcomes_of(&answer.verdicts),
            time: answer.time.0,
            chain: answer.chain.0,
            duplicate: answer.duplicate,
        },
    }
}

fn outcomes_of(verdicts: &Verdicts) -> Vec<Outcome> {
    let outcome = |verdict: &Verdict| match verdict {
        Verdict::Accepted => Outcome::Accepted,
        Verdict::Dropped { .. } => Outcome::Dropped,
        Verdict::Rejected(why) => {
            assert_eq!(
                (why.plugin.as_str(), why.code.as_str(), why.fault),
                ("daily", "limit", false)
            );
            Outcome::Refused(why.message.clone())
        }
        Verdict::Aborted => Outcome::Aborted,
    };
    verdicts.iter().map(outcome).collect()
}

/// A commit in the model's words.
fn record_of(commit: &Commit) -> Record {
    let counts = commit.state.iter().map(|change| {
        let key = (change.key[0], u64::from_be_bytes(change.key[1..].try_into().unwrap()));
        let value = &change.value.as_ref().unwrap().bytes;
        (key, (u64::from_be_bytes(value[..8].try_into().unwrap()), value[8] == 1))
    });
    Record {
        kind: match commit.kind {
            Kind::Batch => model::Kind::Batch,
            Kind::Chain => model::Kind::Chain,
            Kind::Mark => model::Kind::Mark,
            other => panic!("nobody writes {other:?}"),
        },
        time: commit.time.0,
        chain: commit.chain.0,
        first_offset: commit.first_offset.0,
        relayed: commit.relayed,
        producer: commit.producer.map(|by| (by.id.0, by.epoch.0, by.first.number())),
        outcomes: outcomes_of(&commit.verdicts),
        stored: if commit.events == 0 { Vec::new() } else { values_in(commit.data.clone()) },
        notices: commit
            .outbox
            .iter()
            .map(|side| text(side.event.value.as_ref().unwrap()))
            .collect(),
        counts: counts.collect(),
    }
}

fn values_in(bytes: Bytes) -> Vec<String> {
    let records = RecordBatch::parse(bytes).unwrap();
    let records = records.open(&BatchLimits::default()).unwrap();
    records.iter().map(|record| text(record.value.unwrap())).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
