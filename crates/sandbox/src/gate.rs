//! What every request passes on its way in: it is read within bounds, checked for the right host, recorded, and
//! perhaps troubled by a fault. It knows no endpoint by itself.

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

use crate::{Fault, Recorded, Route, Shared, faults::Hold, reply};

/// The largest request body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024 * 1024;
/// How long a request body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(120);

/// A mark on an answer that must not be sent: the connection is closed instead.
#[derive(Clone, Copy)]
pub(crate) struct HangUp;

/// The middleware around all routes.
pub(crate) async fn gate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(read) = tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await else {
        return reply::detail(StatusCode::REQUEST_TIMEOUT, "The body did not arrive in time");
    };
    let Ok(body) = read else {
        return reply::detail(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large");
    };
    let route = Route::of(parts.method == Method::GET, parts.uri.path(), &String::from_utf8_lossy(&body));
    let recorded = Recorded::new(route, &parts.method, &parts.uri, &parts.headers, &body);
    let misdirected = shared.tls && wrong_host(route, &parts.headers);
    let request = Request::from_parts(parts, Body::from(body));
    if route == Route::Control {
        return next.run(request).await;
    }

    // The hold is taken before the record can be seen, so that no release is missed.
    let hold = shared.faults.hold();
    let fault = shared.faults.take(route);
    shared.log.push(recorded);
    if misdirected {
        return reply::detail(StatusCode::MISDIRECTED_REQUEST, "This host does not serve this path");
    }
    match fault {
        Some(fault) => troubled(fault, hold, route, request, next).await,
        None => next.run(request).await,
    }
}

async fn troubled(fault: Fault, mut hold: Hold, route: Route, request: Request, next: Next) -> Response {
    match fault {
        Fault::Status { status, body, retry_after } => refusal(status, body, retry_after),
        Fault::Stall => {
            hold.released().await;
            next.run(request).await
        }
        Fault::StallAfterCommit => {
            let response = next.run(request).await;
            hold.released().await;
            response
        }
        Fault::Delay { milliseconds } => {
            tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            next.run(request).await
        }
        Fault::DropBeforeCommit => hang_up(),
        Fault::DropAfterCommit => {
            next.run(request).await;
            hang_up()
        }
        Fault::Garbage => {
            Html("<!doctype html><title>Welcome</title><p>Sign in to use this network.</p>").into_response()
        }
        Fault::Unauthorized => unauthorized(route),
        Fault::RateLimited { resets_at } => {
            let error = json!({"type": "usage_limit_reached", "message": "The usage limit has been reached", "plan_type": "plus", "resets_at": resets_at});
            reply::json_with(StatusCode::TOO_MANY_REQUESTS, &json!({"error": error}))
        }
        Fault::TruncateStream => {
            let (mut response, first, _) = halved(next.run(request).await).await;
            // The pause before the cut lets the server send what it has; an error at once would throw that away.
            let cut = stream::once(async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut short on demand"))
            });
            *response.body_mut() = Body::from_stream(stream::iter([Ok(first)]).chain(cut));
            response
        }
        Fault::HoldStream => {
            let (mut response, first, second) = halved(next.run(request).await).await;
            let rest = stream::once(async move {
                hold.released().await;
                second
            });
            let whole = stream::iter([first]).chain(rest).map(Ok::<Bytes, std::io::Error>);
            *response.body_mut() = Body::from_stream(whole);
            response
        }
    }
}

/// Takes an answer apart: without its body (and its length, which will not be kept), and the body in two halves.
async fn halved(mut response: Response) -> (Response, Bytes, Bytes) {
    let body = std::mem::take(response.body_mut());
    let mut first = to_bytes(body, MAX_BODY).await.unwrap_or_default();
    // Server-sent events are cut between two events, anything else in the middle.
    let middle = first.len() / 2;
    let cut =
        first[middle..].windows(2).position(|pair| pair == b"\n\n").map_or(middle, |at| middle + at + 2);
    let second = first.split_off(cut);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    (response, first, second)
}

fn refusal(status: u16, body: String, retry_after: Option<u64>) -> Response {
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
        Some("chatgpt.com") => reply::detail_code("token_expired", EXPIRED),
        _ => reply::error(StatusCode::UNAUTHORIZED, "token_expired", EXPIRED),
    }
}

fn hang_up() -> Response {
    let mut response = Response::default();
    response.extensions_mut().insert(HangUp);
    response
}

fn wrong_host(route: Route, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    route.host().is_some_and(|right| right != name)
}
