//! The QUIC door: who may connect, and with which limits.
//!
//! TLS 1.3 always (QUIC has no other), no 0-RTT (it can be replayed), no migration, no datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::Runtime as _;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    ServerConfig, TransportConfig, VarInt,
};
use quinn_proto::HashedConnectionIdGenerator;
use ring::hmac;
use rustix::net::sockopt;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, watch};
use weir_wire::frame::{ACK_DELAY, ACK_EVERY_PACKETS, ALPN, PACKET_BYTES_MAX, SOCKET_BYTES};

use crate::session::{self, Office, STREAMS_AT_FIRST};

/// Connections at once: thousands may wait, at some tens of KiB each.
const CONNECTIONS_MAX: usize = 4_096;
/// Handshakes under way above which an address has to prove itself by a Retry first; those that
/// wait to be looked at are four times as many at most, and the rest is turned away.
const HANDSHAKES_MAX: usize = 64;
/// Bytes a client may send ahead of us in one stream: one batch of the largest size in flight.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// And in one connection.
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Bytes we send ahead of a client's acknowledgements.
const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// A silent client is gone after this; ours say a word every five seconds.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// QUIC application error code: the broker is going down.
const CLOSE_SHUTTING_DOWN: VarInt = VarInt::from_u32(2);
/// How long clients may take to hear that.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the door did not open.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {address} (UDP): {source}; stop whoever has it or choose another --listen"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate and its key do not serve.
    #[error("the certificate in the data directory does not work: {0}")]
    Certificate(String),
}

/// An open door.
pub struct Listener {
    endpoint: Endpoint,
}

impl Listener {
    /// Opens it. Nobody is let in before [`serve`](Self::serve).
    pub fn open(
        address: SocketAddr,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ListenError> {
        let socket = UdpSocket::bind(address)
            .inspect(ask_for_buffers)
            .and_then(|socket| quinn::TokioRuntime.wrap_udp_socket(socket))
            .map_err(|source| ListenError::Bind { address, source })?;
        Self::on(socket, certificates, key, None)
    }

    /// Opens it on a socket that is there, with chance from the seed if one is given: a simulation
    /// has both.
    pub fn on(
        socket: Arc<dyn AsyncUdpSocket>,
        certificates: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        seed: Option<[u8; 32]>,
    ) -> Result<Self, ListenError> {
        let mut names = endpoint_config(&key);
        names.rng_seed(seed);
        let config = server_config(certificates, key)
            .map_err(|error| ListenError::Certificate(error.to_string()))?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint = Endpoint::new_with_abstract_socket(names, Some(config), socket, runtime)
            .map_err(|error| ListenError::Certificate(error.to_string()))?;
        Ok(Self { endpoint })
    }

    /// Where it is, with the port the system chose if 0 was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Lets clients in until `stop` turns true, then tells them to come back later.
    pub async fn serve(self, office: Arc<Office>, mut stop: watch::Receiver<bool>) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => incoming,
                    None => break,
                },
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let open = self.endpoint.open_connections();
            if open >= CONNECTIONS_MAX {
                tracing::warn!(open, peer = %incoming.remote_address(), "connection refused: too many are open");
                incoming.refuse();
                continue;
            }
            let slot = Arc::clone(&handshakes).try_acquire_owned();
            if slot.is_err() && incoming.may_retry() && !incoming.remote_address_validated() {
                let _ = incoming.retry();
                continue;
            }
            let office = Arc::clone(&office);
            tokio::spawn(async move {
                let connected = incoming.await;
                drop(slot);
                match connected {
                    Ok(connection) => session::serve(connection, office).await,
                    Err(error) => tracing::debug!(%error, "a handshake failed"),
                }
            });
        }
        self.endpoint.close(CLOSE_SHUTTING_DOWN, b"shutting-down");
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.endpoint.wait_idle()).await;
    }
}

/// What the kernel does not give it does not give; then it is as it was.
fn ask_for_buffers(socket: &UdpSocket) {
    let asked = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES)
        .and_then(|()| sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES));
    if let Err(error) = asked {
        tracing::debug!(%error, "the socket keeps the system's buffers");
    }
}

/// How connections are named. Both secrets follow from the certificate's key, so that a broker that
/// was killed and started again knows the names its predecessor gave out and answers a packet for
/// one with a stateless reset: its clients come back at once, not after their idle time-out.
fn endpoint_config(key: &PrivateKeyDer<'_>) -> EndpointConfig {
    let secret = |purpose: &[u8]| -> [u8; 32] {
        Sha256::new().chain_update(purpose).chain_update(key.secret_der()).finalize().into()
    };
    let reset = hmac::Key::new(hmac::HMAC_SHA256, &secret(b"weir stateless reset"));
    let [a, b, c, d, e, f, g, h, ..] = secret(b"weir connection id");
    let names = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut config = EndpointConfig::new(Arc::new(reset));
    config.max_udp_payload_size(PACKET_BYTES_MAX).expect("more than the least that QUIC knows");
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(names)));
    config
}

fn server_config(
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.max_incoming(4 * HANDSHAKES_MAX).migration(false);
    let mut transport = TransportConfig::default();
    let mut packets = MtuDiscoveryConfig::default();
    packets.upper_bound(PACKET_BYTES_MAX);
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(ACK_EVERY_PACKETS.into())
        .max_ack_delay(Some(ACK_DELAY));
    transport
        .ack_frequency_config(Some(acknowledgements))
        .mtu_discovery_config(Some(packets))
        .max_concurrent_bidi_streams(STREAMS_AT_FIRST.into())
        .max_concurrent_uni_streams(0u32.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))));
    config.transport_config(Arc::new(transport));
    Ok(config)
}
