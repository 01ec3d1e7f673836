//! The messages about providers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The response to `GET /v1/providers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Providers {
    /// The built-in provider, those of the configuration, those that were added, then the
    /// templates.
    pub providers: Vec<Provider>,
}

/// A provider that authd knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Where it is defined.
    pub defined_in: ProviderDefinedIn,
    /// The issuer, if the definition names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The URL of the MCP server, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<String>,
    /// The authorization endpoint, if the definition names the endpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// The hosts that git may get the token for.
    #[serde(default)]
    pub git_hosts: Vec<String>,
    /// Why the definition is not used. Only one that was added can have this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The body of `PUT /v1/providers/{name}`: the definition of an MCP server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProviderBody {
    /// The URL of the MCP server. Everything else is discovered.
    pub mcp: String,
    /// The id of a client that the user has registered; without it, the client is registered
    /// automatically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The absolute path of the file with that client's secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, pattern = "^/"))]
    pub client_secret_file: Option<PathBuf>,
    /// The https URL of a client metadata document of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_metadata_url: Option<String>,
    /// The scopes to request; if empty, those that the provider suggests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The redirect URI, in which `{port}` stands for the port of the callback server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// Where a provider is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProviderDefinedIn {
    /// In authd.
    BuiltIn,
    /// In the configuration file.
    Configuration,
    /// At run time, with `PUT /v1/providers/{name}`.
    Added,
    /// In authd, as a template for a definition: it lacks a client id.
    Template,
    /// In a place that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// The body of `POST /v1/providers/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProviderCheckBody {
    /// The name of a provider, or the URL of an issuer or an MCP server.
    pub provider: String,
}

/// The response to `POST /v1/providers/check`: what a provider offers and lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderCheck {
    /// The name or the URL of the request.
    pub provider: String,
    /// Whether discovery succeeded.
    pub ok: bool,
    /// Whether a failed discovery may succeed later without a change.
    #[serde(default)]
    pub transient: bool,
    /// The requests that discovery sent, in their order.
    pub requests: Vec<DiscoveryRequest>,
    /// What the provider offers and lacks.
    pub aspects: Vec<ProviderAspect>,
}

/// A request of discovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DiscoveryRequest {
    /// The method: `GET`, or `POST` for the `ping` to an MCP server.
    pub method: String,
    /// The URL.
    pub url: String,
    /// The status of the response; absent if there was no usable one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// One thing that a provider offers or lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProviderAspect {
    /// What it is: `issuer`, `PKCE`, `device flow` …
    pub aspect: String,
    /// Whether the provider offers it.
    pub state: ProviderAspectState,
    /// The details.
    pub detail: String,
    /// What the user can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Whether a provider offers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProviderAspectState {
    /// It does.
    Offered,
    /// It does not, or does not say so. A sign-in works without it.
    Absent,
    /// Something is missing for a sign-in.
    Warning,
    /// Discovery failed.
    Failed,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}
