//! The metrics on a port of this machine, for Prometheus: it cannot read a Unix socket. Nothing
//! else is served there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use authd_api::{ErrorCode, Problem};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    access::is_of_web_page,
    connections::{ConnectionSettings, serve},
    peer::Door,
    respond::{ApiError, set_version_header},
    routes,
    state::AppState,
};
use crate::{
    platform::{ClientListener, ConnectionLimiter},
    request_head::names_host,
};

/// The path that Prometheus reads by default.
const PATH: &str = "/metrics";

/// Most connections. A scraper needs one.
const MOST_CONNECTIONS: usize = 16;

/// Wait before an address that is not available is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Serves the metrics until the shutdown. While the address is not available, `error` has the
/// reason.
pub(crate) async fn serve_metrics(
    address: SocketAddr,
    state: Arc<AppState>,
    settings: ConnectionSettings,
    error: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let listener = loop {
        let reason = match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(reason) => format!("cannot listen on {address}: {reason}"),
        };
        if error.borrow().is_none() {
            warn!(reason, "metrics not served; retrying");
        }
        error.send_replace(Some(reason));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {}
        }
    };
    error.send_replace(None);
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "metrics served");
    // The process of a TCP client is not known.
    let settings = ConnectionSettings { per_process: usize::MAX, ..settings };
    let (door, limiter) = (Door::Loopback(address.port()), ConnectionLimiter::new(MOST_CONNECTIONS));
    serve(ClientListener::Tcp(listener), door, router(state, address), settings, limiter, stop).await;
}

fn router(state: Arc<AppState>, address: SocketAddr) -> Router {
    Router::new()
        .route(PATH, get(routes::metrics))
        .fallback(async || ApiError(Problem::new(ErrorCode::NotFound, format!("this port has only {PATH}"))))
        .method_not_allowed_fallback(async || {
            ApiError(Problem::new(ErrorCode::MethodNotAllowed, "metrics can only be read"))
        })
        .layer(middleware::from_fn_with_state(address, check))
        .with_state(state)
}

/// Refuses web pages, also those whose name was made to resolve to this machine (DNS rebinding).
async fn check(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    let forbidden = |detail: &str| ApiError(Problem::new(ErrorCode::Forbidden, detail)).into_response();
    let is_own = |host: &str| host == address.to_string() || host == format!("localhost:{}", address.port());
    let mut response = if is_of_web_page(&request) {
        forbidden("this port does not serve web pages")
    } else if names_host(&request, is_own) {
        next.run(request).await
    } else {
        forbidden("the request's Host is not the address of this port")
    };
    set_version_header(&mut response);
    response
}
