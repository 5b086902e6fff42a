//! The catalog and its one writer: what the broker knows of topics, plugins and chains, and the
//! internal topic `__catalog` behind it. Readers get a catalog that does not change under them.

use std::path::Path;
use std::sync::{Arc, RwLock};

use tokio::sync::Mutex;
use weir_views::catalog::{Catalog, CatalogChange};
use weir_wire::fault::{Code, Fault};
use weir_wire::ids::TopicId;

use crate::internal_topic::InternalTopic;
use crate::wall_clock::now;

/// The number of the internal topic: the broker's own count down from the end.
const CATALOG_TOPIC: TopicId = TopicId(u32::MAX);

/// The catalog and its log.
pub struct Registry {
    current: RwLock<Arc<Catalog>>,
    topic: Mutex<InternalTopic<CatalogChange>>,
}

impl Registry {
    /// Folds the catalog from its log under `log_dir`.
    pub async fn open(log_dir: &Path) -> Result<Self, Fault> {
        let mut catalog = Catalog::default();
        let dir = log_dir.join("__catalog").join("0");
        let topic = InternalTopic::open(&dir, CATALOG_TOPIC, |change| {
            catalog.apply(change).map_err(|error| {
                Fault::new(Code::Corrupt, format!("the catalog does not add up: {error}"))
            })
        })
        .await?;
        Ok(Self { current: RwLock::new(Arc::new(catalog)), topic: Mutex::new(topic) })
    }

    /// The catalog as it is.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.current.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Records a change that the catalog allows; `Err` changed nothing.
    pub async fn record(&self, change: CatalogChange) -> Result<Arc<Catalog>, Fault> {
        let mut topic = self.topic.lock().await;
        let mut catalog = Catalog::clone(&self.catalog());
        catalog
            .apply(change.clone())
            .map_err(|error| Fault::new(Code::InvalidRequest, error.to_string()))?;
        topic.append(now(), std::slice::from_ref(&change)).await?;
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
