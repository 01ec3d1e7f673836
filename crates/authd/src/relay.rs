//! The streaming pass-through upstream: a client's request with the profile's headers put in, and the
//! answer as it comes. Nothing is parsed and nothing kept, but for a short body that may have to be
//! sent again. A WebSocket that both sides agree to is handed to the tunnel.

mod hops;
mod replay;

use std::{sync::Arc, time::Duration};

use authd_api::{ErrorCode, Problem, RENEWED_HEADER};
use authd_oauth::{Mode, Network, NetworkError, ProviderError, Rejected, Upstream};
use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::{
    body::Incoming,
    upgrade::{self, OnUpgrade},
};
use tracing::{debug, warn};

use self::replay::{Recorded, Recording};
use crate::{
    clock,
    facts::{Facts, Freshness},
    reply,
    tunnel::{Switch, Tunnel},
};

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
    upstream: Upstream<Recorded>,
}

impl Relay {
    /// A relay over this network.
    pub(crate) fn new(network: Network) -> Result<Self, NetworkError> {
        Ok(Self { upstream: Upstream::new(network)? })
    }

    /// Passes a request on, and its answer back. If the upstream agrees to a WebSocket that the client
    /// wants, the connection becomes a tunnel.
    pub(crate) async fn pass(
        &self,
        target: Target,
        mut request: Request,
        facts: Arc<Facts>,
        renew: impl AsyncFnOnce(Rejected) -> Result<Arc<Facts>, Problem>,
    ) -> Result<Response, Problem> {
        let entrance = Entrance::of(&mut request);
        let answer = self.exchange(target, request, entrance.is_some(), &facts, renew).await?;
        match (answer.status(), entrance) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(entrance)) if hops::name_websocket(answer.headers()) => {
                let failed =
                    |error| reply::provider_failed(&self.upstream.not_upgraded(&error)).about(&facts.name);
                entrance.open(answer).await.map_err(failed)
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => {
                let detail = "the upstream switched to a protocol that nobody asked it for";
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
        renew: impl AsyncFnOnce(Rejected) -> Result<Arc<Facts>, Problem>,
    ) -> Result<http::Response<Incoming>, Problem> {
        let (parts, body) = request.into_parts();
        let tail = tail(parts.uri.path())?;
        let query = parts.uri.query();
        let url = Self::url(target, facts, tail, query)?;
        let mut headers = hops::forwarded(parts.headers, websocket);
        let measured = headers.contains_key(header::CONTENT_LENGTH);
        let has_body = measured || !http_body::Body::is_end_stream(&body);
        if has_body && !measured {
            // hyper would send a GET without the body that it has to chunk.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let recording = Recording::new(&headers);
        let sent = self.send(&parts.method, url, headers.clone(), facts, recording.of(body)).await;
        let mut answer = match sent {
            Err(_) if recording.failed() => {
                let detail = "the request's body broke off, or is malformed";
                return Err(Problem::new(ErrorCode::BadRequest, detail).about(&facts.name));
            }
            sent => sent?,
        };
        if answer.status() != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let refused = facts.credential.generation;
        let grant_id = Some((*facts.credential.grant_id).into());
        let renewed = match renew(Rejected { generation: refused, grant_id }).await {
            Ok(renewed) => renewed,
            Err(problem) => {
                warn!(
                    code = problem.code.as_str(),
                    "the upstream's 401 stands: the credential was not renewed"
                );
                return Ok(answer);
            }
        };
        if renewed.freshness(Duration::ZERO, clock::now()) == Freshness::LoginRequired {
            return Err(reply::no_credential(&renewed, clock::now()));
        }
        let same = renewed.credential.grant_id == facts.credential.grant_id;
        if same && renewed.credential.generation == refused {
            return Ok(answer);
        }
        // An upstream may refuse before it has the whole body; the rest came while the credential was renewed.
        let again = if has_body { recording.whole().map(Body::from) } else { Some(Body::empty()) };
        let Some(again) = again else {
            answer.extensions_mut().insert(Renewed(renewed.credential.generation));
            return Ok(answer);
        };
        debug!("sent again with the renewed credential");
        let url = Self::url(target, &renewed, tail, query)?;
        self.send(&parts.method, url, headers, &renewed, recording.of(again)).await
    }

    fn url(target: Target, facts: &Facts, tail: &str, query: Option<&str>) -> Result<String, Problem> {
        let base = match (target, facts.mode()) {
            (Target::Model, _) => facts.base_url(),
            (Target::Backend, Mode::ChatGpt) => facts.backend_url(),
            (Target::Backend, Mode::ApiKey) => {
                let detail =
                    format!("profile \"{}\" is in API-key mode, which has no ChatGPT backend", facts.name);
                return Err(
                    Problem::new(ErrorCode::Conflict, detail).hint("use the relay, not relay-backend")
                );
            }
        };
        let (question, query) = query.map(|query| ("?", query)).unwrap_or_default();
        Ok([base.trim_end_matches('/'), "/", tail, question, query].concat())
    }

    async fn send(
        &self,
        method: &Method,
        url: String,
        mut headers: HeaderMap,
        facts: &Facts,
        body: Recorded,
    ) -> Result<http::Response<Incoming>, Problem> {
        // The fourth place where a secret leaves: the relayed request.
        for (name, value) in facts.headers() {
            headers.insert(name, value);
        }
        let failed = |failure: ProviderError| reply::provider_failed(&failure).about(&facts.name);
        let mut request = http::Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.upstream.uri(url).map_err(failed)?;
        *request.headers_mut() = headers;
        self.upstream.send(request).await.map_err(failed)
    }
}

/// What follows the relay's own path. A path that climbs would leave the base URL.
fn tail(path: &str) -> Result<&str, Problem> {
    let tail = path.splitn(6, '/').nth(5).unwrap_or_default();
    if tail.split('/').any(climbs) || tail.contains('\\') {
        return Err(Problem::new(ErrorCode::BadRequest, "a relayed path may not climb out of its base URL"));
    }
    Ok(tail)
}

/// Whether a segment is one dot or two, however they are written.
fn climbs(segment: &str) -> bool {
    let after_a_dot = |text| [".", "%2e", "%2E"].iter().find_map(|dot| str::strip_prefix(text, dot));
    after_a_dot(segment).is_some_and(|rest| rest.is_empty() || after_a_dot(rest).is_some_and(str::is_empty))
}

/// The generation of the credential that replaced the one which the upstream refused. It belongs to an answer that
/// could not be asked for again.
#[derive(Clone, Copy)]
struct Renewed(u64);

/// The upstream's answer, its body as it comes, with what may follow it.
fn passed_on(answer: http::Response<Incoming>) -> Response {
    const RENEWED: HeaderName = HeaderName::from_static(RENEWED_HEADER);
    let (head, body) = answer.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = hops::returned(head.headers, false);
    if let Some(Renewed(generation)) = head.extensions.get() {
        response.headers_mut().insert(RENEWED, (*generation).into());
    }
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
        let wanted = hops::name_websocket(request.headers());
        let parts = request.extensions_mut();
        let (client, switch) = (parts.remove::<OnUpgrade>()?, parts.remove::<Switch>()?);
        wanted.then_some(Self { client, switch })
    }

    /// The upstream's 101, with its end of the connection left for the task that serves ours.
    async fn open(self, mut answer: http::Response<Incoming>) -> Result<Response, hyper::Error> {
        let upstream = upgrade::on(&mut answer).await?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        *response.headers_mut() = hops::returned(std::mem::take(answer.headers_mut()), true);
        self.switch.throw(Tunnel { client: self.client, upstream });
        Ok(response)
    }
}
