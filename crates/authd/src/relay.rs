//! The streaming pass-through upstream: a client's request with the profile's headers put in, and the
//! answer as it comes. Nothing is parsed and nothing kept, but for a short body that may have to be
//! sent again.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use authd_api::{ErrorCode, Problem};
use authd_oauth::{Failure, Http, Mode, reqwest};
use axum::{
    body::{Body, BodyDataStream},
    extract::Request,
    response::Response,
};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::{debug, warn};

use crate::{
    clock,
    facts::{Facts, Freshness},
    reply,
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

    /// Passes a request on. After a 401 the credential is renewed once, and the request sent once more
    /// if its whole body is at hand.
    pub(crate) async fn pass(
        &self,
        target: Target,
        request: Request,
        facts: Arc<Facts>,
        renew: impl AsyncFnOnce(u64) -> Result<Arc<Facts>, Problem>,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let tail = tail(parts.uri.path())?;
        let query = parts.uri.query();
        let url = Self::url(target, &facts, tail, query)?;
        let headers = forwarded(parts.headers);
        let replay = Arc::new(Mutex::new(Replay::new(&headers)));
        let has_body = headers.contains_key(header::CONTENT_LENGTH) || !http_body::Body::is_end_stream(&body);
        let first = has_body.then(|| {
            reqwest::Body::wrap_stream(Recorded { inner: body.into_data_stream(), replay: replay.clone() })
        });
        let answer = self.send(&parts.method, &url, &headers, &facts, first).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(passed_on(answer));
        }
        let again = if has_body { lock(&replay).whole() } else { Some(Bytes::new()) };
        let refused = facts.ready.generation;
        let renewed = match renew(refused).await {
            Ok(renewed) => renewed,
            Err(problem) => {
                warn!(
                    code = problem.code.as_str(),
                    "the upstream's 401 stands: the credential was not renewed"
                );
                return Ok(passed_on(answer));
            }
        };
        if renewed.freshness(std::time::Duration::ZERO, clock::now()) == Freshness::LoginRequired {
            return Err(reply::no_credential(&renewed, clock::now()));
        }
        match again {
            Some(body) if renewed.ready.generation != refused => {
                debug!("sent again with the renewed credential");
                let body = has_body.then(|| reqwest::Body::from(body));
                let url = Self::url(target, &renewed, tail, query)?;
                self.send(&parts.method, &url, &headers, &renewed, body).await.map(passed_on)
            }
            _ => Ok(passed_on(answer)),
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

/// The client's headers without those that end here: its connection's (RFC 9110, section 7.6.1), its
/// own credential, and the name it has for us.
fn forwarded(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    for own in
        [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::HOST, header::COOKIE, header::EXPECT]
    {
        headers.remove(own);
    }
    headers
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    const HOP_BY_HOP: [HeaderName; 7] = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
    ];
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.into_iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The upstream's answer, its body as it comes.
fn passed_on(answer: reqwest::Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(header::SET_COOKIE);
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from_stream(answer.bytes_stream());
    response
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
    inner: BodyDataStream,
    replay: Arc<Mutex<Replay>>,
}

impl Stream for Recorded {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = ready!(Pin::new(&mut self.inner).poll_next(context));
        match &piece {
            Some(Ok(piece)) => lock(&self.replay).push(piece),
            Some(Err(_)) => {}
            None => lock(&self.replay).complete = true,
        }
        Poll::Ready(piece)
    }
}
