//! One client's connection: the handshake, then as many streams as it opens, each on its own.
//!
//! Promises: nothing but one Hello is read from a client whose token was not checked; no frame is
//! given memory before its size was; a stream that breaks the protocol ends itself, not its
//! neighbours. Not here: what a request means.

mod publish;
mod subscribe;
mod membership;
mod calls;
mod frames;

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::{
    BATCH_BYTES_MAX, BATCH_EVENTS_MAX, CLIENT_FRAME, EVENT_BYTES_MAX, HELLO_FRAME, PROTOCOL_VERSION,
};
use weir_wire::ids::Principal;
use weir_wire::proto;
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::server_frame::Kind as Say;

use crate::desk::Desk;
use crate::groups::Groups;
use crate::home::Token;
use crate::producer_ids::ProducerIds;
use frames::{Incoming, read_frame, send};

/// From the connection's first byte to a valid Hello: an honest client needs two round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of batches that all clients together may have in memory on their way to a verdict.
const BATCH_MEMORY_BYTES: usize = 256 << 20;
/// QUIC application error code: the client did not prove who it is.
const CLOSE_UNAUTHENTICATED: VarInt = VarInt::from_u32(1);

/// Streams a client may have open in one connection at first. QUIC keeps some ninety bytes for each that
/// may come, so what most clients never use is not promised to any.
pub const STREAMS_AT_FIRST: u32 = 64;
/// And at most: a producer uses one per partition, and so does a subscription. One that waits costs a few
/// KiB; what all may send ahead is the connection's window.
const STREAMS_MAX: u32 = 4_096;

/// What all sessions share.
pub struct Office {
    desk: Arc<Desk>,
    token: Token,
    producer_ids: ProducerIds,
    groups: Arc<Groups>,
    /// One permit per byte.
    batch_memory: Arc<Semaphore>,
}

impl Office {
    /// An office behind which clients find all they may ask for.
    pub fn new(
        desk: Arc<Desk>,
        token: Token,
        producer_ids: ProducerIds,
        groups: Arc<Groups>,
    ) -> Self {
        let batch_memory = Arc::new(Semaphore::new(BATCH_MEMORY_BYTES));
        Self { desk, token, producer_ids, groups, batch_memory }
    }
}

/// Serves one connection until it ends.
pub async fn serve(connection: Connection, office: Arc<Office>) {
    let greeted = tokio::time::timeout(HANDSHAKE_TIMEOUT, greet(&connection, &office)).await;
    let principal = match greeted {
        Ok(Ok(principal)) => principal,
        Ok(Err(fault)) => {
            tracing::info!(peer = %connection.remote_address(), code = %fault.code, "client refused");
            connection.close(CLOSE_UNAUTHENTICATED, fault.code.as_str().as_bytes());
            return;
        }
        Err(_) => {
            connection.close(CLOSE_UNAUTHENTICATED, b"no hello in time");
            return;
        }
    };
    let mut streams = JoinSet::new();
    let mut allowed = STREAMS_AT_FIRST;
    while let Ok((out, input)) = connection.accept_bi().await {
        let (office, principal) = (Arc::clone(&office), principal.clone());
        streams.spawn(serve_stream(out, input, office, principal, connection.clone()));
        while streams.try_join_next().is_some() {}
        if (allowed as usize) < 2 * streams.len() && allowed < STREAMS_MAX {
            allowed *= 2;
            connection.set_max_concurrent_bi_streams(allowed.into());
        }
    }
    // What was handed over is judged all the same.
    streams.detach_all();
}

/// The handshake on the connection's first stream.
async fn greet(connection: &Connection, office: &Office) -> Result<Principal, Fault> {
    let lost = || Fault::new(Code::Unknown, "the connection ended in the handshake");
    let (mut out, mut input) = connection.accept_bi().await.map_err(|_| lost())?;
    let hello = match read_frame(&mut input, HELLO_FRAME, &office.batch_memory).await {
        Ok(Some(Incoming { ask: Some(Ask::Hello(hello)), .. })) => check(&hello, office),
        Ok(Some(_)) => Err(Fault::new(Code::InvalidFrame, "a connection begins with Hello")),
        Ok(None) => Err(lost()),
        Err(fault) => Err(fault),
    };
    let say = match &hello {
        Ok(principal) => Say::Welcome(proto::Welcome {
            protocol_version: PROTOCOL_VERSION,
            broker_version: env!("CARGO_PKG_VERSION").to_owned(),
            batch_bytes_max: BATCH_BYTES_MAX,
            batch_events_max: BATCH_EVENTS_MAX,
            event_bytes_max: EVENT_BYTES_MAX,
            principal: principal.to_string(),
        }),
        Err(fault) => Say::Fault(fault.clone().into()),
    };
    send(&mut out, say).await.map_err(|_| lost())?;
    let _ = out.finish();
    // A refusal must arrive before the connection is closed over it.
    if hello.is_err() {
        let _ = out.stopped().await;
    }
    hello
}

fn check(hello: &proto::Hello, office: &Office) -> Result<Principal, Fault> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Fault::new(
            Code::UnsupportedVersion,
            format!(
                "this broker speaks version {PROTOCOL_VERSION} of weir's protocol; use a matching client"
            ),
        ));
    }
    if !office.token.matches(&hello.token) {
        return Err(Fault::new(
            Code::Unauthenticated,
            "the token is not this broker's; use the context file that `weir serve` wrote (client.toml)",
        ));
    }
    Ok(Principal::parse("admin").expect("a fixed, valid name"))
}

/// One stream: its first frame says what it is for.
async fn serve_stream(
    mut out: SendStream,
    mut input: RecvStream,
    office: Arc<Office>,
    principal: Principal,
    connection: Connection,
) {
    let ended = match read_frame(&mut input, CLIENT_FRAME, &office.batch_memory).await {
        Ok(None) => return,
        Ok(Some(Incoming { ask: Some(ask), payload, memory })) => match ask {
            Ask::Publish(first) => {
                let stream = publish::Stream { office, principal };
                return stream
                    .run(out, input, publish::Read { request: first, payload, memory })
                    .await;
            }
            Ask::Subscribe(request) => subscribe::run(&mut out, &office, request).await,
            Ask::JoinGroup(request) => {
                membership::run(&mut out, &mut input, &office, &connection, request).await
            }
            call => match calls::answer(&office, call).await {
                Ok(answer) => {
                    let _ = send(&mut out, answer).await;
                    Ok(())
                }
                Err(fault) => Err(fault),
            },
        },
        Ok(Some(_)) => {
            Err(Fault::new(Code::InvalidFrame, "a frame of a kind this broker does not know"))
        }
        Err(fault) => Err(fault),
    };
    if let Err(fault) = ended {
        let _ = send(&mut out, Say::Fault(fault.into())).await;
    }
    let _ = out.finish();
}
