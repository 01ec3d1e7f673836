//! The middleware of the routes of shares: finds the share of a request, and checks that the share
//! allows it.

use std::sync::Arc;

use authd_api::{ErrorCode, Problem};
use authd_broker::{Share, now};
use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::http::{
    access::{is_of_web_page, is_socket_host, too_many_connections},
    peer::{Door, Peer},
    problem,
    respond::{ApiError, relay_problem, set_version_header},
    state::AppState,
};
use crate::{relay::is_oauth_metadata, request_head::names_host};

/// Runs the handler of an allowed request, with the share as an extension.
pub(super) async fn check(State(state): State<Arc<AppState>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    let peer = peer.expect("every request has the peer of its connection");
    peer.set_interruptible(true);
    let checked = find_share(&state, &peer, &request).and_then(|share| {
        share.try_acquire().map_err(|wait| {
            let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
            let detail = "the share's limit on requests is reached";
            Problem::new(ErrorCode::TooManyRequests, detail).retry_after(seconds)
        })?;
        Ok(share)
    });
    let mut response = match checked {
        Ok(share) => {
            peer.set_share(&share);
            request.extensions_mut().insert(share);
            next.run(request).await
        }
        Err(problem) => refuse(problem),
    };
    if let Some(problem) = response.extensions_mut().remove() {
        *response.body_mut() = relay_problem(problem);
    }
    set_version_header(&mut response);
    state.metrics.record_share_request(&peer.door, response.status());
    response
}

/// The share of a request, or why the request is not allowed.
fn find_share(state: &AppState, peer: &Peer, request: &Request) -> Result<Share, Problem> {
    let forbidden = |detail: &str| Problem::new(ErrorCode::Forbidden, detail);
    if is_of_web_page(request) {
        return Err(forbidden("a share does not serve web pages"));
    }
    if !is_own_host(&peer.door, request) {
        return Err(forbidden("the request's Host is not the address of the share"));
    }
    if !peer.is_within_limit() {
        return Err(too_many_connections());
    }
    match &peer.door {
        Door::ShareSocket(share) => {
            // A rename of the profile changes the terms.
            let share = state.broker.shares.get(&share.id);
            share.filter(|share| share.is_valid(now())).ok_or_else(|| forbidden("the share has ended"))
        }
        Door::Loopback(_) => {
            let share = bearer(request.headers()).and_then(|key| state.broker.shares.find(key, now()));
            share.ok_or_else(|| {
                // Clients look for it without the key. A 401 would make them sign in by themselves.
                if is_oauth_metadata(request.uri().path()) {
                    return problem::no_oauth_metadata();
                }
                Problem::new(ErrorCode::KeyInvalid, "the request has no valid key of a share")
                    .hint("send it as \"Authorization: Bearer KEY\"; if the share has ended, make a new one")
            })
        }
        Door::Own => Err(forbidden("this socket is not the door of a share")),
    }
}

/// The bearer token of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?.to_str().ok()?, values.next()) else { return None };
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether the request names this door as its host. A web page whose name was made to resolve to
/// this machine (DNS rebinding) sends its own name.
fn is_own_host(door: &Door, request: &Request) -> bool {
    names_host(request, |host| match door {
        Door::Loopback(port) => {
            let name = host.strip_suffix(&format!(":{port}"));
            name.is_some_and(|name| matches!(name, "127.0.0.1" | "localhost"))
        }
        Door::Own | Door::ShareSocket(_) => is_socket_host(host),
    })
}

fn refuse(problem: Problem) -> Response {
    let mut response = ApiError(problem).into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
