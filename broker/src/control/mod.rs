//! What operators change: topics, plugins, chains. Every change is checked, recorded in the
//! catalog, and only then made true; one change of a topic's chain at a time, and one of what there is.
//! A plugin that takes long to be configured keeps nobody waiting but its topic's other operators.

mod settings;
mod pausing;
mod migrating;
mod plugin_report;
mod groups;
mod describe;
mod error;

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::sync::{Mutex, OwnedMutexGuard, Semaphore};
use weir_partition::{Link, Partition};
use weir_views::catalog::{self, Catalog, CatalogChange, CatalogError};
use weir_wire::admin::{
    Binding, BindingSpec, Chain, ChainChange, ChangedAt, FailurePolicy, Limits, NotChanged,
    PluginDescription, PluginVersion, Status, TopicDescription, TopicSpec,
};
use weir_wire::ids::{ChainRevision, Digest, PartitionId, PluginName, TopicName};
use weir_wire::keyspace::Keyspace;

use self::describe::describe;
pub use self::error::{ControlError, Kind};
use crate::cleaner::Cleaner;
use crate::groups::Groups;
use crate::registry::Registry;
use crate::router::Topic;
use crate::shelf::{Plugins, ShelfError, link};
use crate::topics::{SIDE_BY_SIDE_MAX, Topics};
use crate::wall_clock::Clock;

/// Partitions whose new stages are made at once in one change: some languages' instances take 50 ms of
/// a core each, and publishers judge by the others meanwhile.
const MADE_AT_ONCE_MAX: usize = 1;

/// The operator's counter.
pub struct Control {
    registry: Arc<Registry>,
    topics: Arc<Topics>,
    shelf: Arc<dyn Plugins>,
    groups: Arc<Groups>,
    cleaner: Arc<Cleaner>,
    clock: Clock,
    /// Held from the check of a change to its end, if it makes or deletes topics or versions. Chains
    /// have a lock for each topic, taken before this one; what both touch the registry checks again.
    changing: Mutex<()>,
}

impl Control {
    /// A counter for what these rooms hold.
    pub fn new(
        registry: Arc<Registry>,
        topics: Arc<Topics>,
        shelf: Arc<dyn Plugins>,
        groups: Arc<Groups>,
        cleaner: Arc<Cleaner>,
        clock: Clock,
    ) -> Self {
        Self { registry, topics, shelf, groups, cleaner, clock, changing: Mutex::new(()) }
    }

    /// The broker at a glance.
    pub async fn status(&self) -> Status {
        let topics = self.topics.router.topics();
        let mut stopped = Vec::new();
        for topic in &topics {
            for (number, partition) in topic.partitions.iter().enumerate() {
                let why = match partition {
                    Ok(partition) => partition.snapshot().borrow().stopped.clone(),
                    Err(fault) => Some(fault.clone()),
                };
                stopped.extend(why.map(|fault| format!("{}/{number}: {fault}", topic.name)));
            }
        }
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            topics: topics.len() as u32,
            partitions: topics.iter().map(|topic| topic.width()).sum(),
            stopped,
            // The clock is the machine's: the door knows.
            clock_alarm: None,
        }
    }

    /// All topics, by name.
    pub async fn topics(&self) -> Vec<TopicDescription> {
        let catalog = self.registry.catalog();
        let topics = self.topics.router.topics();
        topics.iter().filter_map(|topic| describe(&catalog, topic)).collect()
    }

    /// One topic.
    pub async fn topic(&self, name: &TopicName) -> Result<TopicDescription, ControlError> {
        let topic = self.topics.router.topic(name)?;
        describe(&self.registry.catalog(), &topic).ok_or_else(|| no_topic(name))
    }

    /// Makes a topic and serves it.
    pub async fn create_topic(&self, spec: TopicSpec) -> Result<TopicDescription, ControlError> {
        let _changing = self.changing.lock().await;
        if spec.name.is_internal() {
            return Err(ControlError::invalid(
                "invalid-topic",
                format!(
                    "{}: names that begin with __ are the broker's own; choose another",
                    spec.name
                ),
            ));
        }
        let record = catalog::Topic {
            id: self.registry.catalog().next_topic(),
            name: spec.name,
            partitions: spec.partitions,
            durability: spec.durability,
            retention_ms: spec.retention_ms,
            retention_bytes: spec.retention_bytes,
            cleanup: spec.cleanup,
            segment_bytes: spec.segment_bytes,
            created_at: (self.clock)(),
        };
        let change = CatalogChange::TopicCreated { topic: record.clone() };
        self.registry.catalog().check(&change)?;
        // What this leaves behind when it fails is empty, and the next attempt takes it up.
        self.topics.make_logs(&record).await?;
        let catalog = self.registry.record(change).await?;
        let topic = self.topics.open(&record, &Chain::default()).await;
        if let Some(fault) = topic.partitions.iter().find_map(|partition| partition.as_ref().err())
        {
            let fault = fault.clone();
            self.registry.record(CatalogChange::TopicDeleted { id: record.id }).await?;
            self.topics.delete(&record.name, record.id).await?;
            return Err(fault.into());
        }
        self.topics.start_relays(&topic);
        describe(&catalog, &topic).ok_or_else(|| no_topic(&record.name))
    }

    /// Forgets a topic with all its events.
    pub async fn delete_topic(&self, name: &TopicName) -> Result<(), ControlError> {
        let held = self.hold(name).await?;
        let _changing = self.changing.lock().await;
        let id = held.record.id;
        // Groups whose offsets stand in this topic's commits keep them.
        self.groups.settle().await?;
        self.registry.record(CatalogChange::TopicDeleted { id }).await?;
        self.groups.forget(id).await?;
        self.topics.delete(name, id).await?;
        Ok(())
    }

    /// All plugins, by name.
    pub async fn plugins(&self) -> Vec<PluginDescription> {
        let catalog = self.registry.catalog();
        catalog.plugins().filter_map(|name| plugin(&catalog, name)).collect()
    }

    /// Takes a component as the newest version of a plugin. The same bytes again are the version
    /// they were.
    pub async fn push_plugin(
        &self,
        name: PluginName,
        component: Bytes,
    ) -> Result<PluginVersion, ControlError> {
        let bytes = component.len() as u64;
        // Compiled before the counter is closed for others: it can take a minute.
        let digest = self.shelf.put(&component).await?;
        let (shelf, of) = (Arc::clone(&self.shelf), name.clone());
        let schema = self.blocking(move || shelf.schema(&of, &digest)).await??;
        let _changing = self.changing.lock().await;
        // Put again under the lock: a deletion may just have taken it away.
        self.shelf.keep(&component)?;
        let catalog = self.registry.catalog();
        if let Some(known) = version_with(&catalog, &name, &digest) {
            return Ok(known);
        }
        let version = PluginVersion {
            version: catalog.next_version(&name),
            name,
            digest,
            bytes,
            schema,
            pushed_at: (self.clock)(),
            bound_to: Vec::new(),
        };
        self.registry.record(CatalogChange::PluginPushed { version: version.clone() }).await?;
        Ok(version)
    }

    /// Forgets a version that no chain has.
    pub async fn delete_plugin_version(
        &self,
        name: &PluginName,
        version: &str,
    ) -> Result<(), ControlError> {
        let _changing = self.changing.lock().await;
        let catalog = self.registry.catalog();
        let version = catalog.resolve(name, Some(version))?;
        let change = CatalogChange::PluginDeleted { name: name.clone(), version: version.version };
        let now = self.registry.record(change).await?;
        if !now.has_digest(&version.digest) {
            self.shelf.remove(&version.digest);
        }
        if now.versions(name).is_empty() {
            self.topics.logs.forget(name);
        }
        Ok(())
    }

    /// A topic's chain.
    pub async fn chain(&self, topic: &TopicName) -> Result<Chain, ControlError> {
        let catalog = self.registry.catalog();
        chain_of(&catalog, topic).map(|(_, chain)| chain)
    }

    /// Puts a plugin on a topic; where the topic has it already, swaps it: what the spec does not
    /// say stays as it is.
    pub async fn bind(
        &self,
        topic: &TopicName,
        plugin: PluginName,
        spec: BindingSpec,
    ) -> Result<ChainChange, ControlError> {
        let mut held = self.hold(topic).await?;
        let (catalog, chain) = (Arc::clone(&held.catalog), &mut held.chain);
        let version = catalog.resolve(&plugin, spec.version.as_deref())?;
        let old = chain.bindings.iter().position(|binding| binding.plugin == plugin);
        let present = old.map(|at| chain.bindings.remove(at));
        let emit = match (&spec.config, &present) {
            _ if !spec.emit.is_empty() => spec.emit,
            (Some(config), _) => topics_named_in(config, &catalog),
            (None, Some(present)) => present.emit.clone(),
            (None, None) => Vec::new(),
        };
        let kept = present.as_ref().and_then(|present| present.dead_letter.clone());
        let paused = present.as_ref().is_some_and(|present| present.paused);
        let (order, config, on_failure, limits) = match present {
            Some(present) => (present.order, present.config, present.on_failure, present.limits),
            None => (0, serde_json::json!({}), FailurePolicy::default(), Limits::default()),
        };
        // State of another form moves: to where nothing was before.
        let known = catalog.keyspace(held.record.id, &plugin);
        let keyspace = match *known.schema() == version.schema {
            true => known,
            false => Keyspace::new(version.schema.clone(), ChainRevision(chain.revision.0 + 1)),
        };
        let limits = limits.with(&spec.limits.unwrap_or_default());
        check_limits(&limits)?;
        let binding = Binding {
            plugin,
            version: version.version,
            digest: version.digest,
            order: spec.order.unwrap_or(order),
            config: spec.config.unwrap_or(config),
            on_failure: spec.on_failure.unwrap_or(on_failure),
            emit,
            limits,
            paused,
            keyspace,
            dead_letter: spec.dead_letter.unwrap_or(kept),
        };
        // A paused one is tried too: it has to be fit when it is resumed.
        let tried = Binding { paused: false, ..binding.clone() };
        chain.bindings.push(binding);
        self.change_chain(held, vec![tried]).await
    }

    /// Takes a plugin off a topic. Its state stays, for the day it is bound again.
    pub async fn unbind(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, ControlError> {
        let mut held = self.hold(topic).await?;
        let before = held.chain.bindings.len();
        held.chain.bindings.retain(|binding| binding.plugin != *plugin);
        if held.chain.bindings.len() == before {
            return Err(not_bound(topic, plugin));
        }
        self.change_chain(held, Vec::new()).await
    }

    /// Puts a plugin's binding back to what it was before its last change. Whether it is paused is not
    /// part of that: only pausing and resuming change it.
    pub async fn rollback(
        &self,
        topic: &TopicName,
        plugin: &PluginName,
    ) -> Result<ChainChange, ControlError> {
        let mut held = self.hold(topic).await?;
        let previous = held.catalog.previous(held.record.id, plugin).cloned();
        let previous =
            previous.ok_or_else(|| nothing_to_roll_back(&held.catalog, &held.record, plugin))?;
        let tried = Binding { paused: false, ..previous.clone() };
        let chain = &mut held.chain;
        match chain.bindings.iter_mut().find(|binding| binding.plugin == *plugin) {
            Some(binding) => *binding = Binding { paused: binding.paused, ..previous },
            None => chain.bindings.push(tried.clone()),
        }
        self.change_chain(held, vec![tried]).await
    }

    /// Waits until nobody else changes the topic's chain, and keeps others from it.
    async fn hold(&self, name: &TopicName) -> Result<Held, ControlError> {
        let topic = self.topics.router.topic(name).map_err(|_| no_topic(name))?;
        let changing = Arc::clone(&topic.changing).lock_owned().await;
        // Read behind the lock: whoever had it may have changed everything, or deleted the topic.
        let catalog = self.registry.catalog();
        let (record, chain) = chain_of(&catalog, name)?;
        if record.id != topic.id {
            return Err(CatalogError::Outdated.into());
        }
        let record = record.clone();
        Ok(Held { topic, record, chain, catalog, _changing: changing })
    }

    /// Starts what is new in the chain once for a trial, records the chain, and puts it to work in
    /// every partition.
    async fn change_chain(
        &self,
        held: Held,
        tried: Vec<Binding>,
    ) -> Result<ChainChange, ControlError> {
        let Held { topic, record, mut chain, catalog: _, _changing } = held;
        chain.bindings.sort_by(|a, b| (a.order, &a.plugin).cmp(&(b.order, &b.plugin)));
        chain.revision = ChainRevision(chain.revision.0 + 1);
        let change = CatalogChange::ChainChanged { topic: record.id, chain: chain.clone() };
        self.registry.catalog().check(&change)?;
        let tried = self.try_out(&record.name, tried).await?;
        self.try_migrations(&topic, tried).await?;
        self.registry.record(change).await?;
        let making = Semaphore::new(MADE_AT_ONCE_MAX);
        // One that stands still takes the chain from the catalog when it is opened again.
        let mut changes = Vec::new();
        for (number, partition) in (0..).map(PartitionId).zip(&topic.partitions) {
            if let Ok(partition) = partition {
                let change =
                    self.change_partition(&record.name, number, partition, &chain, &making);
                changes.push(change.boxed());
            }
        }
        let mut changed = futures::stream::iter(changes).buffered(SIDE_BY_SIDE_MAX);
        let (mut since, mut pending, mut unmigrated) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(changed) = changed.next().await {
            match changed {
                Ok((at, left)) => {
                    let not_taken_over = |why| NotChanged { partition: at.partition, why };
                    unmigrated.extend(left.into_iter().map(not_taken_over));
                    since.push(at);
                }
                Err(why) => pending.push(why),
            }
        }
        drop(changed);
        Ok(ChainChange { chain, since, pending, unmigrated })
    }

    /// Brings each of these bindings to life once.
    async fn try_out(
        &self,
        topic: &TopicName,
        bindings: Vec<Binding>,
    ) -> Result<Vec<Link>, ControlError> {
        let (shelf, logs) = (Arc::clone(&self.shelf), Arc::clone(&self.topics.logs));
        let topic = topic.clone();
        let try_all = move || {
            let tried = bindings.iter().map(|binding| {
                let plugin = shelf.plugin(binding)?;
                link(&plugin, binding, logs.listener(binding, &topic, None))
            });
            tried.collect::<Result<Vec<Link>, ShelfError>>()
        };
        Ok(self.blocking(try_all).await??)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ControlError> {
        let done = self.topics.machine.blocking.run(work).await;
        done.map_err(|error| ControlError::new(Kind::Internal, "internal", error.to_string()))
    }

    async fn change_partition(
        &self,
        topic: &TopicName,
        number: PartitionId,
        partition: &Partition,
        chain: &Chain,
        making: &Semaphore,
    ) -> Result<(ChangedAt, Vec<String>), NotChanged> {
        let made = {
            let _one = making.acquire().await;
            self.topics.chain(chain, topic, number).await
        };
        let changed = match made {
            Ok((stages, note)) => partition.change_chain(stages, note).await,
            Err(fault) => Err(fault),
        };
        match changed {
            Ok(offset) => {
                let unmigrated = partition.snapshot().borrow().unmigrated.clone();
                Ok((ChangedAt { partition: number, offset }, unmigrated))
            }
            Err(fault) => {
                tracing::error!(partition = %number, %fault,
                    "the chain changes here when the partition is opened again");
                Err(NotChanged { partition: number, why: fault.to_string() })
            }
        }
    }
}

/// A topic whose chain nobody else changes meanwhile.
struct Held {
    topic: Arc<Topic>,
    record: catalog::Topic,
    chain: Chain,
    catalog: Arc<Catalog>,
    _changing: OwnedMutexGuard<()>,
}

/// Why there is no earlier binding to go back to.
fn nothing_to_roll_back(
    catalog: &Catalog,
    topic: &catalog::Topic,
    plugin: &PluginName,
) -> ControlError {
    let topic_name = &topic.name;
    match catalog.previous_deleted(topic.id, plugin) {
        Some(version) => ControlError::conflict(
            "version-deleted",
            format!(
                "plugin {plugin} on {topic_name} would go back to its version {version}, which was \
                 deleted; push that component again and bind it"
            ),
        ),
        None => ControlError::conflict(
            "nothing-to-roll-back",
            format!(
                "plugin {plugin} on {topic_name} was not changed since it was bound; there is \
                 nothing to roll back to"
            ),
        ),
    }
}

fn no_topic(name: &TopicName) -> ControlError {
    CatalogError::UnknownTopic(name.clone()).into()
}

/// A topic and its chain as the catalog has them.
fn chain_of<'a>(
    catalog: &'a Catalog,
    name: &TopicName,
) -> Result<(&'a catalog::Topic, Chain), ControlError> {
    let topic = catalog.topic(name).ok_or_else(|| no_topic(name))?;
    Ok((topic, catalog.chain(topic.id).cloned().unwrap_or_default()))
}

fn plugin(catalog: &Catalog, name: &PluginName) -> Option<PluginDescription> {
    let versions = catalog.versions(name);
    (!versions.is_empty()).then(|| PluginDescription { name: name.clone(), versions })
}

fn not_bound(topic: &TopicName, plugin: &PluginName) -> ControlError {
    ControlError::not_found(
        "not-bound",
        format!(
            "plugin {plugin} is not bound to {topic}; `weir plugin chain {topic}` shows what is"
        ),
    )
}

fn version_with(catalog: &Catalog, name: &PluginName, digest: &Digest) -> Option<PluginVersion> {
    catalog.versions(name).into_iter().find(|version| version.digest == *digest)
}

/// The topics that an operator's config names: where nothing is said of side events, these are what
/// the plugin may emit to. What the operator did not write, no plugin reaches.
fn topics_named_in(config: &serde_json::Value, catalog: &Catalog) -> Vec<TopicName> {
    match config {
        serde_json::Value::String(text) => {
            let named = TopicName::parse(text).ok().filter(|name| catalog.topic(name).is_some());
            named.into_iter().collect()
        }
        serde_json::Value::Array(values) => {
            values.iter().flat_map(|value| topics_named_in(value, catalog)).collect()
        }
        serde_json::Value::Object(fields) => {
            fields.values().flat_map(|value| topics_named_in(value, catalog)).collect()
        }
        _ => Vec::new(),
    }
}

/// Limits without which a plugin cannot do anything at all.
const NEVER_ZERO: [&str; 4] = ["fuel", "deadline_ms", "configure_ms", "memory_bytes"];

/// Whether a binding may have these limits.
pub fn check_limits(limits: &Limits) -> Result<(), ControlError> {
    for ((name, value), (_, most)) in limits.named().zip(Limits::MAX.named()) {
        if value == 0 && NEVER_ZERO.contains(&name) {
            return Err(ControlError::invalid(
                "invalid-limit",
                format!("limit {name} is 0, with which no plugin runs; give at least 1"),
            ));
        }
        if value > most {
            return Err(ControlError::invalid(
                "invalid-limit",
                format!("limit {name} is {value}; the most a binding may have is {most}"),
            ));
        }
    }
    Ok(())
}
