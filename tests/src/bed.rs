//! A broker with plugins under test in it: topics judged by probes, events that say what a probe
//! does, and what became of them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use weir_client::{Admin, AdminError, Client, ConsumerOptions, Event, Outcome, ProducerOptions};
use weir_wire::admin::{BindingSpec, JudgedCounts, PluginVersion, TopicSpec};
use weir_wire::ids::{PluginName, TopicName};
use weir_wire::verdict::Verdict;

use crate::broker::Broker;
use crate::load::{connect, topic};

/// How long a batch waits for company: until it is flushed.
const FOR_EVER: Duration = Duration::from_secs(100);

/// A broker, and a client of it.
pub struct Bed {
    /// It.
    pub broker: Broker,
    /// Its client.
    pub client: Client,
    /// Its operator.
    pub admin: Admin,
}

impl Bed {
    /// A fresh broker.
    pub async fn start() -> Self {
        Self::in_broker(Broker::start()).await
    }

    /// In a broker that runs.
    pub async fn in_broker(broker: Broker) -> Self {
        let client = connect(&broker.context()).await;
        let admin = client.admin().unwrap();
        Self { broker, client, admin }
    }

    /// Makes a topic of one partition.
    pub async fn topic(&self, name: &str) {
        let spec = TopicSpec {
            name: topic(name),
            partitions: 1,
            durability: Default::default(),
            retention_ms: None,
            retention_bytes: None,
            cleanup: Default::default(),
            segment_bytes: None,
        };
        self.admin.create_topic(&spec).await.unwrap();
    }

    /// Uploads a component.
    pub async fn push(
        &self,
        plugin: &str,
        component: Vec<u8>,
    ) -> Result<PluginVersion, AdminError> {
        self.admin.push_plugin(&name(plugin), component.into()).await
    }

    /// Puts a plugin on a topic.
    pub async fn bind(&self, on: &str, plugin: &str, spec: BindingSpec) -> Result<(), AdminError> {
        self.admin.bind(&topic(on), &name(plugin), &spec).await.map(drop)
    }

    /// Publishes events with these values as one batch, and waits for what became of each.
    pub async fn publish(&self, to: &str, values: &[&[u8]]) -> Vec<Outcome> {
        // They go together when all are there.
        let (batch_events, linger) = (values.len(), FOR_EVER);
        let options = ProducerOptions { batch_events, linger, ..ProducerOptions::default() };
        let producer = self.client.producer(&topic(to), options).await.unwrap();
        let mut deliveries = Vec::new();
        for value in values {
            let value = Some(Bytes::copy_from_slice(value));
            deliveries.push(producer.send(Event { value, ..Event::default() }).await.unwrap());
        }
        producer.flush().await;
        let mut outcomes = Vec::new();
        for delivery in deliveries {
            outcomes.push(delivery.await.unwrap());
        }
        producer.close().await;
        outcomes
    }

    /// What was judged in the only partition of a topic.
    pub async fn counts(&self, of: &str) -> JudgedCounts {
        self.admin.topic(&topic(of)).await.unwrap().partitions[0].judged
    }

    /// Everything that a topic holds.
    pub async fn stored(&self, of: &str) -> Vec<Event> {
        let options = ConsumerOptions { until_end: true, ..ConsumerOptions::default() };
        let mut consumer = self.client.consumer(&topic(of), options).await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = consumer.next().await {
            events.push(event.unwrap().event);
        }
        events
    }

    /// Bytes of memory that the broker holds.
    pub fn memory_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.broker.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

/// A verdict in a word: `accepted`, `dropped`, `aborted`, or the code of the refusal.
pub fn word(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Accepted => "accepted",
        Verdict::Dropped { .. } => "dropped",
        Verdict::Aborted => "aborted",
        Verdict::Rejected(why) => &why.code,
    }
}

/// A plugin's name.
pub fn name(plugin: &str) -> PluginName {
    PluginName::parse(plugin).unwrap()
}

/// A topic's name.
pub fn topics(names: &[&str]) -> Vec<TopicName> {
    names.iter().map(|name| topic(name)).collect()
}

/// A probe's component.
pub fn probe(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/probes");
    fs::read(Path::new(folder).join(name).with_extension("wasm")).unwrap()
}

/// The same component with another digest: a custom section that says `what`.
pub fn marked(mut component: Vec<u8>, what: &str) -> Vec<u8> {
    let name = b"mark";
    let size = 1 + name.len() + what.len();
    assert!(size < 128, "sizes are one byte each here");
    component.extend([0, size as u8, name.len() as u8]);
    component.extend(name);
    component.extend(what.as_bytes());
    component
}
