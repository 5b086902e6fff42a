//! What weir is compared with: what people use today, and the limits of the machine.

use futures::future::BoxFuture;

use crate::load::{Fsync, Load, Setting, Subject};

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

/// All of them, as they stand in the charts.
pub const PEERS: &[Peer] = &[];
