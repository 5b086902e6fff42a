//! The one QUIC connection to the broker, shared by everything that talks to it and made anew when
//! it is lost.
//!
//! Promises: one caller at a time dials, with growing waits between attempts; nobody waits beyond
//! the deadline it brought. Not here: what goes over the streams; resending is the lanes' work.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{
    AckFrequencyConfig, Connection, ConnectionError, Endpoint, EndpointConfig, MtuDiscoveryConfig,
    RecvStream, SendStream, TokioRuntime, VarInt,
};
use rustix::net::sockopt;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info};
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::{
    ACK_DELAY, ACK_EVERY_PACKETS, ALPN, BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX,
    PACKET_BYTES_MAX, PROTOCOL_VERSION, SOCKET_BYTES,
};
use weir_wire::proto::{self, client_frame, server_frame};

use crate::backoff::{Backoff, Chance};
use crate::config::ClientConfig;
use crate::error::ClientError;
use crate::frames::{self, StreamError};

/// One attempt to connect, handshake and greeting included: what the broker gives each of them.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// Silence after which the broker counts as gone. A killed broker says no goodbye, and whoever
/// waits for its answers waits this long; a stalled machine should come back within it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Three pings fit into the idle timeout, so two may be lost.
const KEEP_ALIVE: Duration = Duration::from_secs(3);
/// Bytes the broker may send ahead on one stream: two chunks of a subscription.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes this side keeps until the broker has them: the batches of a few busy lanes.
const SEND_WINDOW_BYTES: u64 = 8 << 20;
/// What Hello says of us.
const SOFTWARE: &str = concat!("weir-client ", env!("CARGO_PKG_VERSION"));

/// What the broker takes, as its Welcome said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSizes {
    /// Of one record batch.
    pub(crate) batch_bytes_max: u32,
    /// Of one record batch.
    pub(crate) batch_events_max: u32,
    /// Key, value and headers of one event.
    pub(crate) event_bytes_max: u32,
}

/// The way to one broker.
#[derive(Debug)]
pub(crate) struct Link {
    config: ClientConfig,
    endpoint: Endpoint,
    chance: Chance,
    dialing: Mutex<Dialing>,
}

/// What a link takes from the machine. A simulation brings its own.
#[derive(Debug)]
pub struct Surroundings {
    /// The UDP socket, as QUIC sees it.
    pub endpoint: Endpoint,
    /// For waits that should not be in step with others'.
    pub chance: Chance,
}

impl Surroundings {
    /// A socket of the kernel's from which `broker` can be reached.
    pub(crate) fn real(broker: SocketAddr) -> Result<Self, ClientError> {
        let open = || {
            let socket = std::net::UdpSocket::bind(local_address(broker))?;
            // What the kernel does not give it does not give; then it is as it was.
            let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BYTES)
                .and_then(|()| sockopt::set_socket_send_buffer_size(&socket, SOCKET_BYTES));
            let mut packets = EndpointConfig::default();
            packets.max_udp_payload_size(PACKET_BYTES_MAX).expect("more than QUIC's least");
            Endpoint::new(packets, None, socket, Arc::new(TokioRuntime))
        };
        let endpoint = open().map_err(|error| ClientError::Io {
            what: "cannot open a UDP socket",
            source: Arc::new(error),
        })?;
        Ok(Self { endpoint, chance: Chance::default() })
    }
}

#[derive(Debug)]
struct Dialing {
    current: Option<(Connection, BatchSizes)>,
    backoff: Backoff,
    /// Nobody dials before.
    not_before: Instant,
    last_failure: Option<ClientError>,
}

impl Link {
    /// Prepares the way, without using it.
    pub(crate) fn new(
        config: ClientConfig,
        surroundings: Surroundings,
    ) -> Result<Self, ClientError> {
        let Surroundings { mut endpoint, chance } = surroundings;
        endpoint.set_default_client_config(quic_config(&config)?);
        let dialing = Mutex::new(Dialing {
            current: None,
            backoff: Backoff::new(chance.clone()),
            not_before: Instant::now(),
            last_failure: None,
        });
        Ok(Self { config, endpoint, chance, dialing })
    }

    /// How long to wait between attempts at something over this link.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.chance.clone())
    }

    /// One attempt to connect: for a caller who wants to know now.
    pub(crate) async fn dial_once(&self) -> Result<(), ClientError> {
        let mut dialing = self.dialing.lock().await;
        dialing.current = Some(self.dial(Instant::now() + DIAL_DEADLINE).await?);
        Ok(())
    }

    /// What the broker takes. Connects if need be.
    pub(crate) async fn batch_sizes(&self, deadline: Instant) -> Result<BatchSizes, ClientError> {
        Ok(self.connection(deadline).await?.1)
    }

    /// A new stream to the broker. Connects if need be, as often as it takes until `deadline`.
    pub(crate) async fn open(
        &self,
        deadline: Instant,
    ) -> Result<(SendStream, RecvStream), ClientError> {
        loop {
            let (connection, _) = self.connection(deadline).await?;
            match timeout_at(deadline, connection.open_bi()).await {
                Ok(Ok(streams)) => return Ok(streams),
                // The connection ended in between: the next round makes a new one.
                Ok(Err(error)) => debug!(%error, "connection lost while opening a stream"),
                Err(_) => {
                    let what = "waiting for a free stream of the connection";
                    return Err(ClientError::Timeout { what, after: DIAL_DEADLINE });
                }
            }
        }
    }

    /// Says goodbye, so that the broker need not wait for the idle timeout.
    pub(crate) async fn close(&self) {
        self.endpoint.close(VarInt::from_u32(0), b"done");
        // The goodbye is one packet; a broker that does not hear it has its own timeout.
        let _ = tokio::time::timeout(KEEP_ALIVE, self.endpoint.wait_idle()).await;
    }

    async fn connection(&self, deadline: Instant) -> Result<(Connection, BatchSizes), ClientError> {
        let Ok(mut dialing) = timeout_at(deadline, self.dialing.lock()).await else {
            return Err(self.unreachable("another caller is still connecting"));
        };
        loop {
            if let Some((connection, sizes)) = &dialing.current {
                match connection.close_reason() {
                    None => return Ok((connection.clone(), *sizes)),
                    Some(reason) => {
                        info!(%reason, "connection to the broker lost; connecting again")
                    }
                }
                dialing.current = None;
            }
            if deadline <= dialing.not_before {
                sleep_until(deadline).await;
                let last = dialing.last_failure.clone();
                return Err(last.unwrap_or_else(|| self.unreachable("no time was left to connect")));
            }
            sleep_until(dialing.not_before).await;
            match self.dial(deadline.min(Instant::now() + DIAL_DEADLINE)).await {
                Ok(connected) => {
                    dialing.backoff.reset();
                    dialing.current = Some(connected);
                }
                Err(error) if error.is_retryable() => {
                    debug!(%error, "cannot connect; trying again");
                    let wait = dialing.backoff.after_failure(error.retry_after_ms());
                    dialing.not_before = Instant::now() + wait;
                    dialing.last_failure = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn dial(&self, deadline: Instant) -> Result<(Connection, BatchSizes), ClientError> {
        let dialed = timeout_at(deadline, async {
            let connecting = self
                .endpoint
                .connect(self.config.broker, &self.config.server_name)
                .map_err(|error| ClientError::Config(format!("cannot connect: {error}")))?;
            let connection = connecting.await.map_err(|error| self.refused(error))?;
            let sizes = self.greet(&connection).await?;
            Ok((connection, sizes))
        });
        dialed.await.unwrap_or_else(|_| Err(self.unreachable("it did not answer in time")))
    }

    /// Hello and Welcome on the first stream of a connection.
    async fn greet(&self, connection: &Connection) -> Result<BatchSizes, ClientError> {
        let hello = client_frame::Kind::Hello(proto::Hello {
            protocol_version: PROTOCOL_VERSION,
            token: self.config.token.reveal().to_owned(),
            client: SOFTWARE.to_owned(),
        });
        let answer = async {
            let (mut send, mut receive) =
                connection.open_bi().await.map_err(|error| StreamError::Lost(error.to_string()))?;
            frames::write(&mut send, hello, Bytes::new()).await?;
            // The broker takes the end of the stream from Hello; a failure shows in the answer.
            let _ = send.finish();
            frames::read(&mut receive).await
        };
        match answer.await {
            Ok(Some((server_frame::Kind::Welcome(welcome), _))) => welcome_sizes(&welcome),
            Ok(Some((server_frame::Kind::Fault(fault), _))) => Err(Fault::from(fault).into()),
            Ok(Some(_)) => Err(ClientError::Protocol("no Welcome answers Hello".to_owned())),
            Ok(None) => Err(self.unreachable("it ended the handshake without an answer")),
            Err(StreamError::Protocol(reason)) => Err(ClientError::Protocol(reason)),
            Err(StreamError::Lost(reason)) => Err(match connection.close_reason() {
                Some(error) => self.refused(error),
                None => self.unreachable(&reason),
            }),
        }
    }

    /// Why a connection failed, for whoever can change it.
    fn refused(&self, error: ConnectionError) -> ClientError {
        match error {
            // A broker that closes at once may say why with the text of a fault code.
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason).into_owned();
                match Code::parse(&reason) {
                    Some(code) => Fault::new(code, "the broker closed the connection").into(),
                    None => self.unreachable(&format!("it closed the connection {reason:?}")),
                }
            }
            // Codes of 0x100 and above are TLS alerts: the peers do not trust or understand each other.
            ConnectionError::TransportError(error) if 0x100 <= u64::from(error.code) => {
                ClientError::Config(format!(
                    "no TLS with {}: {}; does the context file belong to this broker?",
                    self.config.broker, error.reason
                ))
            }
            other => self.unreachable(&other.to_string()),
        }
    }

    /// The sentence for an operator who looks for the broker.
    pub(crate) fn unreachable(&self, reason: &str) -> ClientError {
        ClientError::Unreachable { broker: self.config.broker, reason: reason.to_owned() }
    }
}

fn welcome_sizes(welcome: &proto::Welcome) -> Result<BatchSizes, ClientError> {
    if welcome.protocol_version != PROTOCOL_VERSION {
        let version = welcome.protocol_version;
        return Err(ClientError::Protocol(format!("it answers in version {version}")));
    }
    // A broker of this version takes no more than the protocol's own limits, and zero is no limit.
    let size = |said: u32, max: u32| if said == 0 { max } else { said.min(max) };
    Ok(BatchSizes {
        batch_bytes_max: size(welcome.batch_bytes_max, BATCH_BYTES_MAX),
        batch_events_max: size(welcome.batch_events_max, BATCH_EVENTS_MAX),
        event_bytes_max: size(welcome.event_bytes_max, EVENT_BYTES_MAX),
    })
}

/// A broker on loopback needs a socket on loopback only.
fn local_address(broker: SocketAddr) -> SocketAddr {
    match (broker, broker.ip().is_loopback()) {
        (SocketAddr::V4(_), true) => (Ipv4Addr::LOCALHOST, 0).into(),
        (SocketAddr::V4(_), false) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        (SocketAddr::V6(_), true) => (Ipv6Addr::LOCALHOST, 0).into(),
        (SocketAddr::V6(_), false) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

fn quic_config(config: &ClientConfig) -> Result<quinn::ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&config.ca_certificate) {
        let certificate = certificate.map_err(certificate_error)?;
        roots.add(certificate).map_err(certificate_error)?;
    }
    if roots.is_empty() {
        return Err(certificate_error("it holds none"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(certificate_error)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = QuicClientConfig::try_from(tls).map_err(certificate_error)?;

    let mut transport = quinn::TransportConfig::default();
    let mut packets = MtuDiscoveryConfig::default();
    packets.upper_bound(PACKET_BYTES_MAX);
    transport.mtu_discovery_config(Some(packets));
    let mut acknowledgements = AckFrequencyConfig::default();
    acknowledgements
        .ack_eliciting_threshold(VarInt::from_u32(ACK_EVERY_PACKETS))
        .max_ack_delay(Some(ACK_DELAY));
    transport.ack_frequency_config(Some(acknowledgements));
    transport.max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("10 s fit a QUIC varint")));
    transport.keep_alive_interval(Some(KEEP_ALIVE));
    transport.stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES));
    // The connection as a whole has no window of its own: a consumer that does not read would use
    // it up, and the answers of a producer beside it would wait. Each stream is bounded.
    transport.receive_window(VarInt::MAX);
    transport.send_window(SEND_WINDOW_BYTES);
    // The broker opens no streams and sends no datagrams.
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    transport.max_concurrent_uni_streams(VarInt::from_u32(0));
    transport.datagram_receive_buffer_size(None);
    let mut quic = quinn::ClientConfig::new(Arc::new(tls));
    quic.transport_config(Arc::new(transport));
    Ok(quic)
}

fn certificate_error(reason: impl ToString) -> ClientError {
    let reason = reason.to_string();
    ClientError::Config(format!("the broker's CA certificate cannot be used: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_brokers_within_the_protocols() {
        let welcome = proto::Welcome {
            protocol_version: 1,
            batch_bytes_max: 1000,
            batch_events_max: u32::MAX,
            ..Default::default()
        };
        let sizes = welcome_sizes(&welcome).unwrap();
        assert_eq!(sizes.batch_bytes_max, 1000);
        assert_eq!(sizes.batch_events_max, BATCH_EVENTS_MAX);
        assert_eq!(sizes.event_bytes_max, EVENT_BYTES_MAX);
        let other = proto::Welcome { protocol_version: 2, ..welcome };
        assert!(matches!(welcome_sizes(&other), Err(ClientError::Protocol(_))));
    }
}
