//! Who uses the simulated broker: producers that ride through everything, and a consumer group.
//! The SDK's own code, on the simulated network.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::sleep;
use weir_client::{
    Chance, Client, ClientConfig, ClientError, ConsumerOptions, From, Outcome, ProducerOptions,
    Secret, Surroundings, Verdict,
};
use weir_wire::fault::{Action, Code};
use weir_wire::ids::{GroupName, Timestamp, TopicName};
use weir_wire::record_batch::Event;

use super::net::Net;
use super::trace::Trace;
use crate::ledger::{DAY_MS, Ledger, Name, Stored, Told};

/// What the broker's doors know a friend by.
pub const TOKEN: &str = "a token for nobody but simulated clients";

/// Ed25519, whose signatures all have one length: a packet is as long in every run.
pub static CERTIFICATE: LazyLock<(CertificateDer<'static>, PrivateKeyDer<'static>, String)> =
    LazyLock::new(|| {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.serial_number = Some(7_u64.into());
        let certificate = params.self_signed(&key).unwrap();
        let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (certificate.der().clone(), secret, certificate.pem())
    });

/// What all clients of one run share.
#[derive(Clone)]
pub struct Town {
    pub net: Net,
    pub broker: SocketAddr,
    pub ledger: Arc<Mutex<Ledger>>,
    pub trace: Trace,
    /// Producers that are not done yet.
    pub publishing: Arc<AtomicUsize>,
    /// What the broker refused for good, and nobody gave it a reason to.
    pub refused: Arc<Mutex<Vec<String>>>,
    /// Whether partition time may have run past what is remembered of producers.
    pub may_expire: bool,
    /// Turns true when consumers may go home.
    pub is_over: Arc<AtomicBool>,
}

pub fn events_topic() -> TopicName {
    TopicName::parse("events").unwrap()
}

impl Town {
    /// Connects, as often as it takes.
    async fn connect(&self, number: u16, seed: u64) -> Client {
        let mut names = EndpointConfig::default();
        let chance = Mutex::new(fastrand::Rng::with_seed(seed));
        let chance = Chance::by(move || chance.lock().unwrap().u32(..));
        for attempt in 0_u64.. {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&(seed ^ attempt).to_le_bytes());
            names.rng_seed(Some(bytes));
            let address = SocketAddr::from(([127, 0, 1, 1], 1_000 + number));
            let socket = self.net.socket(address);
            let runtime = Arc::new(TokioRuntime);
            let endpoint =
                Endpoint::new_with_abstract_socket(names.clone(), None, socket, runtime).unwrap();
            let config = ClientConfig {
                broker: self.broker,
                admin: "http://127.0.0.1:1".to_owned(),
                ca_certificate: CERTIFICATE.2.clone().into_bytes(),
                token: Secret::new(TOKEN),
                server_name: "localhost".to_owned(),
            };
            let surroundings = Surroundings { endpoint, chance: chance.clone() };
            match Client::connect_in(config, surroundings).await {
                Ok(client) => return client,
                Err(error) => self.trace.note("no connection", &(number, error.to_string())),
            }
            sleep(Duration::from_millis(100)).await;
        }
        unreachable!("it would have connected")
    }

    /// Publishes `count` events of a few users and days and writes down what it was told.
    pub async fn produce(self, producer: u32, seed: u64, count: u64) {
        let mut chance = fastrand::Rng::with_seed(seed);
        let client = self.connect(producer as u16, seed).await;
        let options = ProducerOptions {
            batch_events: chance.usize(1..6),
            linger: Duration::from_millis(chance.u64(0..8)),
            window: chance.usize(1..6),
            delivery_timeout: Duration::from_secs(600),
            ..ProducerOptions::default()
        };
        let opened = loop {
            match client.producer(&events_topic(), options.clone()).await {
                Ok(producer) => break producer,
                Err(error) => self.trace.note("no producer", &error.to_string()),
            }
            sleep(Duration::from_millis(100)).await;
        };
        let mut waiting = Vec::new();
        for number in 0..count {
            let name = Name { producer, number };
            let (user, day) = (format!("u{}", chance.u32(0..5)), 20_000 + chance.u64(0..3));
            let value = name.value(chance.usize(0..60));
            self.ledger.lock().unwrap().sent(name, &user, day, value.clone());
            let event = Event {
                key: Some(user.into()),
                value: Some(value.into()),
                timestamp: Timestamp(day * DAY_MS + chance.u64(0..DAY_MS)),
                ..Event::default()
            };
            waiting.push((name, opened.send(event).await.unwrap()));
            if chance.u32(0..3) == 0 {
                sleep(Duration::from_millis(chance.u64(0..60))).await;
            }
        }
        for (name, delivery) in waiting {
            self.told(name, delivery.await);
        }
        opened.close().await;
        client.close().await;
        self.publishing.fetch_sub(1, Ordering::SeqCst);
    }

    fn told(&self, name: Name, answer: Result<Outcome, ClientError>) {
        let told = match answer {
            Ok(Outcome {
                verdict: Verdict::Accepted, partition, offset, chain_revision, ..
            }) => Told::Accepted {
                partition: partition.0,
                offset: offset.unwrap().0,
                chain: chain_revision.0,
            },
            Ok(Outcome { verdict: Verdict::Rejected(why), .. }) => Told::Rejected(why.code),
            Ok(other) => panic!("no plugin here does this: {other:?}"),
            // Its fate is unknown to the publisher; the ledger allows both.
            Err(error) => {
                self.trace.note("unknown", &(name, error.to_string()));
                return self.weigh(name, &error);
            }
        };
        self.trace.note("told", &(name, format!("{told:?}")));
        self.ledger.lock().unwrap().told(name, told);
    }

    /// Nobody gave the broker a reason to refuse for good.
    fn weigh(&self, name: Name, error: &ClientError) {
        let ClientError::Fault(fault) = error else { return };
        let has_expired = fault.code == Code::Expired && self.may_expire;
        if fault.action() != Action::Retry && !has_expired {
            self.refused.lock().unwrap().push(format!("{name}: {fault}"));
        }
    }

    /// Reads the topic as a group, commits now and then, goes away and comes back.
    pub async fn consume(self, number: u16, seed: u64) {
        let mut chance = fastrand::Rng::with_seed(seed);
        let (topic, group) = (events_topic(), GroupName::parse("readers").unwrap());
        let client = self.connect(500 + number, seed).await;
        while !self.is_over.load(Ordering::SeqCst) {
            let options = ConsumerOptions {
                from: From::Committed,
                group: Some(group.clone()),
                outage_timeout: Duration::from_secs(600),
                ..ConsumerOptions::default()
            };
            if let Ok(found) = client.committed_offsets(&group, &topic).await {
                for (partition, offset) in found {
                    let mut ledger = self.ledger.lock().unwrap();
                    ledger.cursor_found("readers", partition.0, Some(offset.0));
                }
            }
            let Ok(mut consumer) = client.consumer(&topic, options).await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            let mut positions = std::collections::BTreeMap::new();
            for _ in 0..chance.u32(1..40) {
                let next = tokio::time::timeout(Duration::from_millis(400), consumer.next());
                match next.await {
                    Ok(Some(Ok(consumed))) => {
                        let stored = Stored {
                            offset: consumed.offset.0,
                            value: consumed.event.value.unwrap().to_vec(),
                            headers: vec![],
                        };
                        self.trace.note("given", &(consumed.partition, stored.offset));
                        self.ledger.lock().unwrap().given(consumed.partition.0, &stored);
                        positions.insert(consumed.partition.0, stored.offset + 1);
                    }
                    Ok(_) => break,
                    Err(_) if self.is_over.load(Ordering::SeqCst) => break,
                    Err(_) => {}
                }
                if chance.u32(0..4) == 0 && consumer.commit().await.is_ok() {
                    let mut ledger = self.ledger.lock().unwrap();
                    for (partition, offset) in &positions {
                        ledger.committed("readers", *partition, *offset);
                    }
                }
            }
        }
        client.close().await;
    }
}
