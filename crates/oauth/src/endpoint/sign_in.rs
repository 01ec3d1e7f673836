//! The calls of a sign-in at a defined provider.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, header};
use jiff::Timestamp;
use serde::Deserialize;

use super::Endpoint;
use crate::{
    BearerGrant, BearerResponse, ClientAuth, DefinedDevicePoll, DefinedDeviceStart, Exchange, Identity,
    ProviderError, RegisteredClient, SignInClient, SignInPlan, Target,
    error_response::Call,
    form::form,
    sign_in::{identity_of_userinfo, registration_body},
};

/// Longest time for a registration: other logins that register a client wait for it.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for the identity: the tokens of the sign-in are saved after it.
const USERINFO_TIMEOUT: Duration = Duration::from_secs(5);

const DEVICE_CODE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

impl Endpoint {
    /// Registers a client at this URL (RFC 7591, section 3.1).
    pub async fn register(
        &self,
        target: &Target<'_>,
        url: &str,
        auth: ClientAuth,
        redirect_uris: &[String],
    ) -> Result<RegisteredClient, ProviderError> {
        let request = self.http.request_within(target.is_public_only(), Method::POST, url)?;
        let request = request
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .timeout(REGISTRATION_TIMEOUT)
            .body(registration_body(redirect_uris, auth, target.offers_device_flow()));
        RegisteredClient::parse(&self.call(Call::Other, request).await?, target.client_auth_methods())
    }

    /// The URL that the browser opens. If the server requires it, the parameters are sent to it
    /// first (RFC 9126, section 2), and the URL has a reference to them.
    pub async fn authorize_url(
        &self,
        client: &SignInClient,
        parameters: &[(String, String)],
    ) -> Result<String, ProviderError> {
        let plan = &client.plan;
        let fields: Vec<(&str, &str)> =
            parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let Some(url) = &plan.pushed_authorization_url else {
            return Ok(with_query(&plan.authorize_url, &form(fields)));
        };
        let request = self.authenticated(&plan.authority, client.secret.as_ref(), url, &fields).await?;
        let body = self.call_token_endpoint(Call::Other, request).await?;
        let PushedResponse { request_uri } = serde_json::from_slice(&body)
            .map_err(|_| ProviderError::invalid("a pushed authorization without the expected JSON"))?;
        let query = form([("client_id", plan.authority.client.id.as_str()), ("request_uri", &request_uri)]);
        Ok(with_query(&plan.authorize_url, &query))
    }

    /// Exchanges an authorization code (RFC 6749, section 4.1.3; RFC 7636, section 4.5).
    pub async fn exchange_bearer(
        &self,
        client: &SignInClient,
        exchange: Exchange,
        now: fn() -> Timestamp,
    ) -> Result<BearerResponse, ProviderError> {
        let fields = vec![
            ("grant_type", "authorization_code"),
            ("code", exchange.code.expose()),
            ("redirect_uri", &exchange.redirect_uri),
            ("code_verifier", exchange.verifier.expose()),
        ];
        BearerResponse::parse(&self.request_token(client, fields).await?, now())
    }

    /// Starts a device login (RFC 8628, section 3.1).
    pub async fn start_defined_device(
        &self,
        client: &SignInClient,
        url: &str,
    ) -> Result<DefinedDeviceStart, ProviderError> {
        let SignInPlan { authority, .. } = &client.plan;
        let scope = client.plan.scope();
        let mut fields: Vec<(&str, &str)> =
            scope.as_deref().map(|scope| ("scope", scope)).into_iter().collect();
        fields.extend(authority.resource_field());
        let request = self.authenticated(authority, client.secret.as_ref(), url, &fields).await?;
        DefinedDeviceStart::parse(&self.call_token_endpoint(Call::Other, request).await?)
    }

    /// Polls a device login once (RFC 8628, section 3.4).
    pub async fn poll_defined_device(
        &self,
        client: &SignInClient,
        start: &DefinedDeviceStart,
        pause: Duration,
        now: fn() -> Timestamp,
    ) -> Result<DefinedDevicePoll, ProviderError> {
        let fields = vec![("grant_type", DEVICE_CODE_GRANT), ("device_code", start.code.expose())];
        DefinedDevicePoll::of(self.request_token(client, fields).await, pause, now())
    }

    /// Sends a request to the token endpoint, for the resource of the sign-in.
    async fn request_token(
        &self,
        SignInClient { plan, secret }: &SignInClient,
        mut fields: Vec<(&str, &str)>,
    ) -> Result<Bytes, ProviderError> {
        let authority = &plan.authority;
        let resource = authority.resource_field();
        fields.extend(resource);
        let request = self.authenticated(authority, secret.as_ref(), &authority.token_url, &fields).await?;
        self.call_token_endpoint(Call::Other, request).await
    }

    /// The identity that the userinfo endpoint states (`OpenID` Connect Core, section 5.3).
    pub async fn userinfo(&self, url: &str, grant: &BearerGrant) -> Result<Option<Identity>, ProviderError> {
        let request = self.http.request_within(grant.authority.public_only, Method::GET, url)?;
        // The access token leaves the process here: to the server that issued it.
        let request = request
            .bearer_auth(grant.tokens.access_token.expose())
            .timeout(USERINFO_TIMEOUT)
            .header(header::ACCEPT, "application/json");
        Ok(identity_of_userinfo(&self.call(Call::Other, request).await?, &grant.authority))
    }
}

/// The response to a pushed authorization request (RFC 9126, section 2.2).
#[derive(Deserialize)]
struct PushedResponse {
    request_uri: String,
}

/// A URL with further parameters (RFC 6749, section 3.1: the endpoint may have a query of its own).
fn with_query(url: &str, query: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{query}")
}
