//! The middleware of all routes. It reads the body within limits, checks the host, records the
//! request, and applies a fault.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{Html, IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode, header};
use serde_json::json;

use crate::{Fault, Recorded, Route, Shared, faults::ReleaseSignal, response};

/// Largest request body, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// Longest time for receiving a request body.
const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// An extension of a response that must not be sent: the connection is closed instead.
#[derive(Clone, Copy)]
pub(crate) struct CloseConnection;

/// Handles a request.
pub(crate) async fn handle(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(read) = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await else {
        return response::detail(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time");
    };
    let Ok(body) = read else {
        return response::detail(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
    };
    let route = Route::of(parts.method == Method::GET, parts.uri.path(), &String::from_utf8_lossy(&body));
    let recorded = Recorded::new(route, &parts.method, &parts.uri, &parts.headers, &body);
    let misdirected = shared.tls && wrong_host(route, &parts.headers);
    let request = Request::from_parts(parts, Body::from(body));
    if route == Route::Control {
        return next.run(request).await;
    }

    // Created before the request is recorded, so that no release is missed.
    let release = shared.faults.release_signal();
    let fault = shared.faults.take(route);
    shared.log.push(recorded);
    if misdirected {
        return response::detail(StatusCode::MISDIRECTED_REQUEST, "This host does not serve this path");
    }
    match fault {
        Some(fault) => apply_fault(fault, release, route, request, next).await,
        None => next.run(request).await,
    }
}

async fn apply_fault(
    fault: Fault,
    mut release: ReleaseSignal,
    route: Route,
    request: Request,
    next: Next,
) -> Response {
    match fault {
        Fault::Status { status, body, retry_after } => status_response(status, body, retry_after),
        Fault::Stall => {
            release.released().await;
            next.run(request).await
        }
        Fault::StallAfterCommit => {
            let response = next.run(request).await;
            release.released().await;
            response
        }
        Fault::Delay { milliseconds } => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            next.run(request).await
        }
        Fault::DropBeforeCommit => close_connection(),
        Fault::DropAfterCommit => {
            next.run(request).await;
            close_connection()
        }
        Fault::Garbage => {
            Html("<!doctype html><title>Welcome</title><p>Sign in to use this network.</p>").into_response()
        }
        Fault::Unauthorized => unauthorized(route),
        Fault::RateLimited { resets_at } => {
            let error = json!({"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus", "resets_at": resets_at});
            response::json_with(StatusCode::TOO_MANY_REQUESTS, &json!({"error": error}))
        }
        Fault::TruncateStream => {
            let (mut response, first, _) = split_body(next.run(request).await).await;
            // Lets the server send the first half; an immediate error would discard it.
            let cut = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("truncated by a fault"))
            });
            *response.body_mut() = Body::from_stream(stream::iter([Ok(first)]).chain(cut));
            response
        }
        Fault::HoldStream => {
            let (mut response, first, second) = split_body(next.run(request).await).await;
            let rest = stream::once(async move {
                release.released().await;
                second
            });
            let body = stream::iter([first]).chain(rest).map(Ok::<Bytes, std::io::Error>);
            *response.body_mut() = Body::from_stream(body);
            response
        }
    }
}

/// Splits a response into its head, without `Content-Length`, and two halves of its body.
async fn split_body(mut response: Response) -> (Response, Bytes, Bytes) {
    let body = std::mem::take(response.body_mut());
    let mut first = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    // Server-sent events are split between two events, other bodies in the middle.
    let middle = first.len() / 2;
    let cut =
        first[middle..].windows(2).position(|pair| pair == b"\n\n").map_or(middle, |at| middle + at + 2);
    let second = first.split_off(cut);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    (response, first, second)
}

fn status_response(status: u16, body: String, retry_after: Option<u64>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
    let content_type = if json { "application/json" } else { "text/plain; charset=utf-8" };
    let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn unauthorized(route: Route) -> Response {
    const EXPIRED: &str = "Provided authentication token is expired. Please try signing in again.";
    match route.host() {
        Some("chatgpt.com") => response::detail_code("token_expired", EXPIRED),
        _ => response::error(StatusCode::UNAUTHORIZED, "token_expired", EXPIRED),
    }
}

fn close_connection() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(CloseConnection);
    response
}

fn wrong_host(route: Route, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    route.host().is_some_and(|expected| expected != name)
}
