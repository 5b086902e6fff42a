//! A client that can be killed without a goodbye in the process of the test: from one moment on its
//! socket swallows what it sends and brings nothing, as that of a process after SIGKILL.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, TokioRuntime, UdpPoller};
use weir_client::{Chance, Client, ClientConfig, ClientError, Surroundings};

/// What kills it.
#[derive(Debug, Clone, Default)]
pub struct Death(Arc<AtomicBool>);

impl Death {
    /// From now on nobody hears of the client.
    pub fn strike(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    fn has_struck(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A client that `death` kills.
pub async fn mortal_client(config: ClientConfig, death: &Death) -> Result<Client, ClientError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let inner = TokioRuntime.wrap_udp_socket(socket).unwrap();
    let socket = Arc::new(Socket { inner, death: death.clone() });
    let runtime = Arc::new(TokioRuntime);
    let endpoint =
        Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime);
    let surroundings = Surroundings { endpoint: endpoint.unwrap(), chance: Chance::default() };
    Client::connect_in(config, surroundings).await
}

struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    death: Death,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.death.has_struck() { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        if self.death.has_struck() {
            return Poll::Pending;
        }
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
