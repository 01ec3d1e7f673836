//! Before every handler: who asks, and as what. It stands in front of the router instead of being a layer
//! of it: a layer is around each route, and costs every request an allocation for each. The one read that
//! programs make before each request of their own goes no further than here.

use std::sync::Arc;

use authd_api::{ErrorCode, Problem, REQUEST_HEADER, route};
use axum::{
    Router,
    extract::Request,
    response::{IntoResponse, Response},
};
use http::{HeaderName, Method, StatusCode, header};
use hyper::body::Incoming;
use tower::Service;
use tracing::Instrument;

use super::{Front, news::MOST_STREAMS, ready_headers, unread::Reading};
use crate::{
    answer::{ApiError, carries, stamp},
    hygiene,
    limits::{self, ProcessLimiter},
    peer::Peer,
};

const REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_HEADER);

/// The routes, and the only way to them.
#[derive(Clone)]
pub(crate) struct Guarded {
    router: Router,
    /// The same routes once more: what the figures call a request, which only a layer would be told.
    names: Arc<matchit::Router<&'static str>>,
    front: Arc<Front>,
    /// The event streams that are open.
    streams: ProcessLimiter,
}

/// The routes whose answers a stop may cut: they can go on for long, and the daemon saves nothing for them.
const EXPENDABLE: [&str; 4] = [route::RELAY, route::RELAY_BACKEND, route::DIAGNOSIS, route::EVENTS];

/// Which route a path is for, and what stands in its places.
type Matched<'r> = matchit::Match<'r, 'r, &'r &'static str>;

impl Guarded {
    /// A guard before this router.
    pub(super) fn new(router: Router, front: Arc<Front>) -> Self {
        let mut names = matchit::Router::new();
        for route in route::ALL {
            names.insert(route, route).expect("a router that takes these routes took them already");
        }
        let most = MOST_STREAMS.min(limits::socket_connections(hygiene::open_file_limit()) / 4);
        Self { router, names: Arc::new(names), front, streams: ProcessLimiter::new(most) }
    }

    /// Lets a request through, or says why not. A browser can be tricked into sending a request here by a
    /// web page; it cannot be made to leave out `Origin`, or to send our `Host`.
    pub(crate) async fn answer(mut self, peer: &Arc<Peer>, request: Request<Incoming>) -> Response {
        let (reading, mut request) = Reading::of(request, peer);
        let method = request.method().clone();
        let path = request.uri().path();
        let found = self.names.at(path).ok();
        let name = found.as_ref().map(|found| *found.value);
        peer.set_expendable(name.is_some_and(|name| EXPENDABLE.contains(&name)));
        let id = self.front.metrics.next_request();
        let span = tracing::debug_span!("request", id, %method, path = path.split("/relay").next());
        let mut response = match (refused(peer, &request), plain_read(&request, found)) {
            (Some(refusal), _) => refusal,
            (None, Some(profile)) => {
                let held = request.headers().get(header::IF_NONE_MATCH);
                let answer = ready_headers(&self.front, profile, None, held);
                answer.instrument(span.clone()).await.into_response()
            }
            (None, None) => {
                if name == Some(route::EVENTS) {
                    request.extensions_mut().insert(Arc::new(self.streams.permit(peer.pid())));
                }
                match self.router.call(request).instrument(span.clone()).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        stamp(&mut response);
        reading.tell(&mut response);
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            let problem = response.extensions_mut().remove();
            span.in_scope(|| log(id, name, status, problem.as_ref()));
            response.headers_mut().insert(REQUEST_ID, id.into());
        }
        self.front.metrics.asked(name, &method, status);
        response
    }
}

/// The profile whose headers are asked for, if nothing else is said that the route's handler would have to
/// make sense of. The way through the router to that handler costs nearly as much as the answer.
fn plain_read<'r>(request: &'r Request, found: Option<Matched<'r>>) -> Option<&'r str> {
    let found = found.filter(|found| *found.value == route::HEADERS)?;
    let plain = request.method() == Method::GET && request.uri().query().is_none();
    found.params.get("profile").filter(|profile| plain && !profile.contains('%'))
}

/// What a client did wrong is its own affair; what went wrong here or upstream is found by the number that
/// the answer has, at the level that everybody has. A relayed answer has no problem of ours.
fn log(id: u64, route: Option<&str>, status: StatusCode, problem: Option<&Problem>) {
    let (code, detail) = problem.map(|problem| (problem.code.as_str(), problem.detail.as_str())).unzip();
    let status = status.as_u16();
    if status < 500 {
        tracing::debug!(status, "refused");
    } else {
        tracing::warn!(id, route, status, code, detail, "failed");
    }
}

/// Why a request goes no further, if it does not.
fn refused(peer: &Peer, request: &Request) -> Option<Response> {
    let forbidden = |detail: &str| Some(ApiError(Problem::new(ErrorCode::Forbidden, detail)).into_response());
    if !peer.is_own() {
        return forbidden("this socket serves only the user who runs authd");
    }
    if !peer.is_within_limit() {
        let problem = Problem::new(ErrorCode::TooManyRequests, "this program holds too many connections");
        return Some(ApiError(problem.hint("close some").retry_after(1)).into_response());
    }
    let headers = request.headers();
    if carries(headers, &[header::ORIGIN, header::REFERER]) {
        return forbidden("this socket does not serve web pages");
    }
    // A target in absolute form names the host itself, and then Host counts for nothing (RFC 9112, section 3.2.2).
    let target = request.uri().authority().is_none_or(|target| is_ours(target.as_str()));
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    match (host, hosts.next()) {
        (Some(host), None) if target && is_ours(host) => None,
        _ => forbidden("the request's Host must be authd or localhost"),
    }
}

/// Whether a host name is one of this socket's.
fn is_ours(host: &str) -> bool {
    matches!(host, "authd" | "authd:80" | "localhost" | "localhost:80")
}
