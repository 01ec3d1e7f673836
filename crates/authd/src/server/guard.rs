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

use super::{Front, ready_headers, unread::Reading};
use crate::answer::{Refusal, carries, stamp};

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

/// The routes, and the only way to them.
#[derive(Clone)]
pub(crate) struct Guarded {
    router: Router,
    /// The same routes once more: what the figures call a request, which only a layer would be told.
    names: Arc<matchit::Router<&'static str>>,
    front: Arc<Front>,
}

/// Which route a path is for, and what stands in its places.
type Matched<'r> = matchit::Match<'r, 'r, &'r &'static str>;

impl Guarded {
    /// A guard before this router.
    pub(super) fn new(router: Router, front: Arc<Front>) -> Self {
        let mut names = matchit::Router::new();
        for route in route::ALL {
            names.insert(route, route).expect("a router that takes these routes took them already");
        }
        Self { router, names: Arc::new(names), front }
    }

    /// Lets a request through, or says why not. A browser can be tricked into sending a request here by a
    /// web page; it cannot be made to leave out `Origin`, or to send our `Host`.
    pub(crate) async fn answer(mut self, peer: Peer, request: Request<Incoming>) -> Response {
        let (reading, request) = Reading::of(request);
        let method = request.method().clone();
        let path = request.uri().path();
        let found = self.names.at(path).ok();
        let name = found.as_ref().map(|found| *found.value);
        let id = self.front.metrics.next_request();
        let span = tracing::debug_span!("request", id, %method, path = path.split("/relay").next());
        let mut response = match (refused(peer, &request), plain_read(&request, found)) {
            (Some(problem), _) => Refusal(problem).into_response(),
            (None, Some(profile)) => {
                let held = request.headers().get(header::IF_NONE_MATCH);
                let answer = ready_headers(&self.front, profile, None, held);
                answer.instrument(span.clone()).await.into_response()
            }
            (None, None) => match self.router.call(request).instrument(span.clone()).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
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

fn refused(peer: Peer, request: &Request) -> Option<Problem> {
    let forbidden = |detail: &str| Some(Problem::new(ErrorCode::Forbidden, detail));
    match peer {
        Peer::Own => {}
        Peer::Crowding => {
            let problem = Problem::new(ErrorCode::TooManyRequests, "this program holds too many connections");
            return Some(problem.hint("close some").retry_after(1));
        }
        Peer::Foreign => return forbidden("this socket serves only the user who runs authd"),
    }
    let headers = request.headers();
    if carries(headers, &[header::ORIGIN, header::REFERER]) {
        return forbidden("this socket does not serve web pages");
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    match (host, hosts.next()) {
        (Some("authd" | "authd:80" | "localhost" | "localhost:80"), None) => None,
        _ => forbidden("the request's Host must be authd or localhost"),
    }
}
