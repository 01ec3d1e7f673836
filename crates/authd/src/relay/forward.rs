//! Forwards a request with the profile's headers, and returns the response as it arrives. Bodies
//! are streamed; only a short request body is kept, for the retry after a 401.

use std::{sync::Arc, time::Duration};

use authd_api::RENEWED_HEADER;
use authd_broker::{Freshness, ProfileSnapshot, now};
use authd_oauth::{Mode, Network, NetworkError, Rejected, Upstream};
use axum::{body::Body, extract::Request, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;
use tracing::debug;

use super::{
    error::RelayError,
    headers,
    replay::{RecordedBody, Recording},
    upgrade::UpgradeRequest,
    url,
};

/// Where a relayed request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The base URL of the profile's mode.
    Model,
    /// The ChatGPT backend.
    Backend,
}

/// A path below a target; the target itself if the path is empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination<'d> {
    pub(crate) target: Target,
    pub(crate) path: &'d str,
}

impl Destination<'_> {
    /// The URL for a credential.
    fn url(&self, snapshot: &ProfileSnapshot, query: Option<&str>) -> Result<String, RelayError> {
        let base = match (self.target, snapshot.mode()) {
            (Target::Model, _) => snapshot.base_url(),
            (Target::Backend, Mode::ChatGpt) => snapshot.backend_url(),
            (Target::Backend, mode @ (Mode::ApiKey | Mode::Bearer)) => {
                return Err(RelayError::NoBackend(mode));
            }
        };
        if base.is_empty() {
            let provider = snapshot.credential.authority.as_ref().map(|authority| authority.provider.clone());
            return Err(RelayError::NoBaseUrl(provider.unwrap_or_default()));
        }
        url::join(&base, self.path, query)
    }
}

/// A cheap handle of the relay.
#[derive(Clone)]
pub(crate) struct Relay {
    upstream: Upstream<RecordedBody>,
}

impl Relay {
    /// A relay over this network.
    pub(crate) fn new(network: Network) -> Result<Self, NetworkError> {
        Ok(Self { upstream: Upstream::new(network)? })
    }

    /// Replaces the network. Requests and tunnels in progress end on the old one.
    pub(crate) fn reload(&self, network: Network) -> Result<(), NetworkError> {
        self.upstream.reload(network)
    }

    /// Whether the CA certificates on disk have changed since they were loaded.
    pub(crate) fn is_outdated(&self) -> bool {
        self.upstream.is_outdated()
    }

    /// Forwards a request to its destination, and returns the response. If the upstream accepts a
    /// WebSocket that the client requests, the connection becomes a tunnel. `before_send` is called
    /// before the request is sent. After a 401, `refresh` replaces the credential.
    pub(crate) async fn forward(
        &self,
        to: Destination<'_>,
        mut request: Request,
        snapshot: Arc<ProfileSnapshot>,
        before_send: impl FnOnce(),
        refresh: impl AsyncFnOnce(Rejected) -> Option<Arc<ProfileSnapshot>>,
    ) -> Result<Response, RelayError> {
        let upgrade = UpgradeRequest::take(&mut request);
        let is_upgrade = upgrade.is_some();
        let response = self.exchange(to, request, is_upgrade, &snapshot, before_send, refresh).await?;
        match (response.status(), upgrade) {
            (StatusCode::SWITCHING_PROTOCOLS, Some(upgrade))
                if headers::is_websocket_upgrade(response.headers()) =>
            {
                let failed = |error| RelayError::Upstream(self.upstream.not_upgraded(&error));
                upgrade.accept(response).await.map_err(failed)
            }
            (StatusCode::SWITCHING_PROTOCOLS, _) => Err(RelayError::UnrequestedUpgrade),
            _ => Ok(to_client(response)),
        }
    }

    /// The upstream's response. After a 401 the credential is refreshed once, and the request is
    /// sent once more if its whole body was recorded.
    async fn exchange(
        &self,
        to: Destination<'_>,
        request: Request,
        websocket: bool,
        snapshot: &Arc<ProfileSnapshot>,
        before_send: impl FnOnce(),
        refresh: impl AsyncFnOnce(Rejected) -> Option<Arc<ProfileSnapshot>>,
    ) -> Result<http::Response<Incoming>, RelayError> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query();
        let url = to.url(snapshot, query)?;
        let mut headers = headers::forwarded(parts.headers, websocket);
        let has_length = headers.contains_key(header::CONTENT_LENGTH);
        let has_body = has_length || !http_body::Body::is_end_stream(&body);
        if has_body && !has_length {
            // hyper sends a GET without a body of unknown length unless the header says that it is
            // chunked.
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let recording = Recording::new(&headers);
        before_send();
        let sent = self.send(&parts.method, url, headers.clone(), snapshot, recording.record(body)).await;
        let mut response = match sent {
            Err(_) if recording.failed() => return Err(RelayError::BrokenBody),
            sent => sent?,
        };
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let generation = snapshot.credential.generation;
        let grant_id = Some((*snapshot.credential.grant_id).into());
        let Some(refreshed) = refresh(Rejected { generation, grant_id }).await else { return Ok(response) };
        if refreshed.freshness(Duration::ZERO, now()) == Freshness::LoginRequired {
            return Err(RelayError::NoCredential(refreshed));
        }
        let is_same_grant = refreshed.credential.grant_id == snapshot.credential.grant_id;
        if is_same_grant && refreshed.credential.generation == generation {
            return Ok(response);
        }
        // An upstream may reject a request before it has read the body. The rest arrived during the
        // refresh.
        let body = if has_body { recording.take_complete().map(Body::from) } else { Some(Body::empty()) };
        let Some(body) = body else {
            response.extensions_mut().insert(RenewedGeneration(refreshed.credential.generation));
            return Ok(response);
        };
        debug!("request sent again with the refreshed credential");
        let url = to.url(&refreshed, query)?;
        self.send(&parts.method, url, headers, &refreshed, recording.record(body)).await
    }

    async fn send(
        &self,
        method: &Method,
        url: String,
        mut headers: HeaderMap,
        snapshot: &ProfileSnapshot,
        body: RecordedBody,
    ) -> Result<http::Response<Incoming>, RelayError> {
        let overrides = snapshot.overrides_client();
        for (name, value) in snapshot.headers() {
            // The client may have its own version, user agent, organization and so on.
            if overrides || !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        let mut request = http::Request::new(body);
        *request.method_mut() = method.clone();
        *request.uri_mut() = self.upstream.uri(url).map_err(RelayError::Upstream)?;
        *request.headers_mut() = headers;
        self.upstream.send(request).await.map_err(RelayError::Upstream)
    }
}

/// The generation of the credential that replaced the rejected one, for a response whose request
/// could not be sent again.
#[derive(Clone, Copy)]
struct RenewedGeneration(u64);

/// The upstream's response as the client gets it.
fn to_client(response: http::Response<Incoming>) -> Response {
    const RENEWED: HeaderName = HeaderName::from_static(RENEWED_HEADER);
    let (head, body) = response.into_parts();
    let mut response = Response::new(Body::new(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::returned(head.headers, false);
    if let Some(RenewedGeneration(generation)) = head.extensions.get() {
        response.headers_mut().insert(RENEWED, (*generation).into());
    }
    response
}
