//! Frames on a QUIC stream: the envelope of `weir_wire::frame`, read and written.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use weir_wire::fault::{Code, Fault};
use weir_wire::frame::{self, CLIENT_FRAME, FrameHeader, HEADER_BYTES};
use weir_wire::proto;
use weir_wire::proto::server_frame::Kind as Say;

/// From a frame's first byte to its last: 4 MiB in it is half a megabyte a second.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);

/// The head of the next frame; `None` at the stream's clean end. Waits as long as the client does:
/// an idle stream costs nothing, and a dead client ends with its connection.
pub async fn read_head(input: &mut RecvStream) -> Result<Option<FrameHeader>, Fault> {
    let mut head = [0; HEADER_BYTES];
    match input.read(&mut head[..1]).await {
        Ok(Some(_)) => {}
        Ok(None) | Err(_) => return Ok(None),
    }
    in_time(input.read_exact(&mut head[1..])).await?;
    FrameHeader::decode(head, CLIENT_FRAME).map(Some)
}

/// What follows a head.
pub async fn read_body(
    input: &mut RecvStream,
    head: FrameHeader,
) -> Result<(proto::ClientFrame, Bytes), Fault> {
    let mut body = BytesMut::zeroed(head.body_bytes());
    in_time(input.read_exact(&mut body)).await?;
    head.split(body.freeze())
}

/// The next frame; `None` at the stream's clean end.
pub async fn read_frame(
    input: &mut RecvStream,
) -> Result<Option<(proto::ClientFrame, Bytes)>, Fault> {
    match read_head(input).await? {
        Some(head) => read_body(input, head).await.map(Some),
        None => Ok(None),
    }
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
