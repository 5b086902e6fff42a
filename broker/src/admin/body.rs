//! What a request brings: names in its path, JSON or a component in its body. Parsed here, so that
//! a handler meets only what is well-formed.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::DeserializeOwned;

use super::problem::Refusal;

/// Bytes of a JSON body at most: a config of some hundred thousand characters has room.
const JSON_BYTES_MAX: usize = 1 << 20;
/// Bytes of a component at most: the largest language runtimes make 18 MiB.
const COMPONENT_BYTES_MAX: usize = 64 << 20;
/// How long a body may take: 64 MiB at 1 MiB/s, the pace of a poor tunnel.
const BODY_WAIT_MAX: Duration = Duration::from_secs(64);

/// The names in the path.
pub struct Names<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Names<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(rejection) => Err(Refusal::invalid_request(rejection.body_text())),
        }
    }
}

/// A JSON body.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let body = read(request, JSON_BYTES_MAX).await?;
        serde_json::from_slice(&body).map(Self).map_err(|e| {
            Refusal::invalid_request(format!("the body is not what this route takes: {e}"))
        })
    }
}

/// A body of bytes: a component.
pub struct ComponentBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for ComponentBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        read(request, COMPONENT_BYTES_MAX).await.map(Self)
    }
}

async fn read(request: Request, bytes_max: usize) -> Result<Bytes, Refusal> {
    let announced = announced_bytes(request.headers());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(Refusal::too_large(bytes_max));
    }
    match tokio::time::timeout(BODY_WAIT_MAX, collect(request.into_body(), bytes_max)).await {
        Ok(body) => body,
        Err(_) => Err(Refusal::too_slow(BODY_WAIT_MAX)),
    }
}

async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut pieces = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|_| {
            Refusal::invalid_request("the body broke off; send it again".to_owned())
        })?;
        if bytes_max - whole.len() < piece.len() {
            return Err(Refusal::too_large(bytes_max));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

fn announced_bytes(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
