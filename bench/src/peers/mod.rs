//! What weir is compared with: what people use today, and the limits of the machine.

mod todays_way;
mod jetstream;
mod todays_service;
mod nats;
mod counter;
mod counting;
mod raw_quic;
mod disk;

use futures::future::BoxFuture;
use tokio::task::JoinHandle;

use crate::load::{Fsync, Load, Setting, Subject};
use crate::measure::{Measured, Window, watch};

pub use disk::Disk;

/// What brings a peer up.
type Start = for<'a> fn(&'a Setting, &'a Load) -> BoxFuture<'a, Result<Box<dyn Subject>, String>>;

/// One peer in one setting of durability.
pub struct Peer {
    /// Its name in tables and plots.
    pub series: &'static str,
    /// When what it answers is on the disk.
    pub fsync: Fsync,
    /// Whether a latency under a rate means something: no for a disk or a loop.
    pub has_latency: bool,
    /// Brings it up for loads like this one.
    pub start: Start,
}

/// A limit that no key comes to.
const NO_LIMIT: u64 = 1_000_000_000_000;

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
    })
}
