//! A sign-in at a defined provider: which server, which client, which scopes.

mod device;
mod identity;
mod registration;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

pub use self::{
    device::{DefinedDevicePoll, DefinedDeviceStart},
    identity::{IdTokenError, identity_of_id_token},
    registration::RegisteredClient,
};
pub(crate) use self::{identity::identity_of_userinfo, registration::registration_body};
use crate::{
    Authority, ClientAuth, ClientSecret, OauthClient,
    definition::{Endpoints, ProviderDefinition, ProviderSource, Registration},
    discovery::{AuthorizationServer, Discovered},
};

/// The scope of a refresh token (`OpenID` Connect Core, section 11).
const OFFLINE_ACCESS: &str = "offline_access";

/// The authorization server of a definition, after discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'d> {
    definition: &'d ProviderDefinition,
    server: AuthorizationServer,
    /// Whether the server has an issuer.
    is_discovered: bool,
    /// The URL of the MCP server, if it is one.
    mcp: Option<String>,
    resource: Option<String>,
    /// The scopes that the provider suggests.
    suggested_scopes: Vec<String>,
    public_only: bool,
}

/// How a sign-in gets its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSource {
    /// The client is known: it is configured, or its id is the URL of its metadata document.
    Known(OauthClient),
    /// The client is registered at this URL (RFC 7591), unless that has happened before.
    Register {
        /// The registration endpoint.
        url: String,
        /// How the client is to authenticate.
        auth: ClientAuth,
    },
    /// The user has to register a client.
    Missing,
}

/// What a pending sign-in at a defined provider needs. It holds no secret, and is stored with the
/// login.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignInPlan {
    /// What the grant will keep.
    pub authority: Authority,
    /// The authorization endpoint (RFC 6749, section 3.1).
    pub authorize_url: String,
    /// The endpoint of pushed authorization requests, if they are required (RFC 9126).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed_authorization_url: Option<String>,
    /// The device authorization endpoint (RFC 8628).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_authorization_url: Option<String>,
    /// The userinfo endpoint (`OpenID` Connect Core, section 5.3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userinfo_url: Option<String>,
    /// Whether the redirect must name the issuer (RFC 9207).
    #[serde(default)]
    pub sends_issuer: bool,
    /// The key of the registration, if the client was registered automatically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<String>,
    /// Further parameters of the authorization request.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
}

/// A plan, and the secret of an automatically registered client.
#[derive(Clone, Debug)]
pub struct SignInClient {
    /// The plan.
    pub plan: SignInPlan,
    /// The client's secret.
    pub secret: Option<ClientSecret>,
}

impl<'d> Target<'d> {
    /// The target of a definition that names its endpoints. `None` if it needs discovery.
    pub fn of_endpoints(definition: &'d ProviderDefinition) -> Option<Self> {
        let ProviderSource::Endpoints(endpoints) = &definition.source else { return None };
        let Endpoints {
            authorize_url,
            token_url,
            device_authorization_url,
            revocation_url,
            registration_url,
        } = endpoints.clone();
        let server = AuthorizationServer {
            authorize_url,
            token_url,
            device_authorization_url,
            registration_url,
            revocation_url,
            ..AuthorizationServer::default()
        };
        Some(Self {
            definition,
            server,
            is_discovered: false,
            mcp: None,
            resource: definition.resource.clone(),
            suggested_scopes: Vec::new(),
            public_only: false,
        })
    }

    /// The target that discovery found. With `public_only`, discovery began at a public address.
    pub fn of_discovered(definition: &'d ProviderDefinition, found: Discovered, public_only: bool) -> Self {
        let Discovered { server, resource, mcp, challenge_scopes, .. } = found;
        let of_resource = resource.as_ref().map(|resource| resource.resource.clone());
        let indicator = of_resource.or_else(|| mcp.as_deref().map(without_query));
        let of_metadata = resource.map(|resource| resource.scopes).unwrap_or_default();
        let mut suggested_scopes = challenge_scopes.unwrap_or(of_metadata);
        // Without it, some servers issue no refresh token. It must not be the only scope.
        let offers_offline = server.scopes.iter().any(|scope| scope == OFFLINE_ACCESS);
        if offers_offline && !suggested_scopes.is_empty() {
            suggested_scopes.push(OFFLINE_ACCESS.to_owned());
        }
        Self {
            definition,
            server,
            is_discovered: true,
            resource: definition.resource.clone().or(indicator),
            mcp,
            suggested_scopes,
            public_only,
        }
    }

    /// Where clients are told apart: the issuer, else the token endpoint.
    pub fn issuer(&self) -> &str {
        if self.is_discovered { &self.server.issuer } else { &self.server.token_url }
    }

    /// Where the client comes from: the definition, a metadata document, or a registration.
    pub fn client_source(&self) -> ClientSource {
        let offers = |method: &str| self.server.client_auth_methods.iter().any(|offered| offered == method);
        if let Some(client) = &self.definition.client {
            let mut client = client.clone();
            // Basic is the default of a definition, too.
            if client.auth == ClientAuth::Basic
                && !offers("client_secret_basic")
                && offers("client_secret_post")
            {
                client.auth = ClientAuth::Post;
            }
            return ClientSource::Known(client);
        }
        let is_automatic = self.definition.registration == Registration::Auto;
        match (&self.definition.client_metadata_url, &self.server.registration_url) {
            (Some(url), _) if self.server.accepts_client_metadata_url => {
                ClientSource::Known(OauthClient { id: url.clone(), ..OauthClient::default() })
            }
            (_, Some(url)) if is_automatic => {
                let auth = if self.server.client_auth_methods.is_empty() || offers("none") {
                    ClientAuth::None
                } else if offers("client_secret_basic") {
                    ClientAuth::Basic
                } else {
                    ClientAuth::Post
                };
                ClientSource::Register { url: url.clone(), auth }
            }
            _ => ClientSource::Missing,
        }
    }

    /// The scopes that a sign-in requests by itself: the definition's, else the suggested ones.
    pub(crate) fn scopes(&self) -> &[String] {
        let own = &self.definition.scopes;
        if own.is_empty() { &self.suggested_scopes } else { own }
    }

    /// The resource indicator that a sign-in sends.
    pub(crate) fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }

    /// How a user registers a client, if the definition says so.
    pub fn registration_help(&self) -> Option<&str> {
        self.definition.registration_help.as_deref()
    }

    /// The methods of client authentication that the server offers.
    pub fn client_auth_methods(&self) -> &[String] {
        &self.server.client_auth_methods
    }

    /// Whether the server offers the device flow.
    pub fn offers_device_flow(&self) -> bool {
        self.server.device_authorization_url.is_some()
    }

    /// The userinfo endpoint (`OpenID` Connect Core, section 5.3).
    pub fn userinfo_url(self) -> Option<String> {
        self.server.userinfo_url
    }

    /// Whether no private address may be connected to.
    pub fn is_public_only(&self) -> bool {
        self.public_only
    }

    /// The plan of a sign-in with this client. The further scopes are those that the caller asks
    /// for.
    pub fn plan(
        self,
        provider: &str,
        client: OauthClient,
        registration: Option<String>,
        further_scopes: impl IntoIterator<Item = String>,
    ) -> SignInPlan {
        let mut scopes = self.scopes().to_vec();
        let Self { definition, server, is_discovered, mcp, resource, public_only, .. } = self;
        for scope in further_scopes {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
        }
        let mut params = definition.authorize_params.clone();
        params.extend(definition.audience.clone().map(|audience| ("audience".to_owned(), audience)));
        SignInPlan {
            authority: Authority {
                provider: provider.to_owned(),
                issuer: is_discovered.then_some(server.issuer),
                token_url: server.token_url,
                revocation_url: server.revocation_url,
                client,
                resource,
                is_mcp: mcp.is_some(),
                base_url: definition.base_url.clone().or(mcp),
                public_only,
                requested_scopes: scopes,
                ..Authority::default()
            },
            authorize_url: server.authorize_url,
            pushed_authorization_url: server
                .pushed_authorization_url
                .filter(|_| server.requires_pushed_authorization),
            device_authorization_url: server.device_authorization_url,
            userinfo_url: server.userinfo_url,
            sends_issuer: server.sends_issuer,
            registration,
            params,
        }
    }
}

impl SignInPlan {
    /// The requested scopes as one parameter; `None` without any.
    pub(crate) fn scope(&self) -> Option<String> {
        let scopes = &self.authority.requested_scopes;
        (!scopes.is_empty()).then(|| scopes.join(" "))
    }
}

/// A resource indicator has no query and no fragment here (RFC 8707, section 2).
fn without_query(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else { return url.to_owned() };
    if parsed.query().is_none() && parsed.fragment().is_none() {
        return url.to_owned();
    }
    parsed.set_query(None);
    parsed.set_fragment(None);
    parsed.into()
}
