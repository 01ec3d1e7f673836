//! The messages, as plain structs without validation.
//!
//! Request bodies reject unknown fields. Response bodies ignore them, so that old clients can read
//! the responses of newer daemons.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

pub use self::admin::{
    CodexBody, CodexHome, CodexHomeState, CodexHomes, Diagnosis, ExportBody, Finding, FindingState,
    ImportBody, LoginFile, LoginFileOutcome, MigrateBody, Migrated, Program,
};
pub use self::login::{CallbackBody, Flow, Login, LoginBody, LoginState, Logins, ModePreference};
pub use self::provider::{
    DiscoveryRequest, Provider, ProviderAspect, ProviderAspectState, ProviderCheck, ProviderCheckBody,
    ProviderDefinedIn, Providers,
};
pub use self::share::{CreatedShare, Share, ShareAccess, ShareBody, ShareCompat, ShareDoor, Shares};
use crate::{Problem, ProfileName};

mod admin;
mod login;
mod provider;
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
    /// When the credential expires; `null` for an API key.
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
    /// Why the daemon does not know where the workspace's requests go now. They go where they went
    /// before; the daemon repeats its request. Absent without such an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_error: Option<Problem>,
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

/// The body of `PUT /v1/profiles/{profile}/api-key`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyBody {
    /// The key: printable ASCII without spaces. Surrounding whitespace is removed.
    #[cfg_attr(feature = "openapi", schema(pattern = r"^\s*[!-~]+\s*$"))]
    pub api_key: String,
}

/// The body of `POST /v1/profiles/{profile}/refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// The generation that an upstream server rejected with 401. The daemon refreshes only if it is
    /// still the current one.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub rejected_generation: Option<u64>,
    /// The grant of the rejected generation, from `Headers`. The daemon ignores a rejection of
    /// another grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
}

/// Reads an integer as JSON Schema defines it: `143.0` is one, too.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else { return Ok(None) };
    // Above 2^53 a float does not say which integer it stands for.
    let exact = |number: &f64| number.fract() == 0.0 && (0.0..=MAX_EXACT).contains(number);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    let from_float = |number: f64| number as u64;
    let integer = number.as_u64().or_else(|| number.as_f64().filter(exact).map(from_float));
    integer.map(Some).ok_or_else(|| D::Error::custom("not an unsigned integer"))
}

/// The highest number below which a 64-bit float represents every integer.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// The headers of a request to the provider. No other response contains a secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Headers {
    /// The profile.
    pub profile: ProfileName,
    /// The kind of credential.
    pub mode: Mode,
    /// The base URL that accepts the headers.
    pub base_url: String,
    /// `{base_url}/responses`.
    pub responses_url: String,
    /// Pairs of name and value, in order.
    pub headers: Vec<(String, String)>,
    /// Increases with every change of the credential.
    pub generation: u64,
    /// The grant's random id, generated at sign-in. Together with the generation it identifies the
    /// credential.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required, default = ""))]
    pub grant_id: String,
    /// When the credential expires; `null` for an API key.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime, required))]
    pub expires_at: Option<Timestamp>,
}

impl Headers {
    /// The bearer token, for a library that builds the header itself. In ChatGPT mode the other
    /// headers are necessary, too.
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError};
    ///
    /// async fn token(client: &Client) -> Result<Option<String>, ClientError> {
    ///     let headers = client.headers(None, None).await?;
    ///     Ok(headers.token().map(str::to_owned))
    /// }
    /// ```
    pub fn token(&self) -> Option<&str> {
        self.value("authorization")?.strip_prefix("Bearer ")
    }

    /// The body of a refresh after an upstream server rejected these headers with 401. An older
    /// daemon sends no grant id and rejects the field, so it is omitted then.
    pub fn rejected(&self) -> RefreshBody {
        let grant_id = Some(self.grant_id.clone()).filter(|id| !id.is_empty());
        RefreshBody { rejected_generation: Some(self.generation), grant_id }
    }

    /// The value of a header. The name is case-insensitive.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Contains no secret.
impl fmt::Debug for ApiKeyBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyBody { [redacted] }")
    }
}

/// Contains no secret.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Headers { [redacted] }")
    }
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

    #[test]
    fn json_integer_may_have_a_fraction_of_zero() {
        let read =
            |text: &str| serde_json::from_str::<RefreshBody>(text).map(|body| body.rejected_generation);
        for (number, expected) in
            [("143", 143), ("143.0", 143), ("1.43e2", 143), ("-0.0", 0), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(read(&format!("{{\"rejected_generation\":{number}}}")).unwrap(), Some(expected));
        }
        assert_eq!(read("{}").unwrap(), None);
        assert_eq!(read("{\"rejected_generation\":null}").unwrap(), None);
        for number in ["143.5", "-1", "1e30", "\"143\"", "18446744073709551616"] {
            assert!(read(&format!("{{\"rejected_generation\":{number}}}")).is_err(), "{number}");
        }
    }

    #[test]
    fn rejection_contains_the_grant_id_if_the_daemon_sent_one() {
        let mut headers = serde_json::json!({"profile": "work", "mode": "chatgpt", "base_url": "",
            "responses_url": "", "headers": [], "generation": 7, "expires_at": null});
        let body = |headers: &serde_json::Value| {
            let headers: Headers = serde_json::from_value(headers.clone()).unwrap();
            serde_json::to_value(headers.rejected()).unwrap()
        };
        // An older daemon rejects an unknown field.
        assert_eq!(body(&headers), serde_json::json!({"rejected_generation": 7}));
        headers["grant_id"] = "g1".into();
        assert_eq!(body(&headers), serde_json::json!({"rejected_generation": 7, "grant_id": "g1"}));
    }
}
