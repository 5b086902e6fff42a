//! The table of routes. `openapi.json` says the same for people and generators; a test holds the
//! two together.

use std::sync::Arc;

use axum::http::Method;
use axum::routing::{MethodRouter, delete, get, patch, post, put};

use super::handlers;
use crate::control::Control;

/// One method of one path.
pub struct Route<S> {
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "for the test that holds table and document together")
    )]
    pub method: Method,
    pub path: &'static str,
    pub handler: MethodRouter<S>,
}

/// Every route there is.
pub fn all() -> Vec<Route<Arc<Control>>> {
    let route = |method, path, handler| Route { method, path, handler };
    vec![
        route(Method::GET, "/v1/status", get(handlers::status)),
        route(Method::GET, "/v1/clock", get(handlers::clock)),
        route(Method::POST, "/v1/clock/accept", post(handlers::accept_clock)),
        route(Method::GET, "/v1/topics", get(handlers::topics)),
        route(Method::POST, "/v1/topics", post(handlers::create_topic)),
        route(Method::GET, "/v1/topics/{topic}", get(handlers::topic)),
        route(Method::PATCH, "/v1/topics/{topic}", patch(handlers::change_topic)),
        route(Method::DELETE, "/v1/topics/{topic}", delete(handlers::delete_topic)),
        route(Method::POST, "/v1/topics/{topic}/clean", post(handlers::clean_topic)),
        route(Method::GET, "/v1/plugins", get(handlers::plugins)),
        route(Method::GET, "/v1/plugins/{plugin}", get(handlers::plugin)),
        route(Method::GET, "/v1/plugins/{plugin}/logs", get(handlers::plugin_log)),
        route(Method::POST, "/v1/plugins/{plugin}/versions", post(handlers::push_plugin)),
        route(
            Method::DELETE,
            "/v1/plugins/{plugin}/versions/{version}",
            delete(handlers::delete_version),
        ),
        route(Method::GET, "/v1/topics/{topic}/chain", get(handlers::chain)),
        route(Method::PUT, "/v1/topics/{topic}/chain/{plugin}", put(handlers::bind)),
        route(Method::DELETE, "/v1/topics/{topic}/chain/{plugin}", delete(handlers::unbind)),
        route(Method::POST, "/v1/topics/{topic}/chain/{plugin}/rollback", post(handlers::rollback)),
        route(Method::POST, "/v1/topics/{topic}/chain/{plugin}/pause", post(handlers::pause)),
        route(Method::POST, "/v1/topics/{topic}/chain/{plugin}/resume", post(handlers::resume)),
        route(Method::GET, "/v1/groups", get(handlers::groups)),
        route(Method::GET, "/v1/groups/{group}", get(handlers::group)),
        route(Method::POST, "/v1/groups/{group}/reset", post(handlers::reset_group)),
        route(Method::GET, "/openapi.json", get(handlers::openapi)),
    ]
}
