//! The provider, called. Every request is the provider's own client's, byte for byte; every answer is read
//! within bounds and handed to a pure function.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header};
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response};
use serde::Serialize;
use url::Url;

use crate::{
    AccessToken, ApiKey, ClientIdentity, CodeAnswer, DevicePoll, DeviceStart, Exchange, IdToken, Network,
    NetworkError, Provider, ProviderError, RefreshAnswer, RefreshToken, Routing,
    answer::{self, Call},
    login::form,
    network::Http,
    token,
};

/// The longest answer that is read, in bytes: real ones have ten thousand.
const MAX_ANSWER: usize = 1 << 20;

/// How long a revocation may take: nothing depends on it but a person's patience.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the provider's host may take to show that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The provider's endpoints; a cheap handle.
#[derive(Clone, Debug)]
pub struct Endpoint {
    provider: Arc<Provider>,
    client: Arc<ClientIdentity>,
    http: Http,
}

/// What came of asking a host for nothing in particular.
#[derive(Debug)]
pub struct HostProbe {
    /// The host's URL.
    pub host: String,
    /// Its HTTP status, or why there is none.
    pub answer: Result<u16, ProviderError>,
    /// Its clock.
    pub date: Option<Timestamp>,
    /// How long it took.
    pub took: Duration,
}

impl Endpoint {
    /// The endpoints of this provider.
    pub fn new(provider: Provider, client: ClientIdentity, network: Network) -> Result<Self, NetworkError> {
        let http = Http::new(network)?;
        Ok(Self { provider: Arc::new(provider), client: Arc::new(client), http })
    }

    /// Redeems an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.5).
    pub async fn exchange_code(&self, exchange: Exchange) -> Result<CodeAnswer, ProviderError> {
        let body = form([
            ("grant_type", "authorization_code"),
            ("code", exchange.code.expose()),
            ("redirect_uri", &exchange.redirect_uri),
            ("client_id", &self.provider.client_id),
            ("code_verifier", exchange.verifier.expose()),
        ]);
        let body = self.call(Call::Other, self.post_form(body)?).await?;
        CodeAnswer::parse(&body)
    }

    /// Exchanges an id token for an API key (RFC 8693, section 2.1).
    pub async fn exchange_api_key(&self, id_token: &IdToken) -> Result<ApiKey, ProviderError> {
        let body = form([
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("client_id", &self.provider.client_id),
            ("requested_token", "openai-api-key"),
            ("subject_token", id_token.expose()),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ]);
        let body = self.call(Call::Other, self.post_form(body)?).await?;
        token::api_key(&body)
    }

    /// Spends a refresh token (RFC 6749, section 6). Must not be cancelled once it is sent.
    pub async fn refresh(&self, token: &RefreshToken) -> Result<RefreshAnswer, ProviderError> {
        #[derive(Serialize)]
        struct Body<'a> {
            client_id: &'a str,
            grant_type: &'a str,
            refresh_token: &'a str,
        }
        let body = Body {
            client_id: &self.provider.client_id,
            grant_type: "refresh_token",
            refresh_token: token.expose(),
        };
        let body = self.call(Call::Refresh, self.post_json(&self.provider.token_url, &body)?).await?;
        RefreshAnswer::parse(&body)
    }

    /// Revokes a grant (RFC 7009, section 2.1).
    pub async fn revoke(&self, token: &RefreshToken) -> Result<(), ProviderError> {
        #[derive(Serialize)]
        struct Body<'a> {
            token: &'a str,
            token_type_hint: &'a str,
            client_id: &'a str,
        }
        let body = Body {
            token: token.expose(),
            token_type_hint: "refresh_token",
            client_id: &self.provider.client_id,
        };
        let request = self.post_json(&self.provider.revoke_url, &body)?.timeout(REVOKE_TIMEOUT);
        self.call(Call::Other, request).await.map(drop)
    }

    /// Starts a device login.
    pub async fn device_start(&self) -> Result<DeviceStart, ProviderError> {
        #[derive(Serialize)]
        struct Body<'a> {
            client_id: &'a str,
        }
        let body = Body { client_id: &self.provider.client_id };
        let body = self.call(Call::Other, self.post_json(&self.provider.device_usercode_url, &body)?).await?;
        DeviceStart::parse(&body)
    }

    /// Asks whether the person is done.
    pub async fn device_poll(&self, start: &DeviceStart) -> Result<DevicePoll, ProviderError> {
        #[derive(Serialize)]
        struct Body<'a> {
            device_auth_id: &'a str,
            user_code: &'a str,
        }
        let body = Body { device_auth_id: &start.id, user_code: &start.user_code };
        let request = self.post_json(&self.provider.device_token_url, &body)?;
        let (status, headers, body) = self.exchange(request).await?;
        DevicePoll::parse(status, &body).unwrap_or_else(|| Err(failure(Call::Other, status, &headers, &body)))
    }

    /// Whether the provider's host answers at all. No secret is sent.
    pub async fn reachable(&self) -> bool {
        let Ok(request) = self.http.request(Method::HEAD, &self.provider.issuer) else { return false };
        request.timeout(PROBE_TIMEOUT).send().await.is_ok()
    }

    /// Where a workspace's requests go. It spends nothing.
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
            .header(header::USER_AGENT, &self.client.user_agent);
        let answer = request.send().await.map_err(|error| self.http.failure(error))?;
        if !answer.status().is_success() {
            return Ok(None);
        }
        let body = self.read(answer).await?;
        Ok(Routing::parse(&body, account_id, &self.provider.workspace_hosts))
    }

    /// How this machine gets out, for people.
    pub fn egress_summary(&self) -> String {
        self.http.egress_summary()
    }

    /// The hosts that everything depends on.
    pub fn hosts(&self) -> Vec<String> {
        let Provider { issuer, chatgpt_base_url, api_base_url, .. } = &*self.provider;
        let urls = [issuer, chatgpt_base_url, api_base_url].into_iter();
        let mut hosts: Vec<String> =
            urls.filter_map(|url| Some(Url::parse(url).ok()?.origin().ascii_serialization())).collect();
        hosts.dedup();
        hosts
    }

    /// Asks a host for nothing in particular, as every other call would: same client, proxy and CAs.
    pub async fn visit(&self, host: String) -> HostProbe {
        let started = Instant::now();
        let answer = async {
            let request = self.http.request(Method::HEAD, &host)?.timeout(PROBE_TIMEOUT);
            request.send().await.map_err(|error| self.http.failure(error))
        };
        let answer = answer.await;
        let date = answer.as_ref().ok().and_then(|answer| answer.headers().get(header::DATE)?.to_str().ok());
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp());
        HostProbe {
            answer: answer.map(|answer| answer.status().as_u16()),
            host,
            date,
            took: started.elapsed(),
        }
    }

    /// The code and API-key exchanges name no client, as recorded.
    fn post_form(&self, body: String) -> Result<RequestBuilder, ProviderError> {
        let request = self.http.request(Method::POST, &self.provider.token_url)?;
        // The first place where a secret leaves: the form body.
        Ok(request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body))
    }

    fn post_json(&self, url: &str, body: &impl Serialize) -> Result<RequestBuilder, ProviderError> {
        let body = serde_json::to_vec(body).expect("a struct of strings has a JSON form");
        let request = self.http.request(Method::POST, url)?;
        Ok(request
            .header(header::CONTENT_TYPE, "application/json")
            .header("originator", &self.client.originator)
            .header(header::USER_AGENT, &self.client.user_agent)
            .body(body))
    }

    async fn call(&self, call: Call, request: RequestBuilder) -> Result<Bytes, ProviderError> {
        let (status, headers, body) = self.exchange(request).await?;
        if status.is_success() { Ok(body) } else { Err(failure(call, status, &headers, &body)) }
    }

    async fn exchange(
        &self,
        request: RequestBuilder,
    ) -> Result<(StatusCode, HeaderMap, Bytes), ProviderError> {
        let response = request.send().await.map_err(|error| self.http.failure(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok((status, headers, self.read(response).await?))
    }

    /// The body, piece by piece, so that an endless one is noticed early.
    async fn read(&self, mut response: Response) -> Result<Bytes, ProviderError> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unread(error))? {
            if body.len() + piece.len() > MAX_ANSWER {
                return Err(ProviderError::InvalidResponse {
                    detail: "an answer of more than 1 MiB".to_owned(),
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.into())
    }

    /// An answer that breaks off was sent for: it is never the failure of an unsent request.
    fn unread(&self, error: reqwest::Error) -> ProviderError {
        match self.http.failure(error) {
            ProviderError::NotSent { detail } => ProviderError::NoResponse { detail },
            other => other,
        }
    }
}

/// Judges an answer by the time it arrived at.
#[expect(
    clippy::disallowed_methods,
    reason = "a Retry-After date is measured against the time of the answer"
)]
fn failure(call: Call, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    answer::failure(call, status, headers, body, Timestamp::now())
}
