//! The operators' door: HTTP and JSON on loopback, as `openapi.json` describes it.
//!
//! Promises: nobody without the token learns anything, not even which paths exist; every failure
//! is a `Problem` with one sentence; a change that was begun is finished, also when its operator
//! hangs up. Not here on purpose: TLS (the door is on loopback), CORS (no page may use it), and
//! what a change means: that is `control`'s.

mod routes;
mod handlers;
mod guard;
mod body;
mod problem;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::control::Control;
use crate::home::Token;
use crate::wall_clock::WallClock;
use guard::Guard;
use problem::Refusal;

/// How long answers may take to leave after the broker was told to stop: a connection on which
/// nobody reads must not keep it from stopping.
const LINGER: Duration = Duration::from_secs(5);

/// Serves the admin API until `shutdown`, then lets the requests at work end.
pub async fn serve(
    listener: TcpListener,
    control: Arc<Control>,
    clock: Arc<WallClock>,
    token: Token,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let guard = Guard::new(token, listener.local_addr()?.ip());
    let door = router(routes::all(), control, guard).layer(Extension(clock));
    let (tell, told) = oneshot::channel();
    let stopping = async move {
        shutdown.await;
        let _ = tell.send(());
    };
    let lingered = async {
        if told.await.is_ok() {
            tokio::time::sleep(LINGER).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = axum::serve(listener, door).with_graceful_shutdown(stopping) => served,
        () = lingered => Ok(()),
    }
}

fn router<S: Clone + Send + Sync + 'static>(
    routes: Vec<routes::Route<S>>,
    state: S,
    guard: Guard,
) -> Router {
    routes
        .into_iter()
        .fold(Router::new(), |router, route| router.route(route.path, route.handler))
        .fallback(async || Refusal::no_route())
        .method_not_allowed_fallback(async || Refusal::no_method())
        .layer(from_fn_with_state(Arc::new(guard), guard::admit))
        .with_state(state)
}

#[cfg(test)]
mod tests;
