//! A refused request: an HTTP status, a stable code, one sentence that says what to do.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use weir_wire::admin::Problem;
use weir_wire::fault::Code;

use crate::control::{ControlError, Kind};

/// Seconds after which a busy or full broker is worth asking again.
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Why a request was refused.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, problem: Problem { code: code.to_owned(), message: message.into() } }
    }

    pub fn unauthenticated(why: &str) -> Self {
        let message =
            format!("{why}; send `Authorization: Bearer TOKEN` with the token of DIR/admin.token");
        Self::new(StatusCode::UNAUTHORIZED, Code::Unauthenticated.as_str(), message)
    }

    pub fn foreign_host() -> Self {
        let message = "the Host header names another machine; ask for localhost or the address the broker listens on";
        Self::new(StatusCode::FORBIDDEN, Code::Forbidden.as_str(), message)
    }

    pub fn no_route() -> Self {
        let message = "there is no such path; GET /openapi.json describes those there are";
        Self::new(StatusCode::NOT_FOUND, "unknown-path", message)
    }

    pub fn no_method() -> Self {
        let message = "this path has no such method; GET /openapi.json describes those it has";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "unknown-method", message)
    }

    pub fn invalid_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidRequest.as_str(), message)
    }

    pub fn too_large(bytes_max: usize) -> Self {
        let message = format!("the body is over the limit of {bytes_max} bytes; send less");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge.as_str(), message)
    }

    pub fn too_slow(limit: Duration) -> Self {
        let message = format!("the body took longer than {} s; send it again", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", message)
    }

    pub fn broke_down() -> Self {
        let message =
            "the broker failed in the middle of this change; look at its log, and report it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Code::Internal.as_str(), message)
    }

    #[cfg(test)]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let status = match error.status {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, problem: Problem { code: error.code, message: error.message } }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.problem)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
            }
            _ => {}
        }
        response
    }
}
