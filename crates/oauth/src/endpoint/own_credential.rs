//! Requests with a credential that a user supplies, before it is stored. They change nothing at the
//! provider.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use jiff::Timestamp;
use reqwest::{RequestBuilder, Response};

use super::Endpoint;
use crate::{
    AccessToken, ApiKey, Authority, Identity, ProviderError,
    own_credential::{self, Answer, CheckError, CheckedToken, KeyState, TokenCheck},
};

/// Longest time for a check: the user waits for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for the end of the MCP session that a check may have opened.
const SESSION_END_TIMEOUT: Duration = Duration::from_secs(2);

/// The first request of an MCP client. A server may open a session for it.
const INITIALIZE: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","#,
    r#""capabilities":{},"clientInfo":{"name":"authd","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}}"#
);

const MCP_SESSION: &str = "mcp-session-id";

/// GitHub refuses requests without a user agent.
const USER_AGENT: &str = concat!("authd/", env!("CARGO_PKG_VERSION"));

impl Endpoint {
    /// Asks OpenAI whose personal access token this is, as the Codex CLI does.
    pub async fn whoami(&self, token: &AccessToken, now: fn() -> Timestamp) -> Result<Identity, CheckError> {
        let client = self.client.get();
        let request = self.http.request(Method::GET, &self.provider.whoami_url)?;
        let request = request
            .bearer_auth(token.expose())
            .header("originator", &client.originator)
            .header(header::USER_AGENT, &client.user_agent);
        own_credential::whoami(&self.answer(request).await?, now())
    }

    /// Requests the list of models with an API key.
    pub async fn check_api_key(&self, key: &ApiKey, now: fn() -> Timestamp) -> Result<KeyState, CheckError> {
        let url = format!("{}/models", self.provider.api_base_url);
        // The key leaves the process here: to the API that it is for.
        let request = self.http.request(Method::GET, &url)?.bearer_auth(key.expose());
        let request = request.header(header::USER_AGENT, &self.client.get().user_agent);
        own_credential::api_key(key, &self.answer(request).await?, now())
    }

    /// Makes one request with the token of a defined provider.
    pub async fn check_token(
        &self,
        check: &TokenCheck,
        token: &AccessToken,
        authority: &Authority,
        now: fn() -> Timestamp,
    ) -> Result<CheckedToken, CheckError> {
        let request = |method, url: &str| {
            let request = self.http.request_within(authority.public_only, method, url)?;
            // The token leaves the process here: to a server that the definition names or leads to.
            let request = request.bearer_auth(token.expose()).header(header::USER_AGENT, USER_AGENT);
            Ok::<_, ProviderError>(request)
        };
        let answer = match check {
            TokenCheck::CheckUrl(url) | TokenCheck::Userinfo(url) | TokenCheck::BaseUrl(url) => {
                let request = request(Method::GET, url)?.header(header::ACCEPT, "application/json");
                self.answer(request).await?
            }
            TokenCheck::Mcp(url) => {
                let initialize = request(Method::POST, url)?
                    .header(header::ACCEPT, "application/json, text/event-stream")
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(INITIALIZE);
                let response = self.respond(initialize).await?;
                if let Some(session) = response.headers().get(MCP_SESSION) {
                    let end = request(Method::DELETE, url)?.header(MCP_SESSION, session);
                    // A server may refuse it, and ends an idle session by itself.
                    drop(end.timeout(SESSION_END_TIMEOUT).send().await);
                }
                // The body of a success is not needed, and may be a stream that does not end.
                let needs_body = !response.status().is_success();
                self.read_answer(response, needs_body).await?
            }
        };
        own_credential::token(check, token, &answer, authority, now())
    }

    async fn respond(&self, request: RequestBuilder) -> Result<Response, ProviderError> {
        request
            .timeout(CHECK_TIMEOUT.min(self.http.timeout()))
            .send()
            .await
            .map_err(|error| self.http.failure(error))
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Answer, ProviderError> {
        let response = self.respond(request).await?;
        self.read_answer(response, true).await
    }

    async fn read_answer(&self, response: Response, needs_body: bool) -> Result<Answer, ProviderError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body = if needs_body { self.read(response).await? } else { Bytes::new() };
        Ok(Answer { status, headers, body })
    }
}
