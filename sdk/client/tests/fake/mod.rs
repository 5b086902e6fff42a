//! A broker of paper: it speaks weir/1 over real QUIC, judges by a rule a test can read, and
//! misbehaves on command: cuts connections before or after judging, answers faults, stays silent.
//!
//! Its one topic is [`TOPIC`]. An event whose value begins with `no` is rejected, with `drop`
//! dropped; all others are accepted. Sequences are checked as weir checks them.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod shelf;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use quinn::{Connection, Endpoint, RecvStream, SendStream, VarInt};
use tokio::sync::watch;
use weir_client::{Client, ClientConfig, Event, Secret};
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::{self, ALPN, CLIENT_FRAME, FrameHeader, HEADER_BYTES};
use weir_wire::ids::{Timestamp, TopicName};
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::server_frame::Kind as Answer;
use weir_wire::proto::{self, ClientFrame, ServerFrame, publish_answer};

pub use shelf::{Seen, Shelf};

pub const TOPIC: &str = "bookings";
pub const TOKEN: &str = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";

/// What becomes of the next publish request instead of a plain answer.
#[derive(Debug, Clone)]
pub enum Misdeed {
    /// The connection is cut; the batch is not judged.
    CutBefore,
    /// The batch is judged and the connection cut before the answer.
    CutAfter,
    /// This fault, and the batch is not judged.
    Say(Fault),
    /// Neither judged nor answered, for ever.
    Silence,
    /// No misdeed.
    None,
}

pub struct FakeBroker {
    pub config: ClientConfig,
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

struct Shared {
    shelf: Mutex<Shelf>,
    script: Mutex<VecDeque<Misdeed>>,
    /// The partition whose publishers get no answer.
    silent_partition: Mutex<Option<u32>>,
    /// After so many chunks the connection of a subscription is cut, once for each number.
    cuts: Mutex<VecDeque<usize>>,
    /// Ticks whenever a log grows.
    growth: watch::Sender<u64>,
    hellos: watch::Sender<u32>,
}

impl FakeBroker {
    pub async fn start(partitions: u32) -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key =
            rustls::pki_types::PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let tls = quinn::crypto::rustls::QuicServerConfig::try_from(tls).unwrap();
        let server = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let endpoint =
            Endpoint::server(server, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let config = ClientConfig {
            broker: endpoint.local_addr().unwrap(),
            admin: "http://127.0.0.1:1".to_owned(),
            ca_certificate: certified.cert.pem().into_bytes(),
            token: Secret::new(TOKEN),
            server_name: "localhost".to_owned(),
        };
        let shared = Arc::new(Shared {
            shelf: Mutex::new(Shelf::new(partitions)),
            script: Mutex::default(),
            silent_partition: Mutex::default(),
            cuts: Mutex::default(),
            growth: watch::Sender::new(0),
            hellos: watch::Sender::new(0),
        });
        let (door, inside) = (endpoint.clone(), shared.clone());
        tokio::spawn(async move {
            while let Some(incoming) = door.accept().await {
                let inside = inside.clone();
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        inside.session(connection).await;
                    }
                });
            }
        });
        Self { config, endpoint, shared }
    }

    pub async fn client(&self) -> Client {
        Client::connect(self.config.clone()).await.unwrap()
    }

    pub fn topic(&self) -> TopicName {
        TopicName::parse(TOPIC).unwrap()
    }

    /// What becomes of the publish requests to come, in the order they arrive.
    pub fn script(&self, misdeeds: impl IntoIterator<Item = Misdeed>) {
        self.shared.script.lock().unwrap().extend(misdeeds);
    }

    pub fn cut_subscriptions_after(&self, chunks: impl IntoIterator<Item = usize>) {
        self.shared.cuts.lock().unwrap().extend(chunks);
    }

    pub fn silence(&self, partition: u32) {
        *self.shared.silent_partition.lock().unwrap() = Some(partition);
    }

    pub fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shared.shelf.lock().unwrap()
    }

    /// How many connections were greeted.
    pub fn hellos(&self) -> u32 {
        *self.shared.hellos.borrow()
    }

    /// Puts events into a log as if they had been published.
    pub fn fill(&self, partition: u32, values: &[&str]) {
        let event =
            |value: &&str| Event { value: Some((*value).to_owned().into()), ..Event::default() };
        self.shelf().append(partition, values.iter().map(event).collect());
        self.shared.growth.send_modify(|ticks| *ticks += 1);
    }

    /// Puts events with these timestamps into a log, their values the same in text.
    pub fn fill_timed(&self, partition: u32, times: &[u64]) {
        let event = |millis: &u64| Event {
            timestamp: Timestamp(*millis),
            value: Some(millis.to_string().into()),
            ..Event::default()
        };
        self.shelf().append(partition, times.iter().map(event).collect());
        self.shared.growth.send_modify(|ticks| *ticks += 1);
    }

    /// Goes away without a word to new connections; the old ones are told.
    pub fn stop(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"");
    }
}

impl Shared {
    async fn session(self: Arc<Self>, connection: Connection) {
        let Ok((mut send, mut receive)) = connection.accept_bi().await else { return };
        let Some((Ask::Hello(hello), _)) = read(&mut receive).await else { return };
        if hello.token != TOKEN {
            let fault = Fault::new(Code::Unauthenticated, "no such token");
            write(&mut send, Answer::Fault(fault.into()), Bytes::new()).await;
            let _ = send.finish();
            connection.closed().await;
            return;
        }
        self.hellos.send_modify(|count| *count += 1);
        let welcome = proto::Welcome { protocol_version: 1, ..Default::default() };
        write(&mut send, Answer::Welcome(welcome), Bytes::new()).await;
        let _ = send.finish();
        while let Ok((send, receive)) = connection.accept_bi().await {
            tokio::spawn(self.clone().stream(connection.clone(), send, receive));
        }
    }

    async fn stream(
        self: Arc<Self>,
        connection: Connection,
        mut send: SendStream,
        mut receive: RecvStream,
    ) {
        while let Some((ask, payload)) = read(&mut receive).await {
            let answer = match ask {
                Ask::Publish(request) => match self.publish(&connection, request, payload) {
                    Some(answer) => Answer::Publish(answer),
                    None => continue,
                },
                Ask::Subscribe(request) => return self.subscribe(&connection, send, request).await,
                ask => self.shelf.lock().unwrap().call(ask),
            };
            write(&mut send, answer, Bytes::new()).await;
        }
    }

    fn publish(
        &self,
        connection: &Connection,
        request: proto::PublishRequest,
        batch: Bytes,
    ) -> Option<proto::PublishAnswer> {
        let misdeed = self.script.lock().unwrap().pop_front().unwrap_or(Misdeed::None);
        let is_silent = *self.silent_partition.lock().unwrap() == Some(request.partition);
        let result = match misdeed {
            _ if is_silent => return None,
            Misdeed::Silence => {
                self.shelf.lock().unwrap().see(request.partition, &batch);
                return None;
            }
            Misdeed::CutBefore => {
                self.shelf.lock().unwrap().see(request.partition, &batch);
                connection.close(VarInt::from_u32(0), b"");
                return None;
            }
            Misdeed::Say(ref fault) => {
                self.shelf.lock().unwrap().see(request.partition, &batch);
                Err(fault.clone())
            }
            Misdeed::CutAfter | Misdeed::None => {
                let mut shelf = self.shelf.lock().unwrap();
                shelf.see(request.partition, &batch);
                shelf.judge(request.partition, &batch)
            }
        };
        self.growth.send_modify(|ticks| *ticks += 1);
        if matches!(misdeed, Misdeed::CutAfter) {
            connection.close(VarInt::from_u32(0), b"");
            return None;
        }
        let result = match result {
            Ok(judged) => publish_answer::Result::Judged(judged),
            Err(fault) => publish_answer::Result::Fault(fault.into()),
        };
        Some(proto::PublishAnswer { correlation: request.correlation, result: Some(result) })
    }

    async fn subscribe(
        &self,
        connection: &Connection,
        mut send: SendStream,
        request: proto::SubscribeRequest,
    ) {
        let mut growth = self.growth.subscribe();
        let mut next = request.from_offset;
        let cut_after = self.cuts.lock().unwrap().pop_front();
        for chunks in 0.. {
            if request.until_offset.is_some_and(|until| until <= next) {
                let _ = send.finish();
                return;
            }
            if cut_after == Some(chunks) {
                connection.close(VarInt::from_u32(0), b"");
                return;
            }
            let found = loop {
                let (missing, found) = {
                    let shelf = self.shelf.lock().unwrap();
                    (shelf.missing(request.partition, next), shelf.read(request.partition, next))
                };
                if let Some(fault) = missing {
                    write(&mut send, Answer::Fault(fault.into()), Bytes::new()).await;
                    return;
                }
                match found {
                    Some(found) => break found,
                    None if growth.changed().await.is_err() => return,
                    None => {}
                }
            };
            let (fetched, payload) = found;
            next = fetched.next_offset;
            if !write(&mut send, Answer::Fetched(fetched), payload).await {
                return;
            }
        }
    }
}

async fn read(receive: &mut RecvStream) -> Option<(Ask, Bytes)> {
    let mut head = [0; HEADER_BYTES];
    receive.read_exact(&mut head).await.ok()?;
    let header = FrameHeader::decode(head, CLIENT_FRAME).unwrap();
    let mut body = vec![0; header.body_bytes()];
    receive.read_exact(&mut body).await.ok()?;
    let (frame, payload): (ClientFrame, _) = header.split(body.into()).unwrap();
    Some((frame.kind.unwrap(), payload))
}

async fn write(send: &mut SendStream, answer: Answer, payload: Bytes) -> bool {
    let head = frame::encode(&ServerFrame { kind: Some(answer) }, payload.len());
    send.write_all_chunks(&mut [head, payload]).await.is_ok()
}
