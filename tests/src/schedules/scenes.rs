//! The five things that happen at the same time.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::future::join_all;
use tokio::task::JoinHandle;
use weir::groups::Groups;
use weir_log::planted::Bug;
use weir_partition::Chain;
use weir_wire::ids::{ChainRevision, GroupName, Offset, PartitionId, Timestamp, TopicId};

use super::Report;
use super::house::Ground;
use super::parity::parity;
use super::turns::{End, Threads, Turns};

/// Turns of a schedule at most; one of these scenes takes some hundreds.
const TURNS_MAX: u64 = 20_000;
/// In every second schedule the power goes within so many turns.
const CUT_WITHIN: u64 = 120;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Publishers share syncs, over the borders of segments.
    GroupCommit,
    /// The chain changes while events flow.
    HotSwap,
    /// The partition closes while events flow.
    Shutdown,
    /// A group's members commit and look.
    Cursor,
    /// Readers sleep until there is something to read.
    WakeUp,
}

/// Plays one schedule of a scene.
pub fn run(scene: Scene, seed: u64, bug: Option<Bug>, threads: &Threads) -> Report {
    let turns = Turns::new(seed, bug, threads);
    let ground = Ground::new(&turns);
    let seen: Cursors = Arc::default();
    let is_over = Arc::new(AtomicBool::new(false));
    let runtime = Turns::runtime(seed);
    let (over, work) = (Arc::clone(&is_over), play(scene, ground.clone(), Arc::clone(&seen)));
    let all: JoinHandle<()> = runtime.spawn(async move {
        work.await;
        over.store(true, Ordering::SeqCst);
    });
    let turns_max = if turns.below(2) == 0 { turns.below(CUT_WITHIN) } else { TURNS_MAX };
    let end =
        turns.play(&runtime, turns_max, || is_over.load(Ordering::SeqCst) || all.is_finished());
    let mut findings = Vec::new();
    match end {
        End::Done if !is_over.load(Ordering::SeqCst) => {
            findings.push("a task fell over".to_owned())
        }
        End::Asleep => findings.push("everyone sleeps, and nobody is left to wake them".to_owned()),
        End::Cut if turns_max == TURNS_MAX => findings.push("it has no end".to_owned()),
        End::Done | End::Cut => {}
    }
    // Of what was not synced survives nothing, half or all.
    let keeps = [0, 1, 2][turns.below(3) as usize];
    let dice = turns.clone();
    ground.disk.power_cut(move || dice.below(2) < keeps);
    drop(runtime);
    turns.finish();
    findings.extend(turns.panics());
    match scene {
        Scene::Cursor => seen.lock().unwrap().check(&ground, &mut findings),
        _ if ground.disk.paths().is_empty() => {}
        _ => ground.judge(&mut findings),
    }
    Report { findings, choices: turns.choices(), was_cut: end == End::Cut }
}

fn play(scene: Scene, ground: Ground, seen: Cursors) -> BoxFuture<'static, ()> {
    match scene {
        Scene::GroupCommit => group_commit(ground).boxed(),
        Scene::HotSwap => hot_swap(ground).boxed(),
        Scene::Shutdown => shutdown(ground).boxed(),
        Scene::Cursor => cursor(ground, seen).boxed(),
        Scene::WakeUp => wake_up(ground).boxed(),
    }
}

/// A chain that lets everything pass.
fn open() -> Chain {
    Chain { revision: ChainRevision(0), links: Vec::new() }
}

async fn together<F: Future<Output = ()> + Send + 'static>(ground: &Ground, tasks: Vec<F>) {
    let spawn = |task| tokio::spawn(ground.turns.restless(task));
    for ended in join_all(tasks.into_iter().map(spawn)).await {
        ended.unwrap();
    }
}

async fn group_commit(ground: Ground) {
    let partition = ground.open(open()).await;
    let publishers = 1..=3;
    let publisher = |number| ground.clone().publish(partition.clone(), number, 4);
    together(&ground, publishers.map(publisher).collect()).await;
    partition.close().await;
}

async fn hot_swap(ground: Ground) {
    let partition = ground.open(parity(1)).await;
    let publisher = |number| ground.clone().publish(partition.clone(), number, 5).boxed();
    let door = partition.clone();
    let operator = async move {
        for revision in 2..=4 {
            door.change_chain(parity(revision), Bytes::new()).await.unwrap();
        }
    };
    together(&ground, vec![publisher(1), publisher(2), operator.boxed()]).await;
    partition.close().await;
}

async fn shutdown(ground: Ground) {
    let partition = ground.open(open()).await;
    let publisher = |number| ground.clone().publish(partition.clone(), number, 6).boxed();
    let (door, turns) = (partition.clone(), ground.turns.clone());
    let operator = async move {
        for _ in 0..turns.below(60) {
            tokio::task::yield_now().await;
        }
        door.close().await;
    };
    together(&ground, vec![publisher(1), publisher(2), publisher(3), operator.boxed()]).await;
}

async fn wake_up(ground: Ground) {
    const BATCHES: u64 = 3;
    let partition = ground.open(open()).await;
    let publisher = |number| ground.clone().publish(partition.clone(), number, BATCHES).boxed();
    // Each batch has at least one event.
    let reader = || ground.clone().read(partition.clone(), 2 * BATCHES as usize).boxed();
    together(&ground, vec![publisher(1), publisher(2), reader(), reader()]).await;
    partition.close().await;
}

/// What a group's members were told.
#[derive(Default)]
pub struct Known {
    /// The highest offset that was confirmed or seen, by partition.
    highest: [u64; 2],
    back: Vec<String>,
}

type Cursors = Arc<Mutex<Known>>;

const TOPIC: TopicId = TopicId(17);

fn readers() -> GroupName {
    GroupName::parse("readers").unwrap()
}

async fn offsets(ground: &Ground) -> Arc<Groups> {
    let clock: weir::wall_clock::Clock = Arc::new(|| Timestamp(1_000));
    Groups::open(&ground.machine(), Path::new("/log"), true, clock, |_| None).await.unwrap()
}

async fn cursor(ground: Ground, seen: Cursors) {
    let offsets = offsets(&ground).await;
    let member = |partition: u32| {
        let (offsets, seen) = (Arc::clone(&offsets), Arc::clone(&seen));
        async move {
            for offset in 1..=6 {
                let at = vec![(PartitionId(partition), Offset(offset))];
                offsets.commit(readers(), TOPIC, None, at).await.unwrap();
                seen.lock().unwrap().saw(partition, offset);
            }
        }
    };
    let looker = || {
        let (offsets, seen) = (Arc::clone(&offsets), Arc::clone(&seen));
        async move {
            for _ in 0..8 {
                let found = offsets.of(&readers(), TOPIC, 2).await.unwrap();
                seen.lock().unwrap().found(&found);
                tokio::task::yield_now().await;
            }
        }
    };
    together(&ground, vec![member(0).boxed(), member(1).boxed(), looker().boxed()]).await;
    offsets.close().await;
}

impl Known {
    fn saw(&mut self, partition: u32, offset: u64) {
        let highest = &mut self.highest[partition as usize];
        *highest = offset.max(*highest);
    }

    /// Nobody commits anything lower than before, so it never goes back.
    fn found(&mut self, found: &[(PartitionId, Offset)]) {
        for partition in 0..2 {
            let at = found.iter().find(|(of, _)| of.0 == partition).map_or(0, |(_, at)| at.0);
            if at < self.highest[partition as usize] {
                let highest = self.highest[partition as usize];
                self.back.push(format!("partition {partition}: {at} is found behind {highest}"));
            }
            self.saw(partition, at);
        }
    }

    fn check(&mut self, ground: &Ground, findings: &mut Vec<String>) {
        let clock: weir::wall_clock::Clock = Arc::new(|| Timestamp(1_000));
        let machine = ground.machine_at_rest();
        let opened = Groups::open(&machine, Path::new("/log"), true, clock, |_| None);
        match opened.now_or_never().expect("nothing waits") {
            Ok(offsets) => {
                let found = offsets.of(&readers(), TOPIC, 2).now_or_never();
                self.found(&found.expect("nothing waits").unwrap());
            }
            Err(fault) => findings.push(format!("the offsets do not open: {fault}")),
        }
        findings.append(&mut self.back);
    }
}
