//! QUIC alone: the same bytes one way over loopback through quinn, with TLS, client and server on the same
//! cores. Nobody looks at them, and nothing is written.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures::future::BoxFuture;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use rustix::net::sockopt;
use rustls::pki_types::PrivatePkcs8KeyDer;
use weir_wire::frame::{ACK_EVERY_PACKETS, PACKET_BYTES_MAX, SOCKET_BYTES};

use super::of_machine;
use crate::load::{Events, Load, Subject};
use crate::measure::Measured;

/// Bytes that are handed to a stream at once.
const WRITE_BYTES: usize = 1 << 20;
/// And taken from it.
const READ_CHUNKS: usize = 64;
/// The name in the certificate, which is made for each run.
const NAME: &str = "localhost";

/// How the transport is set up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Transport {
    /// What may be sent ahead in one stream.
    pub stream_window: u32,
    /// And in a connection.
    pub connection_window: u32,
    /// What may be under way without an acknowledgement.
    pub send_window: u64,
    /// Bytes of a packet at most.
    pub packet_bytes_max: u16,
    /// Packets after which one is acknowledged.
    pub ack_every: u32,
}

/// What weir has: `broker/src/listen.rs`, `sdk/client/src/link.rs`.
pub const AS_WEIR: Transport = Transport {
    stream_window: 4 << 20,
    connection_window: 32 << 20,
    send_window: 8 << 20,
    packet_bytes_max: PACKET_BYTES_MAX,
    ack_every: ACK_EVERY_PACKETS,
};

/// The fastest that was found on loopback. Quinn hands up to ten packets to the kernel at once, which takes
/// 64 KiB: 6,500 bytes each is what fits. With 8,000 nearly nothing moved (7 MB/s).
pub const BEST: Transport = Transport { ack_every: 20, ..AS_WEIR };

/// Bytes through quinn.
pub struct RawQuic(pub Transport);

impl Subject for RawQuic {
    fn run<'a>(&'a mut self, load: &'a Load) -> BoxFuture<'a, Result<Measured, String>> {
        Box::pin(async move {
            let (client, server, pairs) = self.connect(load.connections).await?;
            let window = load.window(Instant::now());
            let arrived = Arc::new(AtomicU64::new(0));
            for (lane, (sends, receives)) in (0..load.lanes()).zip(pairs.iter().cycle()) {
                let mut stream = sends.open_uni().await.map_err(|error| error.to_string())?;
                let block = block(load, lane);
                tokio::spawn(
                    async move { while stream.write_chunk(block.clone()).await.is_ok() {} },
                );
                let (receives, arrived) = (receives.clone(), Arc::clone(&arrived));
                tokio::spawn(async move {
                    if let Ok(stream) = receives.accept_uni().await {
                        take(stream, &arrived).await;
                    }
                });
            }
            let event_bytes = load.event_bytes;
            let counting = tokio::spawn(async move {
                tokio::time::sleep_until(window.opens().into()).await;
                let before = arrived.load(Ordering::Relaxed);
                tokio::time::sleep_until(window.closes().into()).await;
                Ok((arrived.load(Ordering::Relaxed) - before) / event_bytes as u64)
            });
            let measured = of_machine(counting, window, event_bytes).await;
            for endpoint in [client, server] {
                endpoint.close(VarInt::from_u32(0), b"done");
            }
            measured
        })
    }
}

/// Reads what comes, and counts it.
async fn take(mut stream: RecvStream, arrived: &AtomicU64) {
    let mut chunks: Vec<Bytes> = vec![Bytes::new(); READ_CHUNKS];
    while let Ok(Some(count)) = stream.read_chunks(&mut chunks).await {
        let bytes: usize = chunks[..count].iter().map(Bytes::len).sum();
        arrived.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A lane's events, as many as make a large write.
fn block(load: &Load, lane: u32) -> Bytes {
    let mut events = Events::of_lane(load, lane);
    let mut block = Vec::with_capacity(WRITE_BYTES + load.event_bytes);
    while block.len() < WRITE_BYTES {
        let event = events.make();
        block.extend_from_slice(&event.key);
        block.extend_from_slice(&event.value);
    }
    block.into()
}

impl RawQuic {
    /// Both ends, and so many connections with theirs.
    async fn connect(
        &self,
        connections: u32,
    ) -> Result<(Endpoint, Endpoint, Vec<(Connection, Connection)>), String> {
        let cannot =
            |error: &dyn std::fmt::Display| format!("cannot speak QUIC to itself: {error}");
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        let made = made.map_err(|error| cannot(&error))?;
        let (certificate, key) =
            (made.cert.der().clone(), PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server_tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .and_then(|tls| {
                tls.with_no_client_auth().with_single_cert(vec![certificate.clone()], key.into())
            })
            .map_err(|error| cannot(&error))?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).map_err(|error| cannot(&error))?;
        let client_tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| cannot(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server_tls = QuicServerConfig::try_from(server_tls).map_err(|error| cannot(&error))?;
        let client_tls = QuicClientConfig::try_from(client_tls).map_err(|error| cannot(&error))?;
        let mut server_config = ServerConfig::with_crypto(Arc::new(server_tls));
        server_config.transport_config(self.0.config());
        let mut client_config = ClientConfig::new(Arc::new(client_tls));
        client_config.transport_config(self.0.config());
        let server = self.0.endpoint(Some(server_config)).map_err(|error| cannot(&error))?;
        let mut client = self.0.endpoint(None).map_err(|error| cannot(&error))?;
        client.set_default_client_config(client_config);
        let address = server.local_addr().map_err(|error| cannot(&error))?;
        let mut pairs = Vec::new();
        for _ in 0..connections {
            let ours = client.connect(address, NAME).map_err(|error| cannot(&error))?;
            let theirs = async {
                let incoming = server.accept().await.ok_or_else(|| cannot(&"nobody comes"))?;
                incoming.await.map_err(|error| cannot(&error))
            };
            let ours = async { ours.await.map_err(|error| cannot(&error)) };
            pairs.push(tokio::try_join!(ours, theirs)?);
        }
        Ok((client, server, pairs))
    }
}

impl Transport {
    fn config(&self) -> Arc<TransportConfig> {
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(self.stream_window.into())
            .receive_window(self.connection_window.into())
            .send_window(self.send_window)
            .datagram_receive_buffer_size(None);
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(self.packet_bytes_max);
        transport.mtu_discovery_config(Some(discovery));
        let mut frequency = quinn::AckFrequencyConfig::default();
        frequency.ack_eliciting_threshold(self.ack_every.into());
        transport.ack_frequency_config(Some(frequency));
        Arc::new(transport)
    }

    fn endpoint(&self, server: Option<ServerConfig>) -> std::io::Result<Endpoint> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // What the kernel does not give it does not give; then it is as it was.
        sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES)?;
        sockopt::set_socket_send_buffer_size(&socket, SOCKET_BYTES)?;
        let mut config = EndpointConfig::default();
        config.max_udp_payload_size(self.packet_bytes_max).map_err(std::io::Error::other)?;
        Endpoint::new(config, server, socket, Arc::new(TokioRuntime))
    }
}
