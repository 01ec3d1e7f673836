//! The messages, as plain structs without validation.
//!
//! Request bodies reject unknown fields. Response bodies ignore them, so that old clients can read
//! the responses of newer daemons.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::admin::{
    CodexBody, CodexHome, CodexHomeState, CodexHomes, Diagnosis, ExportBody, Finding, FindingState,
    ImportBody, LoginFile, LoginFileOutcome, MigrateBody, Migrated, Program,
};
pub use self::audit::{AuditAction, AuditEntry, AuditStatus, AuditTarget, Process};
pub use self::credential::{ApiKeyBody, Headers, RefreshBody, StoredCredential, TokenBody};
pub use self::fleet::{FleetState, FleetStatus, LocalStore};
pub use self::login::{CallbackBody, Flow, Login, LoginBody, LoginState, Logins, ModePreference};
pub use self::provider::{
    DiscoveryRequest, Provider, ProviderAspect, ProviderAspectState, ProviderBody, ProviderCheck,
    ProviderCheckBody, ProviderDefinedIn, Providers,
};
pub use self::quota::{Quota, QuotaCredits, QuotaWindow};
pub use self::share::{CreatedShare, Share, ShareAccess, ShareBody, ShareCompat, ShareDoor, Shares};
use crate::{Problem, ProfileName};

mod admin;
mod audit;
mod credential;
mod fleet;
mod login;
mod provider;
mod quota;
mod share;

/// The response to `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The daemon's process id.
    pub pid: u32,
    /// When the daemon started.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub started_at: Timestamp,
    /// The callback server that browsers return to.
    pub callback: CallbackStatus,
    /// The credential store.
    pub store: StoreStatus,
    /// The number of profiles; `null` while the store cannot be listed.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub profiles: Option<usize>,
    /// The number of logins that wait for the user.
    pub pending_logins: usize,
    /// The number of shares; `null` while their list cannot be read.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required))]
    pub shares: Option<usize>,
    /// The default profile.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub default_profile: Option<ProfileName>,
    /// The audit log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditStatus>,
    /// The model that the configuration selects for questions. Clients use it if the user selects
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The state of the callback server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CallbackStatus {
    /// Whether the server accepts browsers.
    pub state: CallbackState,
    /// The addresses that the server listens on.
    pub addresses: Vec<String>,
    /// Why the server does not listen, or which program uses its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether the callback server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    /// The server listens.
    Listening,
    /// The server released its port to another program for a short time.
    Yielded,
    /// The server has no port.
    Unavailable,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// The state of the credential store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoreStatus {
    /// The kind of store in use; `null` until one works.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub kind: Option<StoreKind>,
    /// Whether the store works.
    pub state: StoreState,
    /// Where the credentials are, or what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The error of the keychain, if the daemon chose files because of it since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// The store of this machine, if the profiles are in the database of a fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalStore>,
    /// The database of the fleet, if one is configured. While `kind` is another one, the profiles
    /// have not been moved there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetStatus>,
}

/// The kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// The operating system's keychain.
    Keychain,
    /// age-encrypted files in the state directory.
    File,
    /// Memory: credentials are lost when the daemon ends.
    Memory,
    /// A PostgreSQL database that the nodes of a fleet share.
    Postgres,
    /// A kind that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// Whether the store works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// The store works.
    Ready,
    /// The user has to unlock the store.
    Locked,
    /// The store does not respond, or does not return what was written.
    Unavailable,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// The kind of credential that a profile uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Access token and `chatgpt-account-id`, for the ChatGPT backend.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// API key, for the public API.
    ApiKey,
    /// Access token of a defined provider.
    Bearer,
    /// A mode that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// The response to `GET /v1/profiles`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Profiles {
    /// The default profile.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub default: Option<ProfileName>,
    /// All profiles, sorted by name.
    pub profiles: Vec<Profile>,
}

/// A signed-in identity. Contains no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Profile {
    /// The profile's name.
    pub name: ProfileName,
    /// Whether this is the default profile.
    pub default: bool,
    /// Whether the profile can be used.
    pub state: ProfileState,
    /// Whether the user has to sign in. The token may still be valid, so the state can be another
    /// one than `login_required`. Daemons before this field omit it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required))]
    pub sign_in_required: bool,
    /// The kind of credential that the profile uses.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub mode: Option<Mode>,
    /// Why the profile uses this kind.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub mode_reason: Option<String>,
    /// The user's email address.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub email: Option<String>,
    /// The plan, as the provider names it.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub plan: Option<String>,
    /// The workspace's account id.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub account_id: Option<String>,
    /// The API organisation's id.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub organization_id: Option<String>,
    /// The API project's id.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub project_id: Option<String>,
    /// Increases with every change of the credential.
    pub generation: u64,
    /// When the credential expires; `null` for an API key, and if the provider did not say so.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub expires_at: Option<Timestamp>,
    /// When the next refresh is due.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub refresh_at: Option<Timestamp>,
    /// When the last refresh or login succeeded.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub last_refresh: Option<Timestamp>,
    /// The last error, while it still applies.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub last_error: Option<Problem>,
    /// Whether the user supplied the credential: nothing renews it, and its user replaces it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[cfg_attr(feature = "openapi", schema(default = false))]
    pub own_credential: bool,
    /// The name of the provider, unless it is the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The issuer of the tokens, if the provider has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The resource that the tokens are for (RFC 8707).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The granted scopes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// The scopes that a server has asked for since the sign-in. A new sign-in requests them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing_scopes: Vec<String>,
    /// Why the daemon does not know where the workspace's requests go now. They go where they went
    /// before; the daemon repeats its request. Absent without such an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_error: Option<Problem>,
    /// The node of the fleet that renews the grant, while this node waits for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
}

/// Whether a profile can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProfileState {
    /// The daemon serves the credential from memory.
    Ready,
    /// The credential is valid, and a refresh runs.
    Refreshing,
    /// The token has expired. A refresh runs or waits for its retry.
    Expired,
    /// The user has to sign in.
    LoginRequired,
    /// The credential is valid, but the store has not saved the newest one yet.
    Unsaved,
    /// The store has not returned the profile's record yet.
    Unread,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

/// The body of `PATCH /v1/profiles/{profile}`, with at least one field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ProfilePatch {
    /// `true` makes the profile the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// The profile's new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ProfileName>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_a_later_version_is_unknown() {
        let read = |text: &str| serde_json::from_str::<ProfileState>(text).unwrap();
        assert_eq!(read("\"unread\""), ProfileState::Unread);
        assert_eq!(read("\"coined_later\""), ProfileState::Unknown);
    }
}
