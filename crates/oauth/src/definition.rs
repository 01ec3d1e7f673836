//! Provider definitions: any OAuth or OpenID Connect provider as data. A definition is validated
//! once, where it is read; a secret never stands in it.

mod check;
mod error;
mod raw;

use std::collections::BTreeMap;

pub use self::{error::InvalidDefinition, raw::RawDefinition};
pub use crate::scope::{MAX_SCOPES, is_scope};
use crate::{OauthClient, Provider};

/// The name of the built-in provider, which no definition may have.
pub const BUILT_IN: &str = "openai";

/// The redirect URI of a definition that names none.
pub const DEFAULT_REDIRECT_URI: &str = "http://127.0.0.1:{port}/callback";

/// Longest name of a provider, in characters.
const MAX_NAME: usize = 32;

/// A validated provider definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDefinition {
    /// Where the endpoints come from.
    pub source: ProviderSource,
    /// The configured client. Without one, the client is registered at the provider.
    pub client: Option<OauthClient>,
    /// Whether a client may be registered automatically.
    pub registration: Registration,
    /// The https URL of a client metadata document of the user.
    pub client_metadata_url: Option<String>,
    /// The scopes to request; empty for those that the provider suggests.
    pub scopes: Vec<String>,
    /// The resource indicator (RFC 8707).
    pub resource: Option<String>,
    /// The `audience` parameter that some providers use instead of a resource indicator.
    pub audience: Option<String>,
    /// Further parameters of the authorization request.
    pub authorize_params: BTreeMap<String, String>,
    /// The redirect URI, in which `{port}` stands for the port of the callback server.
    pub redirect_uri: String,
    /// The base URL of relayed requests.
    pub base_url: Option<String>,
    /// The URL that tells whether a token of the user's own is valid.
    pub check_url: Option<String>,
    /// The hosts that git may get the token for.
    pub git_hosts: Vec<String>,
    /// How a user registers a client, as text.
    pub registration_help: Option<String>,
}

/// Where the endpoints of a provider come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderSource {
    /// The metadata of this issuer (RFC 8414, OpenID Connect Discovery), exactly as written.
    Issuer(String),
    /// The definition itself.
    Endpoints(Endpoints),
    /// The metadata that an MCP server at this URL leads to.
    Mcp(String),
}

/// The endpoints of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The authorization endpoint (RFC 6749, section 3.1).
    pub authorize_url: String,
    /// The token endpoint (RFC 6749, section 3.2).
    pub token_url: String,
    /// The device authorization endpoint (RFC 8628).
    pub device_authorization_url: Option<String>,
    /// The revocation endpoint (RFC 7009).
    pub revocation_url: Option<String>,
    /// The registration endpoint (RFC 7591).
    pub registration_url: Option<String>,
}

/// Whether a client may be registered automatically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// The user registers the client.
    Never,
    /// By a client metadata document, else by dynamic registration (RFC 7591).
    Auto,
}

impl ProviderDefinition {
    /// The definition of an MCP server of which only the URL is known.
    pub fn of_mcp(url: &str) -> Self {
        Self::of_source(ProviderSource::Mcp(url.to_owned()), Registration::Auto)
    }

    /// The built-in provider, with those of its endpoints that the standards name.
    pub(crate) fn of_built_in(provider: &Provider) -> Self {
        let endpoints = Endpoints {
            authorize_url: provider.authorize_url.clone(),
            token_url: provider.token_url.clone(),
            revocation_url: Some(provider.revoke_url.clone()),
            ..Endpoints::default()
        };
        let client = OauthClient { id: provider.client_id.clone(), ..OauthClient::default() };
        Self {
            client: Some(client),
            scopes: provider.scopes.clone(),
            ..Self::of_source(ProviderSource::Endpoints(endpoints), Registration::Never)
        }
    }

    fn of_source(source: ProviderSource, registration: Registration) -> Self {
        Self {
            source,
            client: None,
            registration,
            client_metadata_url: None,
            scopes: Vec::new(),
            resource: None,
            audience: None,
            authorize_params: BTreeMap::new(),
            redirect_uri: DEFAULT_REDIRECT_URI.to_owned(),
            base_url: None,
            check_url: None,
            git_hosts: Vec::new(),
            registration_help: None,
        }
    }
}

/// Checks the name of a definition. The error continues a sentence that begins with the name.
pub fn check_provider_name(name: &str) -> Result<(), &'static str> {
    let is_allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    if name == BUILT_IN {
        return Err("is the built-in provider, which [provider] configures: use another name");
    }
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    if !starts_well || name.len() > MAX_NAME || !name.bytes().all(is_allowed) {
        return Err("is not a name of a provider: use at most 32 lower-case letters, digits, - and _");
    }
    Ok(())
}
