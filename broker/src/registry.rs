//! The catalog and its one writer: what the broker knows of topics, plugins and chains, and the
//! internal topic `__catalog` behind it. Readers get a catalog that does not change under them.

use std::path::Path;
use std::sync::{Arc, RwLock};

use tokio::sync::Mutex;
use weir_log::segment::Machine;
use weir_views::catalog::{CATALOG_TOPIC, CATALOG_TOPIC_ID, Catalog, CatalogChange, CatalogError};
use weir_wire::fault::{Code, Fault};

use crate::internal_topic::InternalTopic;
use crate::wall_clock::Clock;

/// Why a change was not recorded. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The catalog does not allow it.
    #[error(transparent)]
    Refused(#[from] CatalogError),
    /// The log does not take it.
    #[error(transparent)]
    NotWritten(#[from] Fault),
}

/// The catalog and its log.
pub struct Registry {
    current: RwLock<Arc<Catalog>>,
    topic: Mutex<InternalTopic<CatalogChange>>,
    clock: Clock,
}

impl Registry {
    /// Folds the catalog from its log under `log_dir`. It may be missing only in a new folder: what
    /// is in the others would be nobody's.
    pub async fn open(machine: &Machine, log_dir: &Path, clock: Clock) -> Result<Self, Fault> {
        let others = machine.disk.list(log_dir);
        let others = others.map_err(|error| Fault::new(Code::StorageBroken, error.to_string()))?;
        let is_new = others.iter().all(|entry| entry.name == CATALOG_TOPIC);
        let mut catalog = Catalog::default();
        let dir = log_dir.join(CATALOG_TOPIC).join("0");
        let topic = InternalTopic::open(machine, &dir, CATALOG_TOPIC_ID, is_new, |change| {
            catalog.apply(&change)
        })
        .await?;
        let (current, topic) = (RwLock::new(Arc::new(catalog)), Mutex::new(topic));
        Ok(Self { current, topic, clock })
    }

    /// The catalog as it is.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Whether nothing was ever recorded.
    pub async fn is_new(&self) -> bool {
        self.topic.lock().await.is_new()
    }

    /// Records a change that the catalog allows.
    pub async fn record(&self, change: CatalogChange) -> Result<Arc<Catalog>, RecordError> {
        let mut topic = self.topic.lock().await;
        let mut catalog = Catalog::clone(&self.catalog());
        catalog.check(&change)?;
        topic.append((self.clock)(), std::slice::from_ref(&change)).await?;
        catalog.apply(&change);
        let catalog = Arc::new(catalog);
        *self.current.write().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Arc::clone(&catalog);
        Ok(catalog)
    }

    /// Lets go of the log.
    pub async fn close(&self) {
        self.topic.lock().await.close().await;
    }
}
