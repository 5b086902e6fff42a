//! More publishers than a partition takes, on a disk that is slow and sometimes stands still (row
//! R13), in time that passes as soon as everybody waits.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep};
use weir_log::blocking::Blocking;
use weir_log::segment::{Machine, Options};
use weir_partition::{Chain, Partition};
use weir_wire::fault::{Code, Fault};

use super::house::{Ground, batch};
use super::turns::{Threads, Turns};
use crate::ledger::Name;

/// More than one partition has in its hands, so that some have to wait at its door.
const PUBLISHERS: u32 = 1_400;
const BATCHES: u64 = 3;
/// What a partition takes before it makes publishers wait: 1,024 that wait for the disk, a group
/// that is judged, and an inbox of 64.
const TAKEN_MAX: u64 = 1_024 + 64 + 64;
/// How long whoever waits at the door waits at least, before it is sent away.
const PATIENCE: Duration = Duration::from_secs(5);
/// A sync of this disk, or a write; and one that stands still.
const TAKES_MS: u64 = 500;
const STALL_MS: std::ops::Range<u64> = 5_000..9_000;

/// What a run came to.
#[derive(Debug, Default)]
pub struct Slow {
    /// Batches that were taken and not answered, at most.
    pub taken_max: u64,
    /// How often a publisher was sent away.
    pub overloaded: u64,
    /// Everything that must not be.
    pub findings: Vec<String>,
}

/// What all publishers of a run share.
#[derive(Clone)]
struct Town {
    ground: Ground,
    partition: Partition,
    taken: Arc<AtomicU64>,
    slow: Arc<Mutex<Slow>>,
}

/// Runs one seed.
pub fn run(seed: u64) -> Slow {
    let turns = Turns::new(seed, None, &Threads::default());
    let ground = Ground::new(&turns);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let slow = runtime.block_on(play(ground.clone(), seed));
    let slow = slow.lock().unwrap();
    let mut findings = slow.findings.clone();
    // What was told is durable.
    ground.disk.power_cut(|| false);
    drop(runtime);
    ground.judge(&mut findings);
    if ground.ledger().answered() as u64 != u64::from(PUBLISHERS) * BATCHES {
        findings.push("some events have no answer".to_owned());
    }
    if slow.taken_max > TAKEN_MAX {
        findings.push(format!("{} batches were taken at once", slow.taken_max));
    }
    if slow.overloaded == 0 {
        findings.push("nobody was told that the partition is overloaded".to_owned());
    }
    Slow { findings, ..*slow }
}

async fn play(ground: Ground, seed: u64) -> Arc<Mutex<Slow>> {
    let machine = Machine { blocking: slow_disk(seed), ..ground.machine() };
    let chain = Chain::default();
    let partition = ground.open_on(machine, Options::default(), chain).await;
    let town = Town { ground, partition, taken: Arc::default(), slow: Arc::default() };
    let publish = |number| tokio::spawn(town.clone().publish(number));
    for ended in join_all((1..=PUBLISHERS).map(publish)).await {
        ended.unwrap();
    }
    town.partition.close().await;
    town.slow
}

/// Each piece of its work takes its time, and the second and some others stand still.
fn slow_disk(seed: u64) -> Blocking {
    let state = Mutex::new((fastrand::Rng::with_seed(seed), 0));
    Blocking::by(move |work| {
        let (chance, pieces) = &mut *state.lock().unwrap();
        *pieces += 1;
        let stands_still = *pieces == 2 || chance.u32(..8) == 0;
        let ms = if stands_still { chance.u64(STALL_MS) } else { chance.u64(..=2 * TAKES_MS) };
        tokio::spawn(async move {
            sleep(Duration::from_millis(ms)).await;
            work();
        });
    })
}

impl Town {
    async fn publish(self, producer: u32) {
        for number in 0..BATCHES {
            let name = Name { producer, number };
            self.ground.ledger().sent(name, "u", number, name.value(0));
            let mut asked = Instant::now();
            let pending = loop {
                match self.partition.submit(batch(&[name])).await {
                    Ok(pending) => break pending,
                    Err(fault) => sleep(self.sent_away(&fault, asked.elapsed())).await,
                }
                asked = Instant::now();
            };
            self.took(1 + self.taken.fetch_add(1, Ordering::SeqCst));
            let answer = pending.answer().await;
            self.taken.fetch_sub(1, Ordering::SeqCst);
            self.ground.told(&[name], answer);
        }
    }

    fn took(&self, taken: u64) {
        let mut slow = self.slow.lock().unwrap();
        slow.taken_max = slow.taken_max.max(taken);
    }

    /// When to come again.
    fn sent_away(&self, fault: &Fault, waited: Duration) -> Duration {
        let mut slow = self.slow.lock().unwrap();
        slow.overloaded += 1;
        let after = fault.retry_after_ms.unwrap_or_default();
        if fault.code != Code::Overloaded || after == 0 || waited < PATIENCE {
            slow.findings.push(format!("{fault} after {waited:?}"));
        }
        Duration::from_millis(after)
    }
}
