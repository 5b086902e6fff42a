//! What weir is compared with: what people use today, and the limits of the machine.

mod todays_way;
mod jetstream;
mod todays_service;
mod nats;
mod counter;
mod counting;
mod raw_quic;
mod disk;

use std::path::Path;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use self::counter::Counter;
use self::jetstream::JetStream;
use self::raw_quic::{AS_WEIR, BEST, RawQuic};
use self::todays_way::TodaysWay;
use crate::load::{Fsync, Setting, Subject};
use crate::measure::{Measured, Window, watch};

pub use disk::Disk;

pub use nats::publisher::Way;
pub use todays_service::{Order, serve};

/// What brings a peer up.
type Start = for<'a> fn(&'a Setting) -> BoxFuture<'a, Result<Box<dyn Subject>, String>>;

/// One peer in one setting of durability.
pub struct Peer {
    /// Its name in tables and plots.
    pub series: &'static str,
    /// When what it answers is on the disk.
    pub fsync: Fsync,
    /// Brings it up.
    pub start: Start,
}

/// A limit that no key comes to.
const NO_LIMIT: u64 = 1_000_000_000_000;

/// What people use today, each in the way that is fastest for it: syncs are shared by atomic batches
/// alone, and without them fast ingest costs the least. The chart `nats` has the others.
pub const TODAY: &[Peer] = &[
    Peer {
        series: "NATS and a service",
        fsync: Fsync::EachAnswer,
        start: |setting| todays_way(setting, Fsync::EachAnswer, Way::Atomic),
    },
    Peer {
        series: "NATS and a service",
        fsync: Fsync::Interval120s,
        start: |setting| todays_way(setting, Fsync::Interval120s, Way::Fast),
    },
    Peer {
        series: "NATS, no rule",
        fsync: Fsync::EachAnswer,
        start: |setting| jetstream(setting, Fsync::EachAnswer, Way::Atomic),
    },
    Peer {
        series: "NATS, no rule",
        fsync: Fsync::Interval120s,
        start: |setting| jetstream(setting, Fsync::Interval120s, Way::Fast),
    },
];

/// What the machine could do with the same events.
pub const LIMITS: &[Peer] = &[
    Peer {
        series: "QUIC alone, set up as weir",
        fsync: Fsync::None,
        start: |_| async { Ok(Box::new(RawQuic(AS_WEIR)) as Box<dyn Subject>) }.boxed(),
    },
    Peer {
        series: "QUIC alone, set up for loopback",
        fsync: Fsync::None,
        start: |_| async { Ok(Box::new(RawQuic(BEST)) as Box<dyn Subject>) }.boxed(),
    },
    Peer {
        series: "the rule in Rust, one core",
        fsync: Fsync::None,
        start: |_| async { Ok(Box::new(Counter) as Box<dyn Subject>) }.boxed(),
    },
];

/// NATS with a service that judges.
pub fn todays_way(
    setting: &Setting,
    fsync: Fsync,
    way: Way,
) -> BoxFuture<'_, Result<Box<dyn Subject>, String>> {
    async move {
        let subject = TodaysWay::start(setting, fsync, way, NO_LIMIT).await?;
        Ok(Box::new(subject) as Box<dyn Subject>)
    }
    .boxed()
}

/// NATS that stores and does not judge.
pub fn jetstream(
    setting: &Setting,
    fsync: Fsync,
    way: Way,
) -> BoxFuture<'_, Result<Box<dyn Subject>, String>> {
    async move {
        let subject = JetStream::start(setting, fsync, way).await?;
        Ok(Box::new(subject) as Box<dyn Subject>)
    }
    .boxed()
}

/// Whether peers are wanted and there; says why not.
pub fn has_nats(setting: &Setting) -> bool {
    let is_there = nats::server::find(&setting.root).is_some();
    if setting.with_peers && !is_there {
        setting.tell(
            "nats-server is not there, so the peers on NATS are left out: `cargo xtask bench` installs \
             it, or name it with WEIR_BENCH_NATS_SERVER",
        );
    }
    setting.with_peers && is_there
}

/// The version of the server that is measured.
pub fn nats_version(root: &Path) -> Option<String> {
    nats::server::version(&nats::server::find(root)?)
}

/// Waits for what a piece of the machine came to, and looks at this process meanwhile.
async fn of_machine(
    counting: JoinHandle<Result<u64, String>>,
    window: Window,
    event_bytes: usize,
) -> Result<Measured, String> {
    let usage = watch(window, Vec::new()).await?;
    let events = counting.await.map_err(|error| error.to_string())??;
    Ok(Measured {
        events,
        seconds: window.duration.as_secs_f64(),
        event_bytes: events * event_bytes as u64,
        latency: None,
        usage: Some(usage),
        slow_share: None,
    })
}
