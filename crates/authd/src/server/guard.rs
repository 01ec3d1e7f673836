//! Before every handler: who asks, and as what.

use authd_api::{ErrorCode, Problem, REQUEST_HEADER};
use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, header};
use tracing::Instrument;

use super::{Seen, unread::Reading};
use crate::answer::{Refusal, stamp};

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_HEADER);

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// The user who runs the daemon.
    Own,
    /// Somebody else, or nobody knows who.
    Foreign,
    /// The user, with more connections than any honest program holds.
    Crowding,
}

/// Lets a request through, or says why not. A browser can be tricked into sending a request here by a
/// web page; it cannot be made to leave out `Origin`, or to send our `Host`.
pub(super) async fn guard(State(front): Seen, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let id = front.metrics.next_request();
    let path = path.split("/relay").next().unwrap_or_default();
    let span = tracing::debug_span!("request", id, %method, path);
    let (reading, request) = Reading::of(request);
    let mut response = match refused(&request) {
        Some(problem) => Refusal(problem).into_response(),
        None => next.run(request).instrument(span.clone()).await,
    };
    stamp(&mut response);
    reading.tell(&mut response);
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        span.in_scope(|| tracing::debug!(status = status.as_u16(), "refused"));
        response.headers_mut().insert(REQUEST_ID, id.into());
    }
    front.metrics.asked(matched.as_ref(), &method, status);
    response
}

fn refused(request: &Request) -> Option<Problem> {
    let forbidden = |detail: &str| Some(Problem::new(ErrorCode::Forbidden, detail));
    match request.extensions().get::<Peer>() {
        Some(Peer::Own) => {}
        Some(Peer::Crowding) => {
            let problem = Problem::new(ErrorCode::TooManyRequests, "this program holds too many connections");
            return Some(problem.hint("close some").retry_after(1));
        }
        Some(Peer::Foreign) | None => return forbidden("this socket serves only the user who runs authd"),
    }
    let headers = request.headers();
    if headers.contains_key(header::ORIGIN) || headers.contains_key(header::REFERER) {
        return forbidden("this socket does not serve web pages");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).map(|host| host.trim_end_matches(":80"));
    match (host, hosts.next()) {
        (Some("authd" | "localhost"), None) => None,
        _ => forbidden("the request's Host must be authd or localhost"),
    }
}
