//! What there is: topics, plugins and their versions, chains. The fold of the internal topic
//! `__catalog`, whose events are [`CatalogChange`]s as JSON.
//!
//! Promises: ids and version numbers are never used twice, so nothing new is taken for something
//! old; `apply` takes what `check` allows. Not here: topics' and plugins' bytes on disk, and where
//! a chain change took effect (each partition's log knows).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_wire::admin::{Binding, Chain, Durability, PluginVersion, TopicSettings};
use weir_wire::ids::{Digest, PARTITIONS_MAX, PluginName, Timestamp, TopicId, TopicName};
use weir_wire::keyspace::Keyspace;
use weir_wire::retention::{Cleanup, Retention};

/// The internal topic that this is the fold of; it has one partition.
pub const CATALOG_TOPIC: &str = "__catalog";
/// Its number.
pub const CATALOG_TOPIC_ID: TopicId = TopicId(0);
/// Numbers below are the broker's own topics'.
const FIRST_TOPIC_ID: u32 = 16;
/// Clients' producer ids lie below: bit 62 marks relays.
const PRODUCER_IDS_MAX: u64 = 1 << 62;
/// Digits of a digest that name a version at least: fewer are a number, or a slip.
const DIGEST_PREFIX_MIN: usize = 8;

/// Topics, plugins and chains as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    topics: BTreeMap<TopicName, Topic>,
    plugins: BTreeMap<PluginName, Plugin>,
    chains: BTreeMap<TopicId, ChainHistory>,
    next_topic: TopicId,
    producer_ids_up_to: u64,
}

/// A topic as it was created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Its number, never used again.
    pub id: TopicId,
    /// How many partitions: 1 to [`PARTITIONS_MAX`].
    pub partitions: u32,
    /// When its answers may leave.
    pub durability: Durability,
    /// See [`Retention::ms`].
    pub retention_ms: Option<u64>,
    /// See [`Retention::bytes`].
    pub retention_bytes: Option<u64>,
    /// See [`Retention::cleanup`].
    #[serde(default)]
    pub cleanup: Cleanup,
    /// See [`Retention::segment_bytes`].
    #[serde(default)]
    pub segment_bytes: Option<u64>,
    /// When it was created.
    pub created_at: Timestamp,
}

impl Topic {
    /// What it keeps.
    pub fn retention(&self) -> Retention {
        Retention {
            cleanup: self.cleanup,
            ms: self.retention_ms,
            bytes: self.retention_bytes,
            segment_bytes: self.segment_bytes,
        }
    }
}

/// A plugin's versions, oldest first. One without versions keeps its numbers from being used again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Plugin {
    versions: Vec<PluginVersion>,
    last_version: u32,
}

/// A topic's chain, and what was bound before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ChainHistory {
    chain: Chain,
    previous: BTreeMap<PluginName, Binding>,
    /// Of plugins without `previous`: the version that was there, if it was deleted.
    #[serde(default)]
    previous_deleted: BTreeMap<PluginName, u32>,
    /// Where the state is of each plugin that was ever bound with another keyspace than the first.
    #[serde(default)]
    keyspaces: BTreeMap<PluginName, Keyspace>,
}

/// One change: the payload of an event in `__catalog`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum CatalogChange {
    /// A topic begins, with an empty chain.
    TopicCreated {
        /// The topic; its id is [`Catalog::next_topic`].
        topic: Topic,
    },
    /// A topic keeps its events for longer or shorter, or in another way.
    TopicChanged {
        /// Which.
        id: TopicId,
        /// What it keeps from now on.
        settings: TopicSettings,
    },
    /// A topic and its chain end.
    TopicDeleted {
        /// Which.
        id: TopicId,
    },
    /// A plugin has one more version.
    PluginPushed {
        /// The version; its number is [`Catalog::next_version`]. `bound_to` is not read.
        version: PluginVersion,
    },
    /// A plugin has one version less.
    PluginDeleted {
        /// Of which plugin.
        name: PluginName,
        /// Which.
        version: u32,
    },
    /// A topic's chain is another one.
    ChainChanged {
        /// Whose.
        topic: TopicId,
        /// All of it; its revision is one more than before.
        chain: Chain,
    },
    /// Producer ids below this were given out, or may have been.
    ProducerIdsReserved {
        /// The first that was not.
        up_to: u64,
    },
}

/// Why a change cannot be made, and what to do instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The name is taken.
    #[error("topic {0} exists already: choose another name, or delete it first")]
    TopicExists(TopicName),
    /// No topic of this name.
    #[error("there is no topic {0}: create it first")]
    UnknownTopic(TopicName),
    /// No topic of this number.
    #[error("there is no topic with the id {0}: it was deleted")]
    UnknownTopicId(TopicId),
    /// Too few or too many partitions.
    #[error("{0} partitions are not possible: ask for 1 to {PARTITIONS_MAX}")]
    Partitions(u32),
    /// Settings that are none.
    #[error("a topic cannot keep its events so: {0}")]
    Retention(String),
    /// A chain emits to the topic.
    #[error("the chain of topic {by} emits to topic {topic}: unbind {plugin} there first")]
    TopicInUse {
        /// What was to be deleted.
        topic: TopicName,
        /// Whose chain emits to it.
        by: TopicName,
        /// The plugin that may emit.
        plugin: PluginName,
    },
    /// A chain keeps dead letters in the topic.
    #[error(
        "plugin {plugin} on topic {by} keeps its dead letters in topic {topic}: bind it there with another topic for them, or with none, first"
    )]
    TopicKeepsDeadLetters {
        /// What was to be deleted.
        topic: TopicName,
        /// Whose chain keeps them there.
        by: TopicName,
        /// The plugin whose they are.
        plugin: PluginName,
    },
    /// A topic cannot keep its own dead letters: they would be judged by the very plugin that
    /// refused them.
    #[error(
        "the dead letters of plugin {plugin} cannot be kept in the topic it judges: give them another topic"
    )]
    OwnDeadLetters {
        /// The plugin.
        plugin: PluginName,
    },
    /// No plugin of this name.
    #[error("there is no plugin {0}: push it first")]
    UnknownPlugin(PluginName),
    /// The plugin has no such version.
    #[error("plugin {name} has no version {version}: list its versions with `plugin describe`")]
    UnknownVersion {
        /// The plugin.
        name: PluginName,
        /// What was asked for.
        version: String,
    },
    /// The beginning of a digest that fits more than one version.
    #[error(
        "{version} names more than one version of plugin {name}: give more digits of the digest"
    )]
    AmbiguousVersion {
        /// The plugin.
        name: PluginName,
        /// What was asked for.
        version: String,
    },
    /// These bytes are a version already.
    #[error("this component is version {version} of plugin {name} already: nothing to push")]
    AlreadyPushed {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: u32,
    },
    /// A chain has the version.
    #[error(
        "version {version} of plugin {name} is bound to topic {topic}: unbind it or bind another version first"
    )]
    VersionInUse {
        /// The plugin.
        name: PluginName,
        /// Its version.
        version: u32,
        /// Whose chain.
        topic: TopicName,
    },
    /// Plugins may not emit to the broker's own topics, nor are dead letters kept there.
    #[error(
        "topic {0} is the broker's own: plugins cannot emit to it, nor keep dead letters there"
    )]
    InternalTopic(TopicName),
    /// The chain names a plugin twice, or is not in the order in which it runs.
    #[error(
        "a chain names each plugin once, in the order of `order`, equal ones by name: {0} does not fit"
    )]
    ChainOrder(PluginName),
    /// Someone else changed it meanwhile: read it again and repeat.
    #[error("the catalog has changed meanwhile: read it again and repeat the request")]
    Outdated,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            plugins: BTreeMap::new(),
            chains: BTreeMap::new(),
            next_topic: TopicId(FIRST_TOPIC_ID),
            producer_ids_up_to: 0,
        }
    }
}

impl Catalog {
    /// Whether `change` can be made.
    pub fn check(&self, change: &CatalogChange) -> Result<(), CatalogError> {
        match change {
            CatalogChange::TopicCreated { topic } => self.check_topic(topic),
            CatalogChange::TopicChanged { id, settings } => {
                let topic = self.topic_by_id(*id).ok_or(CatalogError::UnknownTopicId(*id))?;
                settings.applied_to(topic.retention()).check().map_err(CatalogError::Retention)
            }
            CatalogChange::TopicDeleted { id } => self.check_topic_deleted(*id),
            CatalogChange::PluginPushed { version } => self.check_pushed(version),
            CatalogChange::PluginDeleted { name, version } => self.check_deleted(name, *version),
            CatalogChange::ChainChanged { topic, chain } => self.check_chain(*topic, chain),
            CatalogChange::ProducerIdsReserved { up_to } => {
                let rises = self.producer_ids_up_to < *up_to && *up_to <= PRODUCER_IDS_MAX;
                rises.then_some(()).ok_or(CatalogError::Outdated)
            }
        }
    }

    fn check_topic(&self, topic: &Topic) -> Result<(), CatalogError> {
        if self.topics.contains_key(&topic.name) {
            return Err(CatalogError::TopicExists(topic.name.clone()));
        }
        topic.retention().check().map_err(CatalogError::Retention)?;
        if !(1..=PARTITIONS_MAX).contains(&topic.partitions) {
            return Err(CatalogError::Partitions(topic.partitions));
        }
        (topic.id == self.next_topic).then_some(()).ok_or(CatalogError::Outdated)
    }

    fn check_topic_deleted(&self, id: TopicId) -> Result<(), CatalogError> {
        let topic = self.topic_by_id(id).ok_or(CatalogError::UnknownTopicId(id))?;
        for (by, binding) in self.bindings().filter(|(by, _)| by.id != id) {
            if binding.emit.contains(&topic.name) {
                return Err(CatalogError::TopicInUse {
                    topic: topic.name.clone(),
                    by: by.name.clone(),
                    plugin: binding.plugin.clone(),
                });
            }
            if binding.dead_letter.as_ref() == Some(&topic.name) {
                return Err(CatalogError::TopicKeepsDeadLetters {
                    topic: topic.name.clone(),
                    by: by.name.clone(),
                    plugin: binding.plugin.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_pushed(&self, pushed: &PluginVersion) -> Result<(), CatalogError> {
        let same = |version: &&PluginVersion| version.digest == pushed.digest;
        if let Some(version) = self.stored(&pushed.name).iter().find(same) {
            let (name, version) = (pushed.name.clone(), version.version);
            return Err(CatalogError::AlreadyPushed { name, version });
        }
        let fits = pushed.version == self.next_version(&pushed.name);
        fits.then_some(()).ok_or(CatalogError::Outdated)
    }

    fn check_deleted(&self, name: &PluginName, version: u32) -> Result<(), CatalogError> {
        self.version(name, version)?;
        let has = |binding: &Binding| binding.plugin == *name && binding.version == version;
        match self.bindings().find(|(_, binding)| has(binding)) {
            None => Ok(()),
            Some((topic, _)) => {
                let (name, topic) = (name.clone(), topic.name.clone());
                Err(CatalogError::VersionInUse { name, version, topic })
            }
        }
    }

    fn check_chain(&self, topic: TopicId, chain: &Chain) -> Result<(), CatalogError> {
        let judged = self.topic_by_id(topic).ok_or(CatalogError::UnknownTopicId(topic))?;
        let before = self.chain(topic).map_or(0, |now| now.revision.0);
        if before.checked_add(1) != Some(chain.revision.0) {
            return Err(CatalogError::Outdated);
        }
        for (index, binding) in chain.bindings.iter().enumerate() {
            let before = &chain.bindings[..index];
            let twice = before.iter().any(|other| other.plugin == binding.plugin);
            let place = |binding: &Binding| (binding.order, binding.plugin.clone());
            if twice || before.last().is_some_and(|other| place(binding) < place(other)) {
                return Err(CatalogError::ChainOrder(binding.plugin.clone()));
            }
            if self.version(&binding.plugin, binding.version)?.digest != binding.digest {
                return Err(CatalogError::Outdated);
            }
            if binding.dead_letter.as_ref() == Some(&judged.name) {
                return Err(CatalogError::OwnDeadLetters { plugin: binding.plugin.clone() });
            }
            for target in binding.emit.iter().chain(&binding.dead_letter) {
                if target.is_internal() {
                    return Err(CatalogError::InternalTopic(target.clone()));
                }
                if !self.topics.contains_key(target) {
                    return Err(CatalogError::UnknownTopic(target.clone()));
                }
            }
        }
        Ok(())
    }

    /// Makes `change`. What `check` would refuse is made as far as it means anything: the log has
    /// it, so it was allowed.
    pub fn apply(&mut self, change: &CatalogChange) {
        match change {
            CatalogChange::TopicCreated { topic } => {
                self.next_topic = TopicId(topic.id.0.saturating_add(1)).max(self.next_topic);
                self.chains.insert(topic.id, ChainHistory::default());
                self.topics.insert(topic.name.clone(), topic.clone());
            }
            CatalogChange::TopicChanged { id, settings } => {
                if let Some(topic) = self.topics.values_mut().find(|topic| topic.id == *id) {
                    let Retention { cleanup, ms, bytes, segment_bytes } =
                        settings.applied_to(topic.retention());
                    (topic.cleanup, topic.segment_bytes) = (cleanup, segment_bytes);
                    (topic.retention_ms, topic.retention_bytes) = (ms, bytes);
                }
            }
            CatalogChange::TopicDeleted { id } => {
                self.topics.retain(|_, topic| topic.id != *id);
                self.chains.remove(id);
            }
            CatalogChange::PluginPushed { version } => {
                let plugin = self.plugins.entry(version.name.clone()).or_default();
                plugin.last_version = plugin.last_version.max(version.version);
                plugin.versions.push(PluginVersion { bound_to: Vec::new(), ..version.clone() });
            }
            CatalogChange::PluginDeleted { name, version } => {
                if let Some(plugin) = self.plugins.get_mut(name) {
                    plugin.versions.retain(|other| other.version != *version);
                }
                // Nobody rolls back to what is not there.
                for history in self.chains.values_mut() {
                    let previous = history.previous.get(name);
                    if previous.is_some_and(|binding| binding.version == *version) {
                        history.previous.remove(name);
                        history.previous_deleted.insert(name.clone(), *version);
                    }
                }
            }
            CatalogChange::ChainChanged { topic, chain } => {
                self.chains.entry(*topic).or_default().change(chain.clone());
            }
            CatalogChange::ProducerIdsReserved { up_to } => {
                self.producer_ids_up_to = self.producer_ids_up_to.max(*up_to);
            }
        }
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Topic> {
        self.topics.values()
    }
    /// The topic of this name.
    pub fn topic(&self, name: &TopicName) -> Option<&Topic> {
        self.topics.get(name)
    }
    /// The topic of this number.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Topic> {
        self.topics.values().find(|topic| topic.id == id)
    }
    /// The number of the next topic.
    pub fn next_topic(&self) -> TopicId {
        self.next_topic
    }

    /// The plugins that have versions, by name.
    pub fn plugins(&self) -> impl Iterator<Item = &PluginName> {
        let pushed = self.plugins.iter().filter(|(_, plugin)| !plugin.versions.is_empty());
        pushed.map(|(name, _)| name)
    }
    /// The versions of a plugin, oldest first, with the topics they are bound to; none if it is
    /// not known.
    pub fn versions(&self, name: &PluginName) -> Vec<PluginVersion> {
        let with_topics = |version: &PluginVersion| {
            let has =
                |binding: &Binding| binding.plugin == *name && binding.version == version.version;
            let bound = self.bindings().filter(|(_, binding)| has(binding));
            let bound_to = bound.map(|(topic, _)| topic.name.clone()).collect();
            PluginVersion { bound_to, ..version.clone() }
        };
        self.stored(name).iter().map(with_topics).collect()
    }
    /// The version that `spec` names: a number, a digest or 8 or more digits of one; the newest
    /// if there is none.
    pub fn resolve(
        &self,
        name: &PluginName,
        spec: Option<&str>,
    ) -> Result<&PluginVersion, CatalogError> {
        let versions = self.stored(name);
        let newest = versions.last().ok_or_else(|| CatalogError::UnknownPlugin(name.clone()))?;
        let Some(spec) = spec else { return Ok(newest) };
        let asked = || (name.clone(), spec.to_owned());
        if let Some(version) = spec.parse().ok().and_then(|number| self.version(name, number).ok())
        {
            return Ok(version);
        }
        let prefix = spec.to_ascii_lowercase();
        let fits = |version: &&PluginVersion| {
            DIGEST_PREFIX_MIN <= prefix.len() && version.digest.to_string().starts_with(&prefix)
        };
        let mut fitting = versions.iter().filter(fits);
        match (fitting.next(), fitting.next()) {
            (Some(version), None) => Ok(version),
            (Some(_), Some(_)) => {
                let (name, version) = asked();
                Err(CatalogError::AmbiguousVersion { name, version })
            }
            (None, _) => {
                let (name, version) = asked();
                Err(CatalogError::UnknownVersion { name, version })
            }
        }
    }
    /// The number of the next version of a plugin.
    pub fn next_version(&self, name: &PluginName) -> u32 {
        self.plugins.get(name).map_or(0, |plugin| plugin.last_version).saturating_add(1)
    }
    /// Whether any version of any plugin is this component: its bytes have to stay.
    pub fn has_digest(&self, digest: &Digest) -> bool {
        let mut versions = self.plugins.values().flat_map(|plugin| &plugin.versions);
        versions.any(|version| version.digest == *digest)
    }

    /// The chain of a topic; `None` if there is no such topic.
    pub fn chain(&self, topic: TopicId) -> Option<&Chain> {
        self.chains.get(&topic).map(|history| &history.chain)
    }
    /// How a plugin was bound to a topic before its last change there: what a rollback binds.
    pub fn previous(&self, topic: TopicId, plugin: &PluginName) -> Option<&Binding> {
        self.chains.get(&topic)?.previous.get(plugin)
    }

    /// The version that a rollback would bind, if it was deleted.
    pub fn previous_deleted(&self, topic: TopicId, plugin: &PluginName) -> Option<u32> {
        self.chains.get(&topic)?.previous_deleted.get(plugin).copied()
    }

    /// Where a plugin's state on a topic is, also while it is not bound there.
    pub fn keyspace(&self, topic: TopicId, plugin: &PluginName) -> Keyspace {
        let history = self.chains.get(&topic);
        history.and_then(|history| history.keyspaces.get(plugin)).cloned().unwrap_or_default()
    }

    /// Producer ids below this may have been given out.
    pub fn producer_ids_up_to(&self) -> u64 {
        self.producer_ids_up_to
    }

    fn stored(&self, name: &PluginName) -> &[PluginVersion] {
        self.plugins.get(name).map_or(&[], |plugin| &plugin.versions)
    }

    fn version(&self, name: &PluginName, version: u32) -> Result<&PluginVersion, CatalogError> {
        let versions = self.stored(name);
        if versions.is_empty() {
            return Err(CatalogError::UnknownPlugin(name.clone()));
        }
        versions.iter().find(|other| other.version == version).ok_or_else(|| {
            CatalogError::UnknownVersion { name: name.clone(), version: version.to_string() }
        })
    }

    fn bindings(&self) -> impl Iterator<Item = (&Topic, &Binding)> {
        self.topics.values().flat_map(|topic| {
            let chain = self.chain(topic.id).into_iter();
            chain.flat_map(|chain| &chain.bindings).map(move |binding| (topic, binding))
        })
    }
}

impl ChainHistory {
    fn change(&mut self, chain: Chain) {
        for binding in &chain.bindings {
            let known = self.keyspaces.get(&binding.plugin);
            if known.map_or(!binding.keyspace.is_first(), |known| *known != binding.keyspace) {
                self.keyspaces.insert(binding.plugin.clone(), binding.keyspace.clone());
            }
        }
        for binding in std::mem::replace(&mut self.chain, chain).bindings {
            // A pause is no change to go back from: who pauses a bad version wants the one before it.
            let same = |now: &Binding| Binding { paused: now.paused, ..binding.clone() } == *now;
            if !self.chain.bindings.iter().any(same) {
                self.previous_deleted.remove(&binding.plugin);
                self.previous.insert(binding.plugin.clone(), binding);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use weir_wire::ids::ChainRevision;

    fn topic(name: &str, id: u32) -> CatalogChange {
        let topic = Topic {
            name: TopicName::parse(name).unwrap(),
            id: TopicId(id),
            partitions: 1,
            durability: Durability::Durable,
            retention_ms: None,
            retention_bytes: None,
            cleanup: Default::default(),
            segment_bytes: None,
            created_at: Timestamp(1),
        };
        CatalogChange::TopicCreated { topic }
    }

    fn plugin(name: &str) -> PluginName {
        PluginName::parse(name).unwrap()
    }

    fn pushed(name: &str, version: u32, digest: u8) -> CatalogChange {
        let digest = Digest([digest; 32]);
        let (name, pushed_at) = (plugin(name), Timestamp(2));
        let version = PluginVersion {
            name,
            version,
            digest,
            bytes: 9,
            pushed_at,
            schema: Default::default(),
            bound_to: vec![],
        };
        CatalogChange::PluginPushed { version }
    }

    fn binding(name: &str, version: u32, digest: u8, emit: &[&str]) -> Binding {
        Binding {
            plugin: plugin(name),
            version,
            digest: Digest([digest; 32]),
            order: 0,
            config: serde_json::json!({"limit": 10}),
            on_failure: Default::default(),
            emit: emit.iter().map(|topic| TopicName::parse(topic).unwrap()).collect(),
            limits: Default::default(),
            dead_letter: None,
            paused: false,
            keyspace: Keyspace::default(),
        }
    }

    fn chain(topic: u32, revision: u64, bindings: Vec<Binding>) -> CatalogChange {
        let chain = Chain { revision: ChainRevision(revision), bindings };
        CatalogChange::ChainChanged { topic: TopicId(topic), chain }
    }

    fn deleted(name: &str, version: u32) -> CatalogChange {
        CatalogChange::PluginDeleted { name: plugin(name), version }
    }

    /// Two topics, three versions, and a chain on `flights` that emits to `notices`.
    fn an_airline() -> Catalog {
        let mut catalog = Catalog::default();
        for change in [
            topic("flights", 16),
            topic("notices", 17),
            pushed("limit", 1, 1),
            pushed("limit", 2, 2),
            pushed("audit", 1, 1),
            chain(16, 1, vec![binding("limit", 1, 1, &["notices"])]),
            CatalogChange::ProducerIdsReserved { up_to: 100 },
        ] {
            assert_eq!(catalog.check(&change), Ok(()), "{change:?}");
            catalog.apply(&change);
        }
        catalog
    }

    fn refused(change: CatalogChange, expected: Expect) {
        expected.assert_eq(&an_airline().check(&change).unwrap_err().to_string());
    }

    #[test]
    fn what_cannot_be_done_says_what_to_do() {
        refused(
            topic("flights", 18),
            expect!["topic flights exists already: choose another name, or delete it first"],
        );
        refused(
            topic("bookings", 17),
            expect!["the catalog has changed meanwhile: read it again and repeat the request"],
        );
        refused(
            CatalogChange::TopicDeleted { id: TopicId(17) },
            expect!["the chain of topic flights emits to topic notices: unbind limit there first"],
        );
        refused(
            CatalogChange::TopicDeleted { id: TopicId(9) },
            expect!["there is no topic with the id 9: it was deleted"],
        );
        refused(
            pushed("limit", 3, 2),
            expect!["this component is version 2 of plugin limit already: nothing to push"],
        );
        refused(
            pushed("limit", 2, 7),
            expect!["the catalog has changed meanwhile: read it again and repeat the request"],
        );
        refused(
            deleted("limit", 1),
            expect![
                "version 1 of plugin limit is bound to topic flights: unbind it or bind another version first"
            ],
        );
        refused(
            deleted("limit", 7),
            expect!["plugin limit has no version 7: list its versions with `plugin describe`"],
        );
        refused(deleted("none", 1), expect!["there is no plugin none: push it first"]);
        refused(
            chain(16, 1, vec![]),
            expect!["the catalog has changed meanwhile: read it again and repeat the request"],
        );
        refused(
            chain(17, 1, vec![binding("limit", 1, 1, &["gone"])]),
            expect!["there is no topic gone: create it first"],
        );
        refused(
            chain(17, 1, vec![binding("limit", 1, 1, &["__catalog"])]),
            expect![
                "topic __catalog is the broker's own: plugins cannot emit to it, nor keep dead letters there"
            ],
        );
        let dead = |topic: &str| Binding {
            dead_letter: Some(TopicName::parse(topic).unwrap()),
            ..binding("limit", 1, 1, &[])
        };
        refused(
            chain(17, 1, vec![dead("gone")]),
            expect!["there is no topic gone: create it first"],
        );
        refused(
            chain(17, 1, vec![dead("__catalog")]),
            expect![
                "topic __catalog is the broker's own: plugins cannot emit to it, nor keep dead letters there"
            ],
        );
        refused(
            chain(17, 1, vec![dead("notices")]),
            expect![
                "the dead letters of plugin limit cannot be kept in the topic it judges: give them another topic"
            ],
        );
        let twice = vec![binding("limit", 1, 1, &[]), binding("limit", 2, 2, &[])];
        refused(
            chain(17, 1, twice),
            expect![
                "a chain names each plugin once, in the order of `order`, equal ones by name: limit does not fit"
            ],
        );
        let reversed = vec![binding("limit", 1, 1, &[]), binding("audit", 1, 1, &[])];
        refused(
            chain(17, 1, reversed),
            expect![
                "a chain names each plugin once, in the order of `order`, equal ones by name: audit does not fit"
            ],
        );
        refused(
            CatalogChange::ProducerIdsReserved { up_to: 100 },
            expect!["the catalog has changed meanwhile: read it again and repeat the request"],
        );
    }

    #[test]
    fn a_topic_that_keeps_dead_letters_stays_until_nobody_sends_any() {
        let mut catalog = an_airline();
        let mut kept = binding("limit", 1, 1, &[]);
        kept.dead_letter = Some(TopicName::parse("notices").unwrap());
        catalog.apply(&chain(16, 2, vec![kept]));
        let gone = CatalogChange::TopicDeleted { id: TopicId(17) };
        expect!["plugin limit on topic flights keeps its dead letters in topic notices: bind it there with another topic for them, or with none, first"]
            .assert_eq(&catalog.check(&gone).unwrap_err().to_string());
        catalog.apply(&chain(16, 3, vec![binding("limit", 1, 1, &[])]));
        assert_eq!(catalog.check(&gone), Ok(()));
        // What a rollback would bind again keeps nothing either.
        catalog.apply(&gone);
        let previous = catalog.previous(TopicId(16), &plugin("limit")).unwrap().clone();
        assert_eq!(
            catalog.check(&chain(16, 4, vec![previous])).unwrap_err().to_string(),
            "there is no topic notices: create it first"
        );
    }

    /// The log may hold such numbers: `apply` takes what it has, and `check` counts on from there.
    #[test]
    fn the_last_number_there_is_has_no_next() {
        let mut catalog = Catalog::default();
        let ids = CatalogChange::ProducerIdsReserved { up_to: u64::MAX };
        catalog.apply(&ids);
        assert_eq!(catalog.check(&ids), Err(CatalogError::Outdated));
        catalog.apply(&topic("flights", 16));
        let chain = |revision| CatalogChange::ChainChanged {
            topic: TopicId(16),
            chain: Chain { revision: ChainRevision(revision), bindings: vec![] },
        };
        catalog.apply(&chain(u64::MAX));
        assert_eq!(catalog.check(&chain(0)), Err(CatalogError::Outdated));
    }

    #[test]
    fn numbers_are_never_used_twice() {
        let mut catalog = an_airline();
        catalog.apply(&deleted("limit", 2));
        assert_eq!(catalog.next_version(&plugin("limit")), 3);
        catalog.apply(&chain(16, 2, vec![]));
        catalog.apply(&deleted("limit", 1));
        assert_eq!(catalog.next_version(&plugin("limit")), 3);
        assert_eq!(catalog.plugins().collect::<Vec<_>>(), [&plugin("audit")]);
        catalog.apply(&CatalogChange::TopicDeleted { id: TopicId(17) });
        assert_eq!(catalog.next_topic(), TopicId(18));
        assert_eq!(catalog.producer_ids_up_to(), 100);
    }

    #[test]
    fn a_version_is_named_by_its_number_or_its_digest() {
        let mut catalog = an_airline();
        catalog.apply(&pushed("limit", 3, 0x11));
        let name = |spec| match catalog.resolve(&plugin("limit"), spec) {
            Ok(version) => version.version.to_string(),
            Err(error) => error.to_string(),
        };
        assert_eq!(name(None), "3");
        assert_eq!(name(Some("1")), "1");
        assert_eq!(name(Some("02020202")), "2");
        assert_eq!(name(Some("11111111")), "3");
        assert_eq!(
            name(Some("0202")),
            "plugin limit has no version 0202: list its versions with `plugin describe`"
        );
        let bound: Vec<_> = catalog
            .versions(&plugin("limit"))
            .into_iter()
            .map(|version| version.bound_to.len())
            .collect();
        assert_eq!(bound, [1, 0, 0]);
        assert!(catalog.has_digest(&Digest([1; 32])) && !catalog.has_digest(&Digest([9; 32])));
    }

    #[test]
    fn a_rollback_binds_what_was_bound_before() {
        let mut catalog = an_airline();
        let limit = plugin("limit");
        let previous = |catalog: &Catalog| {
            catalog.previous(TopicId(16), &limit).map(|binding| binding.version)
        };
        assert_eq!(previous(&catalog), None);
        catalog.apply(&chain(16, 2, vec![binding("limit", 2, 2, &[])]));
        assert_eq!(previous(&catalog), Some(1));
        catalog.apply(&chain(
            16,
            3,
            vec![binding("audit", 1, 1, &[]), binding("limit", 2, 2, &[])],
        ));
        assert_eq!(previous(&catalog), Some(1));
        catalog.apply(&chain(16, 4, vec![binding("audit", 1, 1, &[])]));
        assert_eq!(previous(&catalog), Some(2));
        catalog.apply(&deleted("limit", 2));
        assert_eq!(previous(&catalog), None);
        assert_eq!(catalog.previous_deleted(TopicId(16), &limit), Some(2));
    }

    #[test]
    fn a_pause_is_no_change_to_go_back_from() {
        let mut catalog = an_airline();
        let limit = plugin("limit");
        catalog.apply(&chain(16, 2, vec![binding("limit", 2, 2, &[])]));
        let paused = Binding { paused: true, ..binding("limit", 2, 2, &[]) };
        for change in [
            chain(16, 3, vec![paused.clone()]),
            chain(16, 4, vec![binding("limit", 2, 2, &[])]),
            chain(16, 5, vec![paused]),
        ] {
            catalog.apply(&change);
            let previous = catalog.previous(TopicId(16), &limit).expect("version 1");
            assert_eq!((previous.version, previous.paused), (1, false));
        }
    }

    /// What was recorded before there were pauses.
    #[test]
    fn an_older_binding_is_not_paused() {
        let mut json = serde_json::to_value(binding("limit", 1, 1, &[])).unwrap();
        json.as_object_mut().unwrap().remove("paused");
        assert!(!serde_json::from_value::<Binding>(json).unwrap().paused);
    }

    #[test]
    fn where_a_plugins_state_is_outlives_its_binding_and_its_versions() {
        let mut catalog = an_airline();
        let limit = plugin("limit");
        let keyspace = |catalog: &Catalog| catalog.keyspace(TopicId(16), &limit).to_string();
        let weeks = Keyspace::parse("weeks@2").unwrap();
        assert_eq!(keyspace(&catalog), "");
        let moved = Binding { keyspace: weeks, ..binding("limit", 2, 2, &[]) };
        catalog.apply(&chain(16, 2, vec![moved]));
        catalog.apply(&chain(16, 3, vec![]));
        catalog.apply(&deleted("limit", 2));
        assert_eq!(keyspace(&catalog), "weeks@2");
        catalog.apply(&chain(16, 4, vec![binding("limit", 1, 1, &[])]));
        assert_eq!(keyspace(&catalog), "", "as after a rollback");
        // What an older broker wrote has none of it.
        let json = serde_json::to_string(&binding("limit", 1, 1, &[])).unwrap();
        let older = json.replace(",\"keyspace\":\"\"", "");
        assert_ne!(older, json);
        assert_eq!(serde_json::from_str::<Binding>(&older).unwrap(), binding("limit", 1, 1, &[]));
    }

    #[test]
    fn a_catalog_and_its_changes_survive_json() {
        let catalog = an_airline();
        let json = serde_json::to_vec(&catalog).unwrap();
        assert_eq!(serde_json::from_slice::<Catalog>(&json).unwrap(), catalog);
        for change in [
            topic("flights", 16),
            CatalogChange::TopicDeleted { id: TopicId(16) },
            pushed("limit", 1, 1),
            deleted("limit", 1),
            chain(16, 1, vec![binding("limit", 1, 1, &["notices"])]),
            CatalogChange::ProducerIdsReserved { up_to: 1 },
        ] {
            let json = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<CatalogChange>(&json).unwrap(), change, "{json}");
        }
        let json = serde_json::to_string(&CatalogChange::TopicDeleted { id: TopicId(16) }).unwrap();
        assert_eq!(json, r#"{"change":"topic-deleted","id":16}"#);
    }
}
