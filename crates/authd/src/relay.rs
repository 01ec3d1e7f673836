//! The streaming pass-through upstream: a client's request with the profile's headers put in, and the
//! answer as it comes. Nothing is parsed and nothing kept, but for a short body that may have to be
//! sent again. A WebSocket that both sides agree to is handed to the tunnel.

mod hops;

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use authd_api::{ErrorCode, Problem};
use authd_oauth::{Failure, Http, Mode, reqwest};
use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::Frame;
use hyper::upgrade::OnUpgrade;
use sync_wrapper::SyncWrapper;
use tracing::{debug, warn};

use crate::{
    clock,
    facts::{Facts, Freshness},
    reply,
    tunnel::{Switch, Tunnel},
};

/// The longest body that is kept to be sent again after a 401. A prompt with a few images fits.
const REPLAYABLE: usize = 8 << 20;

/// Where a relayed request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The base URL of the profile's mode.
    Model,
    /// The ChatGPT backend.
    Backend,
}

/// The way upstream.
#[derive(Clone)]
pub(crate) struct Relay {
    http: Http,
}

impl Relay {
    /// A relay over these clients.
    pub(crate) fn new(http: Http) -> Self {
        Self { http }
    }

    /// Passes a request on, and its answer back. If the upstream agrees to a WebSocket that the client
    /// wants, the connection becomes a tunnel.
    pub(crate) async fn pass(
        &self,
        target: Target,
        mut request: Request,
        facts: Arc<Facts>,
        renew: impl AsyncFnOnce(u64) -> Result<Arc<Facts>, Problem>,
    ) -> Result<Response, Problem> {
        let entrance = Entrance::of(&mut request);
        let answer = self.exchange(target, request, entrance.is_some(), &facts, renew).await?;
        match (answer.status(), entrance) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(entrance)) => {
                let failed = |error| reply::provider_failed(&self.http.failure(error)).about(&facts.name);
                entrance.open(answer).await.map_err(failed)
            }
            (StatusCode::SWITCHING_PROTOCOLS, None) => {
                let detail = "the upstream switched protocols, which nobody asked for";
                Err(Problem::new(ErrorCode::ProviderRefused, detail).about(&facts.name))
            }
            _ => Ok(passed_on(answer)),
        }
    }

    /// The upstream's answer. After a 401 the credential is renewed once, and the request sent once more
    /// if its whole body is at hand.
    async fn exchange(
        &self,
        target: Target,
        request: Request,
        websocket: bool,
        facts: &Facts,
        renew: impl AsyncFnOnce(u64) -> Result<Arc<Facts>, Problem>,
    ) -> Result<reqwest::Response, Problem> {
        let (parts, body) = request.into_parts();
        let tail = tail(parts.uri.path())?;
        let query = parts.uri.query();
        let url = Self::url(target, facts, tail, query)?;
        let headers = hops::forwarded(parts.headers, websocket);
        let replay = Arc::new(Mutex::new(Replay::new(&headers)));
        let has_body = headers.contains_key(header::CONTENT_LENGTH) || !http_body::Body::is_end_stream(&body);
        let first = has_body
            .then(|| reqwest::Body::wrap(Recorded { inner: SyncWrapper::new(body), replay: replay.clone() }));
        let answer = self.send(&parts.method, &url, &headers, facts, first).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let refused = facts.ready.generation;
        let renewed = match renew(refused).await {
            Ok(renewed) => renewed,
            Err(problem) => {
                warn!(
                    code = problem.code.as_str(),
                    "the upstream's 401 stands: the credential was not renewed"
                );
                return Ok(answer);
            }
        };
        if renewed.freshness(std::time::Duration::ZERO, clock::now()) == Freshness::LoginRequired {
            return Err(reply::no_credential(&renewed, clock::now()));
        }
        // An upstream may refuse before it has the whole body; the rest came while the credential was renewed.
        let again = if has_body { lock(&replay).whole() } else { Some(Bytes::new()) };
        match again {
            Some(body) if renewed.ready.generation != refused => {
                debug!("sent again with the renewed credential");
                let body = has_body.then(|| reqwest::Body::from(body));
                let url = Self::url(target, &renewed, tail, query)?;
                self.send(&parts.method, &url, &headers, &renewed, body).await
            }
            _ => Ok(answer),
        }
    }

    fn url(target: Target, facts: &Facts, tail: &str, query: Option<&str>) -> Result<String, Problem> {
        let base = match (target, facts.mode) {
            (Target::Model, _) => facts.ready.base_url.as_str(),
            (Target::Backend, Mode::ChatGpt) => facts.ready.backend_url.as_str(),
            (Target::Backend, Mode::ApiKey) => {
                let detail =
                    format!("profile \"{}\" is in API-key mode, which has no ChatGPT backend", facts.name);
                return Err(
                    Problem::new(ErrorCode::Conflict, detail).hint("use the relay, not relay-backend")
                );
            }
        };
        let base = base.trim_end_matches('/');
        Ok(match query {
            Some(query) => format!("{base}/{tail}?{query}"),
            None => format!("{base}/{tail}"),
        })
    }

    async fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &HeaderMap,
        facts: &Facts,
        body: Option<reqwest::Body>,
    ) -> Result<reqwest::Response, Problem> {
        let mut headers = headers.clone();
        // The fourth place where a secret leaves: the relayed request.
        for (name, value) in &facts.ready.headers {
            headers.insert(name, value.clone());
        }
        let failed = |failure: Failure| reply::provider_failed(&failure).about(&facts.name);
        let mut request = self.http.request(method.clone(), url).map_err(failed)?.headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        request.send().await.map_err(|error| failed(self.http.failure(error)))
    }
}

/// What follows the relay's own path. A path that climbs would leave the base URL.
fn tail(path: &str) -> Result<&str, Problem> {
    let tail = path.splitn(6, '/').nth(5).unwrap_or_default();
    let climbs = tail.split('/').any(|segment| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    });
    if climbs || tail.contains('\\') {
        return Err(Problem::new(ErrorCode::BadRequest, "a relayed path may not climb out of its base URL"));
    }
    Ok(tail)
}

/// The upstream's answer, its body as it comes, with what may follow it.
fn passed_on(answer: reqwest::Response) -> Response {
    let (head, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = hops::returned(head.headers, false);
    response
}

/// The client's end of a connection that it wants to be a WebSocket.
struct Entrance {
    client: OnUpgrade,
    switch: Switch,
}

impl Entrance {
    /// Where a tunnel can begin, if the request asks for one.
    fn of(request: &mut Request) -> Option<Self> {
        let wanted = hops::wants_websocket(request.headers());
        let parts = request.extensions_mut();
        let (client, switch) = (parts.remove::<OnUpgrade>()?, parts.remove::<Switch>()?);
        wanted.then_some(Self { client, switch })
    }

    /// The upstream's 101, with its end of the connection left for the task that serves ours.
    async fn open(self, answer: reqwest::Response) -> Result<Response, reqwest::Error> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = hops::returned(answer.headers().clone(), true);
        self.switch.throw(Tunnel { client: self.client, upstream: answer.upgrade().await? });
        Ok(response)
    }
}

/// A body as far as it has gone by.
#[derive(Default)]
struct Replay {
    pieces: Vec<Bytes>,
    length: usize,
    /// The length that was announced. Who sends a body of known length stops there, and never sees its
    /// end.
    announced: Option<usize>,
    complete: bool,
    trailers: bool,
}

impl Replay {
    fn new(headers: &HeaderMap) -> Self {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { announced, ..Self::default() }
    }

    fn push(&mut self, piece: &Bytes) {
        self.length += piece.len();
        self.complete = self.announced == Some(self.length);
        if self.length <= REPLAYABLE {
            self.pieces.push(piece.clone());
        } else {
            self.pieces = Vec::new();
        }
    }

    /// Nothing more comes.
    fn end(&mut self) {
        self.complete = !self.trailers;
    }

    /// Trailers came. They cannot be sent again, so neither can the body.
    fn trailed(&mut self) {
        self.trailers = true;
    }

    /// The body, if all of it has gone by and was short enough.
    fn whole(&mut self) -> Option<Bytes> {
        let whole = self.complete && self.length <= REPLAYABLE;
        whole.then(|| std::mem::take(&mut self.pieces).concat().into())
    }
}

fn lock(replay: &Mutex<Replay>) -> std::sync::MutexGuard<'_, Replay> {
    replay.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body that is recorded while it goes by.
struct Recorded {
    inner: SyncWrapper<Body>,
    replay: Arc<Mutex<Replay>>,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(self.inner.get_mut()).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                let mut replay = lock(&self.replay);
                match frame.data_ref() {
                    Some(piece) => replay.push(piece),
                    None => replay.trailed(),
                }
            }
            Some(Err(_)) => {}
            None => lock(&self.replay).end(),
        }
        Poll::Ready(frame)
    }
}
