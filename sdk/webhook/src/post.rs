//! One POST: the connection, TLS, and as much of the answer as anyone needs.
//!
//! Promises: certificates verified, by those who may vouch for the receiver; a time-out for all of
//! it; a bounded part of the answer read. Connections are kept between requests: one that has died
//! meanwhile is noticed before the request is on its way, or costs one more attempt.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, Uri, header};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;
use weir_sink::{Outcome, SinkError, trusted_certificates, why_tls_failed};

use crate::answer;

/// To reach the receiver: one that is there answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An unused connection is kept so long: most servers close it after a minute.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer's body that are read, to say what the receiver said.
const ANSWER_BYTES_MAX: usize = 512;
/// How we call ourselves.
const USER_AGENT: &str = concat!("weir-webhook/", env!("CARGO_PKG_VERSION"));

/// Where to post to: `https://host/path`, or `http://` for a receiver nearby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Uri);

/// Why a text is no target; what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is no URL to post to: {0}; write https://host/path")]
pub struct TargetError(&'static str);

impl std::str::FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let uri: Uri = text.parse().map_err(|_| TargetError("it cannot be read"))?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err(TargetError("it has to begin with https:// (or http://)")),
        }
        match uri.authority() {
            Some(authority) if authority.as_str().contains('@') => {
                Err(TargetError("a password does not belong into it"))
            }
            Some(authority) if !authority.host().is_empty() => Ok(Self(uri)),
            _ => Err(TargetError("the host is missing")),
        }
    }
}

/// Posts to one target.
pub(crate) struct Post {
    target: Target,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    attempt_timeout: Duration,
}

impl Post {
    pub(crate) fn new(
        target: Target,
        ca_file: Option<&Path>,
        attempt_timeout: Duration,
    ) -> Result<Self, SinkError> {
        let options = |error: &dyn fmt::Display| SinkError::Options(error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        // Without TLS nobody has to be trusted, and a machine may have no list of those.
        if target.0.scheme_str() == Some("https") {
            let trusted = trusted_certificates(ca_file).map_err(|error| options(&error))?;
            let (taken, _) = roots.add_parsable_certificates(trusted);
            if taken == 0 {
                return Err(options(&"none of the certificates to trust can be read"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| options(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_TIMEOUT).build(connector);
        Ok(Self { target, client, attempt_timeout })
    }

    /// One attempt.
    pub(crate) async fn send(
        &self,
        headers: &[(&'static str, String)],
        body: Bytes,
        now: SystemTime,
    ) -> Outcome {
        let mut request = Request::post(&self.target.0).header(header::USER_AGENT, USER_AGENT);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = match request.body(Full::new(body)) {
            Ok(request) => request,
            // Topics and percent-encoded keys are all that comes from outside.
            Err(error) => return Outcome::Stop { reason: format!("a request is broken: {error}") },
        };
        let waited = self.attempt_timeout.as_secs();
        let asking = async {
            match self.client.request(request).await {
                Ok(answer) => judge(answer, now).await,
                Err(error) => lost(&error),
            }
        };
        timeout(self.attempt_timeout, asking).await.unwrap_or_else(|_| Outcome::Later {
            reason: format!("the receiver has no answer within {waited} s"),
            after: None,
        })
    }
}

async fn judge(answer: Response<Incoming>, now: SystemTime) -> Outcome {
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get(header::RETRY_AFTER).cloned();
    let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
    let words = match status {
        // Nobody needs the words of a yes.
        200..300 => String::new(),
        _ => beginning(answer.into_body()).await,
    };
    answer::decide(status, retry_after, &words, now)
}

/// The beginning of an answer, in one line. What follows is not read: the connection is closed.
async fn beginning(mut body: Incoming) -> String {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { break };
        bytes.extend_from_slice(&data[..data.len().min(ANSWER_BYTES_MAX - bytes.len())]);
        if bytes.len() == ANSWER_BYTES_MAX {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let line = text.chars().map(|char| if char.is_control() { ' ' } else { char });
    line.collect::<String>().trim().to_owned()
}

fn lost(error: &HttpError) -> Outcome {
    if let Some(why) = why_tls_failed(error) {
        return Outcome::Stop { reason: format!("the receiver cannot be trusted: {why}") };
    }
    let reason = format!("the receiver cannot be reached: {}", chain(error));
    match error.is_connect() {
        true => Outcome::Away { reason },
        // Broken off in the middle: this event may be why.
        false => Outcome::Later { reason, after: None },
    }
}

/// An error with what is behind it: hyper's own words are "client error (Connect)".
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        words = format!("{words}: {cause}");
        next = cause.source();
    }
    words
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("target", &self.target).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_url_without_a_password() {
        for good in ["https://example.com/hook?x=1", "http://127.0.0.1:8080", "https://[::1]/"] {
            assert!(good.parse::<Target>().is_ok(), "{good}");
        }
        for (bad, says) in [
            ("example.com/hook", "https://"),
            ("ftp://example.com", "https://"),
            ("https://user:word@example.com/", "password"),
            ("https://", "read"),
            ("", "read"),
        ] {
            let error = bad.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("word@"), "{bad}: {error}");
        }
    }
}
