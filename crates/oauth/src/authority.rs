//! The authorization server of a grant, and the client that the grant was made with.

use std::{path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;
use jiff::Timestamp;
use secrecy::zeroize::Zeroizing;
use serde::{Deserialize, Serialize};

use crate::{ClientSecret, RefreshResponse, RefreshToken, Tokens, form::form, scope::MAX_SCOPES};

/// What a grant of a defined provider needs for its refresh and its revocation, and what it allows.
///
/// It is stored with the grant. So a refresh depends neither on the configuration nor on discovery,
/// and a refresh token is only ever sent to the server that issued it. It holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The name of the provider's definition.
    pub provider: String,
    /// The issuer, if the provider has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The token endpoint (RFC 6749, section 3.2).
    pub token_url: String,
    /// The revocation endpoint (RFC 7009).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation_url: Option<String>,
    /// The client.
    pub client: OauthClient,
    /// The resource indicator (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The base URL of relayed requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// Whether no private address may be connected to: discovery began at a public one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public_only: bool,
    /// Whether the base URL is that of an MCP server.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mcp: bool,
    /// The scopes that the sign-in requested.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requested_scopes: Vec<String>,
    /// The scopes that the provider granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The scopes that a server has asked for since, and that the grant lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_scopes: Vec<String>,
}

/// A client as the authorization server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OauthClient {
    /// The client id.
    pub id: String,
    /// How the client authenticates.
    pub auth: ClientAuth,
    /// The file with the client's secret. Without one, an automatically registered client has its
    /// secret beside the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
}

/// How a client authenticates at the token endpoint (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// A public client: not at all.
    #[default]
    None,
    /// With its secret in the `Authorization` header.
    Basic,
    /// With its secret in the form body.
    Post,
}

/// The secrets of a grant of a defined provider.
#[derive(Clone, Debug)]
pub struct BearerGrant {
    /// The access token is the credential.
    pub tokens: Tokens,
    /// The secret of an automatically registered client.
    pub client_secret: Option<ClientSecret>,
    /// The server, the client and the scopes. Shared with its publisher.
    pub authority: Arc<Authority>,
}

impl Authority {
    /// Where a user id is unique: the provider and its issuer, or what else is known of its server.
    /// Users of two realms are two users, even if neither has an id.
    pub fn realm(&self) -> Box<str> {
        let places = [self.issuer.as_deref(), Some(&self.token_url), self.base_url.as_deref()];
        let place = places.into_iter().flatten().find(|place| !place.is_empty());
        format!("{} {}", self.provider, place.unwrap_or_default()).into()
    }

    /// Whether the token came from the user: it was issued to no client.
    pub fn is_of_own_token(&self) -> bool {
        self.client.id.is_empty()
    }

    /// The resource indicator as a field of a request, if there is one.
    pub(crate) fn resource_field(&self) -> Option<(&str, &str)> {
        self.resource.as_deref().map(|resource| ("resource", resource))
    }

    /// The host of the token endpoint, as [`crate::Endpoint::probe_host`] takes it.
    pub fn host(&self) -> Option<String> {
        Some(url::Url::parse(&self.token_url).ok()?.origin().ascii_serialization())
    }

    /// The scopes to request in a new sign-in of this grant: those of the last one, and those that
    /// are missing.
    pub fn wanted_scopes(&self) -> impl Iterator<Item = &String> {
        self.requested_scopes.iter().chain(&self.missing_scopes)
    }
}

impl BearerGrant {
    /// The refresh token, if any.
    pub fn refresh_token(&self) -> Option<&RefreshToken> {
        self.tokens.refresh_token.as_ref()
    }

    /// Records that a server asks for these scopes. Scopes that the sign-in has requested already
    /// are no reason for another one: the answer would be the same. Scopes beyond [`MAX_SCOPES`]
    /// are dropped. Returns whether anything changed.
    pub(crate) fn add_missing_scopes(&mut self, scopes: &[String]) -> bool {
        let before = self.authority.missing_scopes.len();
        for scope in scopes {
            let Authority { requested_scopes, missing_scopes, .. } = &*self.authority;
            let is_known = requested_scopes.contains(scope) || missing_scopes.contains(scope);
            if !is_known && missing_scopes.len() < MAX_SCOPES {
                Arc::make_mut(&mut self.authority).missing_scopes.push(scope.clone());
            }
        }
        self.authority.missing_scopes.len() > before
    }

    /// Merges a refresh response.
    pub(crate) fn merge(&mut self, response: RefreshResponse, now: Timestamp) {
        let scopes = self.tokens.merge_bearer(response, now);
        if let Some(scopes) = scopes.filter(|scopes| *scopes != self.authority.scopes) {
            Arc::make_mut(&mut self.authority).scopes = scopes;
        }
    }
}

/// How a client authenticates in a request: fields of the form body, or a header.
pub(crate) struct ClientFields<'a> {
    pub(crate) id: Option<(&'a str, &'a str)>,
    pub(crate) secret: Option<(&'a str, &'a str)>,
    pub(crate) authorization: Option<HeaderValue>,
}

/// The authentication of a client (RFC 6749, section 2.3.1).
pub(crate) fn client_fields<'a>(
    client: &'a OauthClient,
    secret: Option<&'a ClientSecret>,
) -> ClientFields<'a> {
    let id = Some(("client_id", client.id.as_str()));
    match (client.auth, secret) {
        (ClientAuth::Basic, Some(secret)) => {
            ClientFields { id: None, secret: None, authorization: Some(basic(&client.id, secret)) }
        }
        (ClientAuth::Post, Some(secret)) => {
            ClientFields { id, secret: Some(("client_secret", secret.expose())), authorization: None }
        }
        (ClientAuth::None, _) | (_, None) => ClientFields { id, secret: None, authorization: None },
    }
}

/// The id and the secret are form-encoded before they are joined.
fn basic(id: &str, secret: &ClientSecret) -> HeaderValue {
    let encoded = |text: &str| form([("", text)]).split_off(1);
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(&*pair)))
        .expect("base64 is a valid header value");
    value.set_sensitive(true);
    value
}
