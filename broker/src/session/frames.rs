//! Frames on a QUIC stream: the envelope of `weir_wire::frame`, read and written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_wire::buffers::Buffer;
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::{self, FrameHeader, FrameLimits, HEADER_BYTES};
use weir_wire::proto;
use weir_wire::proto::client_frame::Kind as Ask;
use weir_wire::proto::server_frame::Kind as Say;

/// From a frame's first byte to its last: 4 MiB in it is half a megabyte a second.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// A frame that was read.
pub struct Incoming {
    /// What is asked; `None` if this broker does not know such a thing.
    pub ask: Option<Ask>,
    /// The raw bytes behind it.
    pub payload: Bytes,
    /// The payload's share of the memory for batches, to be given back when it is answered.
    pub memory: Option<OwnedSemaphorePermit>,
}

/// The next frame, once there is `memory` for its payload (one permit per byte); `None` at the
/// stream's clean end. Waits for its beginning as long as the client does: an idle stream costs
/// nothing, and a dead client ends with its connection.
pub async fn read_frame(
    input: &mut RecvStream,
    limits: FrameLimits,
    memory: &Arc<Semaphore>,
) -> Result<Option<Incoming>, Fault> {
    let mut head = [0; HEADER_BYTES];
    match input.read(&mut head[..1]).await {
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => return Ok(None),
    }
    in_time(input.read_exact(&mut head[1..])).await?;
    let head = FrameHeader::decode(head, limits)?;
    let memory = match head.payload_bytes {
        0 => None,
        bytes => Some(Arc::clone(memory).acquire_many_owned(bytes).await.map_err(|_| {
            Fault::new(Code::ShuttingDown, "the broker is going down; try again when it is back")
        })?),
    };
    let mut body = Buffer::of(head.body_bytes());
    in_time(input.read_exact(&mut body)).await?;
    let (frame, payload) = head.split::<proto::ClientFrame>(body.freeze())?;
    Ok(Some(Incoming { ask: frame.kind, payload, memory }))
}

/// Sends a frame without a payload.
pub async fn send(out: &mut SendStream, say: Say) -> Result<(), WriteError> {
    send_with(out, say, &mut []).await
}

/// Sends a frame whose payload is all `chunks`, without copying them.
pub async fn send_with(
    out: &mut SendStream,
    say: Say,
    chunks: &mut [Bytes],
) -> Result<(), WriteError> {
    let payload_bytes = chunks.iter().map(Bytes::len).sum();
    let head = frame::encode(&proto::ServerFrame { kind: Some(say) }, payload_bytes);
    out.write_chunk(head).await?;
    out.write_all_chunks(chunks).await
}

async fn in_time(reading: impl Future<Output = Result<(), ReadExactError>>) -> Result<(), Fault> {
    match tokio::time::timeout(FRAME_TIMEOUT, reading).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Fault::new(Code::InvalidFrame, "a frame ended early; send it whole")),
        Err(_) => Err(Fault::new(
            Code::InvalidFrame,
            "a frame took longer than 10 s to arrive; send smaller batches on a slow line",
        )),
    }
}
