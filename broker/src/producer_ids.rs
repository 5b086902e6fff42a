//! Gives out producer ids, each once in the life of the data directory: they are reserved in the
//! catalog a block at a time, before the first of a block is given out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;
use weir_views::catalog::CatalogChange;
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::ProducerId;

use crate::registry::{RecordError, Registry};

/// Ids reserved with one record: a crash loses what is left of a block, and nobody misses it.
const BLOCK: u64 = 1_000;

/// The counter.
#[derive(Clone)]
pub struct ProducerIds {
    registry: Arc<Registry>,
    next: Arc<Mutex<u64>>,
    /// Every id below was or may have been given out.
    reserved: Arc<AtomicU64>,
}

impl ProducerIds {
    /// Goes on behind everything that was ever reserved.
    pub fn new(registry: Arc<Registry>) -> Self {
        let reserved = registry.catalog().producer_ids_up_to();
        Self {
            registry,
            next: Arc::new(Mutex::new(reserved)),
            reserved: Arc::new(AtomicU64::new(reserved)),
        }
    }

    /// The bound below which ids were given out, kept up to date.
    pub fn reserved(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.reserved)
    }

    /// A producer id that nobody had before.
    pub async fn next(&self) -> Result<ProducerId, Fault> {
        let mut next = self.next.lock().await;
        if *next == self.reserved.load(Ordering::Acquire) {
            let up_to = *next + BLOCK;
            let reserved = CatalogChange::ProducerIdsReserved { up_to };
            self.registry.record(reserved).await.map_err(|error| match error {
                RecordError::NotWritten(fault) => fault,
                RecordError::Refused(error) => Fault::new(Code::Internal, error.to_string()),
            })?;
            self.reserved.store(up_to, Ordering::Release);
        }
        let id = ProducerId(*next);
        *next += 1;
        Ok(id)
    }
}
