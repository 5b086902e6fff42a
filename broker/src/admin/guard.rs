//! Who may come in: whoever names this machine and has the token.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header, uri::Authority};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Refusal;
use crate::home::Token;

/// What every request is measured by.
pub struct Guard {
    token: Token,
    /// Where the door is.
    address: IpAddr,
}

impl Guard {
    pub fn new(token: Token, address: IpAddr) -> Self {
        Self { token, address }
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if !self.is_ours(headers) {
            return Err(Refusal::foreign_host());
        }
        match bearer(headers) {
            None => Err(Refusal::unauthenticated("this request carries no token")),
            Some(token) if self.token.matches(token) => Ok(()),
            Some(_) => Err(Refusal::unauthenticated("the token is not this broker's")),
        }
    }

    /// A page in the operator's browser can make its own host name point to loopback, but the
    /// browser still says that name. The port may be another: a tunnel changes it.
    fn is_ours(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let Some(authority) = host.and_then(|host| host.parse::<Authority>().ok()) else {
            return false;
        };
        let name = authority.host();
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.is_ok_and(|address| address.is_loopback() || address == self.address)
    }
}

/// The middleware in front of every route, and of paths that are none.
pub async fn admit(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn code(headers: &[(header::HeaderName, &'static str)]) -> Option<String> {
        let guard = Guard::new(Token::new("secret"), IpAddr::from([10, 0, 0, 7]));
        let headers = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        guard.check(&headers).err().map(|refusal| refusal.problem().code.clone())
    }

    #[test]
    fn only_this_machines_names_come_in() {
        for (host, comes_in) in [
            ("localhost", true),
            ("LOCALHOST:4480", true),
            ("127.0.0.1:4480", true),
            ("127.9.9.9", true),
            ("[::1]:9999", true),
            ("10.0.0.7:4480", true),
            ("10.0.0.8:4480", false),
            ("evil.example", false),
            ("localhost.evil.example:4480", false),
            ("127.0.0.1.nip.io", false),
            ("", false),
        ] {
            let found = code(&[(header::HOST, host), (header::AUTHORIZATION, "Bearer secret")]);
            assert_eq!(found.is_none(), comes_in, "{host:?}: {found:?}");
        }
        assert_eq!(code(&[(header::AUTHORIZATION, "Bearer secret")]).as_deref(), Some("forbidden"));
    }

    #[test]
    fn only_the_token_comes_in() {
        for (authorization, comes_in) in [
            ("Bearer secret", true),
            ("bearer secret", true),
            ("Bearer wrong", false),
            ("Bearer ", false),
            ("Bearer", false),
            ("Basic secret", false),
            ("secret", false),
        ] {
            let found =
                code(&[(header::HOST, "localhost"), (header::AUTHORIZATION, authorization)]);
            assert_eq!(found.is_none(), comes_in, "{authorization:?}: {found:?}");
        }
        assert_eq!(code(&[(header::HOST, "localhost")]).as_deref(), Some("unauthenticated"));
    }
}
