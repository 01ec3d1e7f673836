//! Calls to the provider. Every request is byte for byte that of the Codex CLI. Every response is
//! read within limits and parsed by a pure function.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response};
use serde::Serializer;
use url::Url;

use crate::{
    AccessToken, ApiKey, ClientIdentity, CodeResponse, DevicePoll, DeviceStart, Exchange, IdToken, Network,
    NetworkError, Provider, ProviderError, RefreshResponse, RefreshToken, Routing,
    definition::ProviderDefinition,
    discovery::Start,
    error_response::{self, Call},
    form::form,
    network::{self, Current, DiscoveryRun, ProviderClient},
    routing, token,
};

mod defined;
mod own_credential;
mod sign_in;

/// The longest response that is read, in bytes. Real ones have ten thousand.
const MAX_RESPONSE: usize = 1 << 20;

/// Longest time for a revocation: the user waits for it, and nothing else depends on it.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for the usage limits: a program waits for them, and nothing depends on them.
const USAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for the provider's host to respond to a probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The provider's endpoints. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Endpoint {
    provider: Arc<Provider>,
    client: Current<ClientIdentity>,
    http: ProviderClient,
}

/// The result of a `HEAD` request to a host.
#[derive(Debug)]
pub struct HostProbe {
    /// The host's URL.
    pub host: String,
    /// The HTTP status, or why there was no response.
    pub status: Result<u16, ProviderError>,
    /// The host's clock.
    pub date: Option<Timestamp>,
    /// The elapsed time.
    pub elapsed: Duration,
}

impl Endpoint {
    /// The endpoints of this provider.
    pub fn new(provider: Provider, client: ClientIdentity, network: Network) -> Result<Self, NetworkError> {
        let http = ProviderClient::new(network)?;
        Ok(Self { provider: Arc::new(provider), client: Current::new(client), http })
    }

    /// Replaces the client identity and the network of all clones. Calls in flight end with the old
    /// ones. An error changes nothing.
    pub fn reload(&self, client: ClientIdentity, network: Network) -> Result<(), NetworkError> {
        self.http.reload(network)?;
        self.client.replace(client);
        Ok(())
    }

    /// Whether the CA certificates on disk have changed since they were loaded.
    pub fn is_outdated(&self) -> bool {
        self.http.is_outdated()
    }

    /// Exchanges an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.5).
    pub async fn exchange_code(&self, exchange: Exchange) -> Result<CodeResponse, ProviderError> {
        let request = self.post_form(form([
            ("grant_type", "authorization_code"),
            ("code", exchange.code.expose()),
            ("redirect_uri", &exchange.redirect_uri),
            ("client_id", &self.provider.client_id),
            ("code_verifier", exchange.verifier.expose()),
        ]))?;
        CodeResponse::parse(&self.call(Call::Other, request).await?)
    }

    /// Exchanges an id token for an API key (RFC 8693, section 2.1).
    pub async fn exchange_api_key(&self, id_token: &IdToken) -> Result<ApiKey, ProviderError> {
        let request = self.post_form(form([
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("client_id", &self.provider.client_id),
            ("requested_token", "openai-api-key"),
            ("subject_token", id_token.expose()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ]))?;
        token::api_key(&self.call(Call::Other, request).await?)
    }

    /// Spends a refresh token (RFC 6749, section 6). Must not be cancelled once it is sent.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<RefreshResponse, ProviderError> {
        let request = self.post_json(
            &self.provider.token_url,
            &[
                ("client_id", &self.provider.client_id),
                ("grant_type", "refresh_token"),
                ("refresh_token", token.expose()),
            ],
        )?;
        RefreshResponse::parse(&self.call(Call::Refresh, request).await?)
    }

    /// Revokes a grant (RFC 7009, section 2.1).
    pub async fn revoke(&self, token: &RefreshToken) -> Result<(), ProviderError> {
        let request = self.post_json(
            &self.provider.revoke_url,
            &[
                ("token", token.expose()),
                ("token_type_hint", "refresh_token"),
                ("client_id", &self.provider.client_id),
            ],
        )?;
        self.call(Call::Other, request.timeout(REVOKE_TIMEOUT)).await.map(drop)
    }

    /// Starts a device login.
    pub async fn device_start(&self) -> Result<DeviceStart, ProviderError> {
        let fields = [("client_id", &*self.provider.client_id)];
        let request = self.post_json(&self.provider.device_usercode_url, &fields)?;
        let (status, headers, body) = self.send(request).await?;
        DeviceStart::parse(status, &body)
            .unwrap_or_else(|| Err(classify(Call::Other, status, &headers, &body)))
    }

    /// Polls a device login once.
    pub async fn device_poll(&self, start: &DeviceStart) -> Result<DevicePoll, ProviderError> {
        let fields = [("device_auth_id", &*start.id), ("user_code", &*start.user_code)];
        let request = self.post_json(&self.provider.device_token_url, &fields)?;
        let (status, headers, body) = self.send(request).await?;
        DevicePoll::parse(status, &body)
            .unwrap_or_else(|| Err(classify(Call::Other, status, &headers, &body)))
    }

    /// Whether the provider's host responds at all. No secret is sent.
    pub async fn reachable(&self) -> bool {
        self.probe_host(self.provider.issuer.clone()).await.status.is_ok()
    }

    /// Fetches the routing of a workspace. None if the provider states none. It spends nothing.
    pub async fn routing(
        &self,
        token: &AccessToken,
        account_id: &str,
    ) -> Result<Option<Routing>, ProviderError> {
        let url = format!("{}/wham/accounts/check", self.provider.chatgpt_backend_url.trim_end_matches('/'));
        let request = self
            .http
            .request(Method::GET, &url)?
            .bearer_auth(token.expose())
            .header("chatgpt-account-id", account_id)
            .header(header::USER_AGENT, &self.client.get().user_agent);
        let body = self.call(Call::Other, request).await?;
        match Routing::parse(&body, account_id, &self.provider.workspace_hosts) {
            None if !routing::is_account_list(&body) => Err(ProviderError::invalid("no list of accounts")),
            routing => Ok(routing),
        }
    }

    /// Fetches the usage limits of an account, with the headers of its profile. It spends nothing.
    pub async fn usage(
        &self,
        backend_url: &str,
        headers: impl Iterator<Item = (HeaderName, HeaderValue)>,
    ) -> Result<Bytes, ProviderError> {
        let url = format!("{}/wham/usage", backend_url.trim_end_matches('/'));
        let request = self.http.request(Method::GET, &url)?.headers(headers.collect());
        self.call(Call::Other, request.timeout(USAGE_TIMEOUT)).await
    }

    /// The issuer.
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }

    /// The built-in provider as a definition, with its standard endpoints.
    pub fn definition(&self) -> ProviderDefinition {
        ProviderDefinition::of_built_in(&self.provider)
    }

    /// Finds out what another provider offers. Sends no credential, and changes nothing.
    pub async fn discover(&self, start: Start) -> DiscoveryRun {
        network::discover(&self.http, start).await
    }

    /// The proxy and the CA in use, as text.
    pub fn egress_summary(&self) -> String {
        self.http.egress_summary()
    }

    /// The hosts that the daemon depends on.
    pub fn hosts(&self) -> Vec<String> {
        let Provider { issuer, chatgpt_base_url, api_base_url, .. } = &*self.provider;
        let urls = [issuer, chatgpt_base_url, api_base_url].into_iter();
        let mut hosts: Vec<String> =
            urls.filter_map(|url| Some(Url::parse(url).ok()?.origin().ascii_serialization())).collect();
        hosts.dedup();
        hosts
    }

    /// Sends a `HEAD` request to a host, with the client, proxy and CAs of every other call.
    pub async fn probe_host(&self, host: String) -> HostProbe {
        let started = Instant::now();
        let response = async {
            let request = self.http.request(Method::HEAD, &host)?.timeout(PROBE_TIMEOUT);
            request.send().await.map_err(|error| self.http.failure(error))
        };
        let response = response.await;
        let date = response.as_ref().ok().and_then(|response| response.headers().get(header::DATE));
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date.to_str().ok()?).ok());
        HostProbe {
            date: date.map(|date| date.timestamp()),
            status: response.map(|response| response.status().as_u16()),
            host,
            elapsed: started.elapsed(),
        }
    }

    /// The code and API-key exchanges carry no client identity, as recorded from the Codex CLI.
    fn post_form(&self, body: String) -> Result<RequestBuilder, ProviderError> {
        let request = self.http.request(Method::POST, &self.provider.token_url)?;
        // Secrets leave the process here: in the form body.
        Ok(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body))
    }

    /// A JSON body with these fields, in this order.
    fn post_json(&self, url: &str, fields: &[(&str, &str)]) -> Result<RequestBuilder, ProviderError> {
        let mut body = Vec::new();
        let mut serializer = serde_json::Serializer::new(&mut body);
        serializer.collect_map(fields.iter().copied()).expect("strings have a JSON form");
        let request = self.http.request(Method::POST, url)?;
        Ok(request
            .header(header::CONTENT_TYPE, "application/json")
            .header("originator", &self.client.get().originator)
            .header(header::USER_AGENT, &self.client.get().user_agent)
            .body(body))
    }

    async fn call(&self, call: Call, request: RequestBuilder) -> Result<Bytes, ProviderError> {
        let (status, headers, body) = self.send(request).await?;
        if status.is_success() { Ok(body) } else { Err(classify(call, status, &headers, &body)) }
    }

    async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, HeaderMap, Bytes), ProviderError> {
        let response = request.send().await.map_err(|error| self.http.failure(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, self.read(response).await?))
    }

    /// Reads the body chunk by chunk, to stop at the limit.
    async fn read(&self, mut response: Response) -> Result<Bytes, ProviderError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.http.response_failure(error))? {
            if body.len() + chunk.len() > MAX_RESPONSE {
                return Err(ProviderError::invalid("a response of more than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a Retry-After date is measured against the time of the response"
)]
fn classify(call: Call, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    error_response::classify(call, status, headers, body, Timestamp::now())
}
