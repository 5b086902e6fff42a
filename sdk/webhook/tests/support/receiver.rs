//! A receiver for tests: axum behind a real port, with TLS if it is to have some. It notes what came,
//! answers what it is told to, and checks signatures by code of its own.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const HANGS: Duration = Duration::from_secs(60);

/// What the receiver does with the next request.
#[derive(Debug, Clone)]
pub enum Answer {
    Status(u16),
    With(u16, &'static str, String),
    /// None, until the receiver is told to go on.
    Silence,
    /// A status with a body that has no end.
    Endless(u16),
}

/// One request that came.
#[derive(Debug, Clone)]
pub struct Got {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

struct Shared {
    got: Mutex<Vec<Got>>,
    answers: Mutex<VecDeque<Answer>>,
    count: watch::Sender<usize>,
    go_on: watch::Sender<bool>,
}

/// A receiver at work; it ends when it is dropped.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener.local_addr().unwrap(), listener)
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        Self::serve(address, TcpListener::bind(address).await.unwrap())
    }

    pub async fn start_tls(tls: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        Self::serve(address, TlsListener { listener, acceptor })
    }

    fn serve<L>(address: SocketAddr, listener: L) -> Self
    where
        L: Listener,
        L::Addr: std::fmt::Debug,
    {
        let shared = Arc::new(Shared {
            got: Mutex::default(),
            answers: Mutex::default(),
            count: watch::Sender::new(0),
            go_on: watch::Sender::new(false),
        });
        let router = Router::new().fallback(take).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, shared, task }
    }

    /// What becomes of the requests to come; those behind are answered 204.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.answers.lock().unwrap().extend(answers);
    }

    /// Answers what was met with silence.
    pub fn go_on(&self) {
        self.shared.go_on.send_replace(true);
    }

    pub async fn wait_for(&self, count: usize) -> Vec<Got> {
        let mut counts = self.shared.count.subscribe();
        let enough = counts.wait_for(|&got| count <= got);
        tokio::time::timeout(HANGS, enough).await.unwrap().unwrap();
        self.got()
    }

    pub fn got(&self) -> Vec<Got> {
        self.shared.got.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let count = {
        let mut got = shared.got.lock().unwrap();
        got.push(Got { headers, body });
        got.len()
    };
    shared.count.send_replace(count);
    let answer = shared.answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204));
    let status = |code| StatusCode::from_u16(code).unwrap();
    match answer {
        Answer::Status(code) => status(code).into_response(),
        Answer::With(code, name, value) => {
            let header = (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap());
            (status(code), [header]).into_response()
        }
        Answer::Silence => {
            let _ = shared.go_on.subscribe().wait_for(|go_on| *go_on).await;
            StatusCode::NO_CONTENT.into_response()
        }
        Answer::Endless(code) => (status(code), axum::body::Body::new(Endless)).into_response(),
    }
}

/// A body that never ends.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        let frame = hyper::body::Frame::data(Bytes::from_static(b"no and no\r\n"));
        std::task::Poll::Ready(Some(Ok(frame)))
    }
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            // Who does not trust us breaks off here.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Whether one of a request's signatures is by this secret: RFC 2104 and the specification, written
/// down once more.
pub fn is_signed(got: &Got, secret: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(&key);
    let mut signed = got.header("webhook-id").as_bytes().to_vec();
    signed.extend_from_slice(b".");
    signed.extend_from_slice(got.header("webhook-timestamp").as_bytes());
    signed.extend_from_slice(b".");
    signed.extend_from_slice(&got.body);
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(signed);
    let outer = Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c));
    let expected = STANDARD.encode(outer.chain_update(inner.finalize()).finalize());
    let mut signatures = got.header("webhook-signature").split(' ');
    signatures.any(|signature| signature.strip_prefix("v1,") == Some(&expected))
}
