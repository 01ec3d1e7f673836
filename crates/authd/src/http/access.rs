//! The middleware of every route: checks the peer and the request's origin, and records the
//! response.

use std::sync::Arc;

use authd_api::{ErrorCode, Problem, REQUEST_HEADER, route};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, StatusCode, header};
use tracing::Instrument;

use super::{
    extract::contains_any,
    peer::Peer,
    respond::{ApiError, relay_problem, set_version_header},
    state::AppState,
};
use crate::request_head::names_host;

/// A header that every browser adds to a request for loopback, and that no page can remove. A page
/// can omit `Origin` and `Referer` from a GET. Node sends only `Sec-Fetch-Mode`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_HEADER);

/// Routes whose responses a shutdown may interrupt: they can last long, and the daemon saves
/// nothing for them.
const INTERRUPTIBLE: [&str; 6] =
    [route::RELAY_BASE, route::RELAY, route::RELAY_BACKEND, route::DIAGNOSIS, route::AUDIT, route::EVENTS];

/// Runs the handler of an allowed request.
pub(super) async fn check(State(state): State<Arc<AppState>>, request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let matched = extensions.get::<MatchedPath>().cloned();
    // A slash at the end makes no other route.
    let route = matched.as_ref().map(|matched| matched.as_str().trim_end_matches('/'));
    let peer = extensions.get::<Arc<Peer>>().expect("every request has the peer of its connection");
    peer.set_interruptible(route.is_some_and(|route| INTERRUPTIBLE.contains(&route)));
    let problem = forbidden(peer, &request);
    let method = request.method().clone();
    let id = state.metrics.next_request();
    peer.set_request(id);
    // The rest of a relayed path belongs to the client.
    let span =
        tracing::debug_span!("request", id, %method, path = request.uri().path().split("/relay").next());
    let mut response = match problem {
        Some(problem) => ApiError(problem).into_response(),
        None => next.run(request).instrument(span.clone()).await,
    };
    set_version_header(&mut response);
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let problem = response.extensions_mut().remove();
        span.in_scope(|| log(id, route, status, problem.as_ref()));
        if let Some(problem) = problem.filter(|_| is_for_sdks(route)) {
            *response.body_mut() = relay_problem(problem);
        }
        response.headers_mut().insert(REQUEST_ID, id.into());
    }
    state.metrics.record_request(route, &method, status);
    response
}

/// Whether SDKs may send requests to this route. An unknown route may be an SDK's with a wrong base
/// URL.
fn is_for_sdks(route: Option<&str>) -> bool {
    matches!(route, None | Some(route::RELAY_BASE | route::RELAY | route::RELAY_BACKEND))
}

/// Logs an error response. A client's own error is a debug line; a failure here or upstream is a
/// warning with the request id that the response carries. A relayed response has no problem.
fn log(id: u64, route: Option<&str>, status: StatusCode, problem: Option<&Problem>) {
    let (code, detail) = problem.map(|problem| (problem.code.as_str(), problem.detail.as_str())).unzip();
    let status = status.as_u16();
    if status < 500 {
        tracing::debug!(status, "request refused");
    } else {
        tracing::warn!(id, route, status, code, detail, "request failed");
    }
}

/// Why the request is not allowed.
fn forbidden(peer: &Peer, request: &Request) -> Option<Problem> {
    let forbidden = |detail: &str| Some(Problem::new(ErrorCode::Forbidden, detail));
    if !peer.is_own() {
        return forbidden("this socket serves only the user who runs authd");
    }
    if !peer.is_within_limit() {
        return Some(too_many_connections());
    }
    if is_of_web_page(request) {
        return forbidden("this socket does not serve web pages");
    }
    if names_host(request, is_socket_host) {
        return None;
    }
    forbidden("the request's Host must be authd or localhost")
}

/// Whether a browser has sent the request for a web page. A page can make a browser send a request
/// to a port, and through a proxy to a Unix socket.
pub(super) fn is_of_web_page(request: &Request) -> bool {
    contains_any(request.headers(), &[header::ORIGIN, header::REFERER, SEC_FETCH_SITE])
}

/// A program that holds more connections than it may.
pub(super) fn too_many_connections() -> Problem {
    Problem::new(ErrorCode::TooManyRequests, "this program holds too many connections")
        .hint("close some")
        .retry_after(1)
}

/// Whether this is the host of a request on a Unix socket.
pub(super) fn is_socket_host(host: &str) -> bool {
    matches!(host, "authd" | "authd:80" | "localhost" | "localhost:80")
}
