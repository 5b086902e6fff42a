//! Frames on a QUIC stream: one written, one read.
//!
//! Not here: what they mean, or how often to try.

use bytes::Bytes;
use quinn::{ReadExactError, RecvStream, SendStream};
use weir_wire::buffers::Buffer;
use weir_wire::frame::{self, FrameHeader, HEADER_BYTES, SERVER_FRAME};
use weir_wire::proto::{ClientFrame, ServerFrame, client_frame, server_frame};

use crate::error::ClientError;

/// A stream that ended in the middle of something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The stream or its connection is gone. What was asked may have been done.
    #[error("{0}")]
    Lost(String),
    /// Bytes that are no frame.
    #[error("{0}")]
    Protocol(String),
}

impl From<StreamError> for ClientError {
    /// For a caller that does not try again.
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Lost(_) => Self::Unknown,
            StreamError::Protocol(reason) => Self::Protocol(reason),
        }
    }
}

/// Writes one frame. On an error a part of it may have left.
pub(crate) async fn write(
    stream: &mut SendStream,
    kind: client_frame::Kind,
    payload: Bytes,
) -> Result<(), StreamError> {
    let head = frame::encode(&ClientFrame { kind: Some(kind) }, payload.len());
    stream
        .write_all_chunks(&mut [head, payload])
        .await
        .map_err(|error| StreamError::Lost(error.to_string()))
}

/// Reads one frame; `None` when the broker ended the stream between two.
pub(crate) async fn read(
    stream: &mut RecvStream,
) -> Result<Option<(server_frame::Kind, Bytes)>, StreamError> {
    let mut head = [0; HEADER_BYTES];
    match stream.read_exact(&mut head).await {
        Ok(()) => {}
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        Err(error) => return Err(StreamError::Lost(error.to_string())),
    }
    let header = FrameHeader::decode(head, SERVER_FRAME).map_err(protocol)?;
    let mut body = Buffer::of(header.body_bytes());
    stream.read_exact(&mut body).await.map_err(|error| match error {
        ReadExactError::FinishedEarly(_) => {
            StreamError::Lost("the stream ended inside a frame".to_owned())
        }
        ReadExactError::ReadError(error) => StreamError::Lost(error.to_string()),
    })?;
    let (message, payload): (ServerFrame, Bytes) = header.split(body.freeze()).map_err(protocol)?;
    match message.kind {
        Some(kind) => Ok(Some((kind, payload))),
        None => Err(protocol("a frame of a kind this client does not know")),
    }
}

fn protocol(reason: impl ToString) -> StreamError {
    StreamError::Protocol(reason.to_string())
}
