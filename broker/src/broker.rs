//! The broker without its doors: every room behind them, put together and closed again.
//!
//! What it stands on is handed in, so that a simulation can give it a disk, a clock and threads of
//! its own making.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use weir_log::segment::Machine;
use weir_partition::Partition;
use weir_views::store::Store;
use weir_wire::fault::{Code, Fault};

use crate::cleaner::Cleaner;
use crate::control::Control;
use crate::desk::Desk;
use crate::groups::Groups;
use crate::home::Token;
use crate::plugin_logs::PluginLogs;
use crate::producer_ids::ProducerIds;
use crate::registry::Registry;
use crate::router::Router;
use crate::session::Office;
use crate::shelf::Plugins;
use crate::topics::Topics;
use crate::wall_clock::Clock;

/// What a broker stands on.
pub struct Ground {
    /// Disk and blocking threads.
    pub machine: Machine,
    /// The folder of all logs; it is there.
    pub log_dir: PathBuf,
    /// The checkpoints.
    pub store: Store,
    /// The plugins.
    pub plugins: Arc<dyn Plugins>,
    /// The time.
    pub clock: Clock,
    /// The threads that judge.
    pub judges: tokio::runtime::Handle,
    /// Whoever has it may do everything.
    pub token: Token,
}

/// A broker whose topics are open.
pub struct Broker {
    /// For operators.
    pub control: Arc<Control>,
    /// For clients.
    pub office: Arc<Office>,
    /// Turns true when the broker goes down.
    pub stopping: watch::Receiver<bool>,
    stop: watch::Sender<bool>,
    topics: Arc<Topics>,
    registry: Arc<Registry>,
    groups: Arc<Groups>,
}

impl Broker {
    /// Opens everything that the catalog knows. A partition that cannot be opened says why to
    /// whoever asks for it; the others serve.
    pub async fn open(ground: Ground) -> Result<Self, Fault> {
        let Ground { machine, log_dir, store, plugins, clock, judges, token } = ground;
        let registry = Registry::open(&machine, &log_dir, Arc::clone(&clock)).await?;
        let registry = Arc::new(registry);
        // It was made before the first change of the catalog.
        let is_new = registry.is_new().await;
        let producer_ids = ProducerIds::new(Arc::clone(&registry));
        let known = registry.catalog();
        let width = |id| known.topics().find(|topic| topic.id == id).map(|topic| topic.partitions);
        let groups = Groups::open(&machine, &log_dir, is_new, Arc::clone(&clock), width).await?;
        let router = Arc::new(Router::default());
        let desk = Arc::new(Desk::new(Arc::clone(&router), producer_ids.reserved()));
        let (stop, stopping) = watch::channel(false);
        let topics = Arc::new(Topics {
            machine,
            clock: Arc::clone(&clock),
            log_dir,
            store,
            shelf: Arc::clone(&plugins),
            logs: Arc::new(PluginLogs::new(Arc::clone(&clock))),
            router,
            desk: Arc::clone(&desk),
            judges,
            stop: stopping.clone(),
            tasks: Mutex::default(),
        });
        topics
            .finish_deletions()
            .map_err(|error| Fault::new(Code::StorageBroken, error.to_string()))?;
        let catalog = registry.catalog();
        for record in catalog.topics() {
            topics.open(record, &catalog.chain(record.id).cloned().unwrap_or_default()).await;
        }
        for topic in topics.router.topics() {
            for partition in &topic.partitions {
                groups.restore(topic.id, partition.as_ref().map(Partition::consumed_before)).await;
            }
        }
        for topic in topics.router.topics() {
            topics.start_relays(&topic);
        }
        tokio::spawn(Arc::clone(&groups).watch(stopping.clone()));
        let cleaner = Arc::new(Cleaner::new(Arc::clone(&registry), Arc::clone(&topics.router)));
        tokio::spawn(Arc::clone(&cleaner).run(stopping.clone()));
        let control = Arc::new(Control::new(
            Arc::clone(&registry),
            Arc::clone(&topics),
            plugins,
            Arc::clone(&groups),
            cleaner,
            clock,
        ));
        let office = Arc::new(Office::new(desk, token, producer_ids, Arc::clone(&groups)));
        Ok(Self { control, office, stopping, stop, topics, registry, groups })
    }

    /// Tells everyone to come to an end, and answers what was taken: checkpoints saved, logs
    /// closed. The doors may still be saying goodbye.
    pub async fn stop(&self) {
        let _ = self.stop.send(true);
        self.topics.close().await;
    }

    /// Closes what the doors needed until they were closed.
    pub async fn close(&self) {
        self.registry.close().await;
        self.groups.close().await;
    }
}
