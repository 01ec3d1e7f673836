//! What a provider offers and lacks for a definition, as lines for a user.

use super::{
    metadata::AuthorizationServer,
    steps::{Discovered, Found},
};
use crate::{
    ClientAuth, ClientSource, Target,
    definition::{Endpoints, ProviderDefinition, Registration},
};

/// Most scopes of the provider that a line lists.
const SHOWN_SCOPES: usize = 12;

/// One thing that a provider offers or lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aspect {
    /// What it is.
    pub name: &'static str,
    /// Whether the provider offers it.
    pub state: AspectState,
    /// The details.
    pub detail: String,
    /// What the user can do.
    pub remedy: Option<String>,
}

/// Whether a provider offers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AspectState {
    /// It does.
    Offered,
    /// It does not, or does not say so.
    Absent,
    /// Something is missing for a sign-in.
    Warning,
}

/// What the provider of this definition offers. Without a discovery the definition has the
/// endpoints.
pub fn report(definition: &ProviderDefinition, provider: Result<&Discovered, &Endpoints>) -> Vec<Aspect> {
    let metadata = provider.ok().map(|found| &found.server);
    let (mut aspects, endpoints) = match provider {
        Ok(found) => (origin(found), of_server(&found.server)),
        Err(endpoints) => {
            let detail = "the endpoints are defined by name, so authd discovers nothing".to_owned();
            (vec![absent("metadata", detail)], endpoints.clone())
        }
    };
    aspects.push(offered("authorization endpoint", endpoints.authorize_url.clone()));
    aspects.push(offered("token endpoint", endpoints.token_url.clone()));
    aspects.push(match provider {
        Ok(Discovered { found: Found::Metadata(_), .. }) => offered("PKCE", "S256".to_owned()),
        _ => absent("PKCE", "not stated; authd always sends a challenge with S256".to_owned()),
    });
    // Without a discovery the definition names the endpoints, so there is a target.
    let target = match provider {
        Ok(found) => Some(Target::of_discovered(definition, found.clone(), false)),
        Err(_) => Target::of_endpoints(definition),
    };
    let source = target.as_ref().map_or(ClientSource::Missing, Target::client_source);
    aspects.push(client_authentication(definition, &source, metadata));
    aspects.push(client_id(definition, source, metadata));
    let device = endpoints.device_authorization_url.clone();
    aspects.push(either("device flow", device, "not offered (RFC 8628)"));
    aspects.push(either("registration", endpoints.registration_url, "no dynamic registration (RFC 7591)"));
    aspects.push(scopes(target.as_ref().map(Target::scopes).unwrap_or_default(), metadata));
    let unknown = "not stated (RFC 9207)";
    let sends_issuer = metadata.is_some_and(|server| server.sends_issuer);
    aspects.push(either("iss", sends_issuer.then(|| "sent in the redirect (RFC 9207)".to_owned()), unknown));
    aspects.push(pushed_authorization(metadata));
    aspects.push(either(
        "revocation",
        endpoints.revocation_url,
        "not offered: a sign-out deletes the login here only",
    ));
    // Metadata does not say whether a provider supports resource indicators.
    let resource = target.as_ref().and_then(Target::resource);
    let resource = resource.map(|resource| format!("a sign-in would send {resource}"));
    aspects.push(either("resource indicator", resource, "a sign-in would send none (RFC 8707)"));
    aspects
}

fn of_server(server: &AuthorizationServer) -> Endpoints {
    Endpoints {
        authorize_url: server.authorize_url.clone(),
        token_url: server.token_url.clone(),
        device_authorization_url: server.device_authorization_url.clone(),
        revocation_url: server.revocation_url.clone(),
        registration_url: server.registration_url.clone(),
    }
}

fn origin(found: &Discovered) -> Vec<Aspect> {
    let mut aspects = Vec::new();
    if let Some(mcp) = &found.mcp {
        aspects.push(offered("MCP server", mcp.clone()));
        aspects.push(match &found.resource {
            Some(resource) => offered("resource metadata", format!("for {}", resource.resource)),
            None => absent("resource metadata", "none (RFC 9728)".to_owned()),
        });
    }
    aspects.push(offered("issuer", found.server.issuer.clone()));
    aspects.push(match &found.found {
        Found::Metadata(url) => offered("metadata", url.clone()),
        Found::DefaultPaths => {
            absent("metadata", "none; the default paths of MCP 2025-03-26 are used".to_owned())
        }
    });
    aspects
}

fn client_authentication(
    definition: &ProviderDefinition,
    source: &ClientSource,
    metadata: Option<&AuthorizationServer>,
) -> Aspect {
    const NAME: &str = "client authentication";
    let auth = match source {
        ClientSource::Known(client) => client.auth,
        // A registered client has the method that the registration gives it.
        ClientSource::Register { .. } | ClientSource::Missing => ClientAuth::None,
    };
    let (own, word) = match auth {
        ClientAuth::None => ("none", "none"),
        ClientAuth::Basic => ("client_secret_basic", "basic"),
        ClientAuth::Post => ("client_secret_post", "post"),
    };
    let methods = metadata.map(|server| server.client_auth_methods.as_slice()).unwrap_or_default();
    let is_configured = definition.client.is_some();
    match methods {
        [] => absent(NAME, format!("no methods stated; this definition uses {word}")),
        methods if !is_configured || methods.iter().any(|method| method == own) => {
            offered(NAME, methods.join(", "))
        }
        methods => Aspect {
            name: NAME,
            state: AspectState::Warning,
            detail: format!("the provider accepts {}, and this definition uses {word}", methods.join(", ")),
            remedy: Some("set client_auth and client_secret_file as the provider requires".to_owned()),
        },
    }
}

/// How this definition gets a client id: configured, by a client metadata document, by dynamic
/// registration, or not at all.
fn client_id(
    definition: &ProviderDefinition,
    source: ClientSource,
    metadata: Option<&AuthorizationServer>,
) -> Aspect {
    const NAME: &str = "client id";
    match source {
        ClientSource::Known(_) if definition.client.is_some() => offered(NAME, "configured".to_owned()),
        ClientSource::Known(client) => offered(NAME, format!("client metadata document {}", client.id)),
        ClientSource::Register { url, .. } => offered(NAME, format!("by dynamic registration at {url}")),
        ClientSource::Missing => {
            let accepts_url = metadata.is_some_and(|server| server.accepts_client_metadata_url);
            let is_auto = definition.registration == Registration::Auto;
            let detail = match (is_auto, accepts_url) {
                (true, true) => "the provider takes a client metadata document, and this definition has none",
                (true, false) => "the provider has no automatic registration",
                (false, _) => "none is configured",
            };
            let default = "register a client at the provider, and set client_id in [providers.NAME]";
            let remedy = definition.registration_help.clone().unwrap_or_else(|| default.to_owned());
            Aspect {
                name: NAME,
                state: AspectState::Warning,
                detail: detail.to_owned(),
                remedy: Some(remedy),
            }
        }
    }
}

/// The scopes of a sign-in, beside those that the provider lists.
fn scopes(requested: &[String], metadata: Option<&AuthorizationServer>) -> Aspect {
    const NAME: &str = "scopes";
    let offered_scopes = metadata.map(|server| server.scopes.as_slice()).unwrap_or_default();
    let unknown: Vec<&str> = requested
        .iter()
        .filter(|scope| !offered_scopes.is_empty() && !offered_scopes.contains(scope))
        .map(String::as_str)
        .collect();
    let shown = match offered_scopes {
        [] => "the provider lists none".to_owned(),
        scopes if scopes.len() <= SHOWN_SCOPES => format!("the provider lists {}", scopes.join(" ")),
        scopes => {
            let more = scopes.len() - SHOWN_SCOPES;
            format!("the provider lists {} and {more} more", scopes[..SHOWN_SCOPES].join(" "))
        }
    };
    let own = if requested.is_empty() { "none".to_owned() } else { requested.join(" ") };
    let detail = format!("a sign-in would request {own}; {shown}");
    if unknown.is_empty() {
        return offered(NAME, detail);
    }
    let remedy = format!("check the spelling: the provider does not list {}", unknown.join(" "));
    Aspect { name: NAME, state: AspectState::Warning, detail, remedy: Some(remedy) }
}

fn pushed_authorization(metadata: Option<&AuthorizationServer>) -> Aspect {
    let url = metadata.and_then(|server| server.pushed_authorization_url.as_deref());
    let required = metadata.is_some_and(|server| server.requires_pushed_authorization);
    let required = if required { "required" } else { "not required" };
    let detail = url.map(|url| format!("{url}, {required}"));
    either("pushed authorization", detail, "not offered (RFC 9126)")
}

fn either(name: &'static str, detail: Option<String>, otherwise: &str) -> Aspect {
    detail.map_or_else(|| absent(name, otherwise.to_owned()), |detail| offered(name, detail))
}

fn offered(name: &'static str, detail: String) -> Aspect {
    Aspect { name, state: AspectState::Offered, detail, remedy: None }
}

fn absent(name: &'static str, detail: String) -> Aspect {
    Aspect { name, state: AspectState::Absent, detail, remedy: None }
}
