//! Plain structs for every message of the contract. They carry no rules: what may be in them is decided
//! where they are made.
//!
//! Bodies of requests refuse unknown fields; bodies of answers ignore them, so that old clients read
//! newer daemons.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::login::{CallbackBody, Flow, Login, LoginBody, LoginState, ModePreference};
pub use self::upkeep::{
    CodexBody, Diagnosis, ExportBody, Finding, FindingState, ImportBody, LoginFile, LoginFileOutcome,
    MigrateBody, Migrated, Program,
};
use crate::{Problem, ProfileName};

mod login;
mod upkeep;

/// `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    #[cfg_attr(feature = "schema", schemars(with = "crate::openapi::Moment"))]
    pub started_at: Timestamp,
    /// The callback server that browsers return to.
    pub callback: CallbackStatus,
    /// Where credentials are kept.
    pub store: StoreStatus,
    /// How many profiles there are; unknown while the store cannot be listed.
    pub profiles: Option<usize>,
    /// How many logins wait for their person.
    pub pending_logins: usize,
    /// The profile used when none is named.
    pub default_profile: Option<ProfileName>,
    /// The model that the configuration names for questions; clients without a wish of their own use it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// The callback server, as [`Status`] shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallbackStatus {
    /// Whether a browser would be answered.
    pub state: CallbackState,
    /// The addresses it listens on.
    pub addresses: Vec<String>,
    /// Why it does not listen, or who holds its port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// Whether the callback server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallbackState {
    /// It listens.
    Listening,
    /// It gave its port to another program for a short while.
    Yielded,
    /// It has no port.
    Unavailable,
    /// A state that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// The credential store, as [`Status`] shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoreStatus {
    /// Which store is in use; absent until one answered.
    pub kind: Option<StoreKind>,
    /// Whether it answers.
    pub state: StoreState,
    /// Why this store, or what is wrong with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// The kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// The operating system's keychain.
    Keychain,
    /// age-encrypted files in the state directory.
    File,
    /// Nothing survives the daemon.
    Memory,
    /// A kind that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// Whether the store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// It answers truthfully.
    Ready,
    /// It wants to be unlocked by a person.
    Locked,
    /// It does not answer, or not truthfully.
    Unavailable,
    /// A state that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// The credential a profile uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Access token and `chatgpt-account-id`, for the ChatGPT backend.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// API key, for the public API.
    ApiKey,
    /// A mode that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// `GET /v1/profiles`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Profiles {
    /// The profile used when none is named.
    pub default: Option<ProfileName>,
    /// All of them, by name.
    pub profiles: Vec<Profile>,
}

/// One signed-in identity. Never a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// Whether it is the default one.
    pub default: bool,
    /// Whether it can be used.
    pub state: ProfileState,
    /// The credential it uses.
    pub mode: Option<Mode>,
    /// Why that one.
    pub mode_reason: Option<String>,
    /// Who.
    pub email: Option<String>,
    /// The plan, as the provider names it.
    pub plan: Option<String>,
    /// The workspace.
    pub account_id: Option<String>,
    /// The API organisation.
    pub organization_id: Option<String>,
    /// The API project.
    pub project_id: Option<String>,
    /// Counts up with every change of the credential.
    pub generation: u64,
    /// When the credential expires; absent for an API key.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::Moment>"))]
    pub expires_at: Option<Timestamp>,
    /// When the next refresh is due.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::Moment>"))]
    pub refresh_at: Option<Timestamp>,
    /// When the last refresh succeeded, or the login.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::Moment>"))]
    pub last_refresh: Option<Timestamp>,
    /// What went wrong last, while it still matters.
    pub last_error: Option<Problem>,
}

/// Whether a profile can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProfileState {
    /// It answers from memory.
    Ready,
    /// It answers, and a refresh runs.
    Refreshing,
    /// Its token has run out; a refresh is on its way or waits for the provider.
    Expired,
    /// A person has to sign in.
    LoginRequired,
    /// It answers, but the store has not taken the newest credential yet.
    Unsaved,
    /// Its record has not been read yet: the store does not give it.
    Unread,
    /// A state that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

/// The body of `PATCH /v1/profiles/{profile}`: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", schemars(transform = crate::openapi::one_at_least))]
pub struct ProfilePatch {
    /// `true`: make it the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::True>"))]
    pub default: Option<bool>,
    /// Its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ProfileName>,
}

/// The body of `PUT /v1/profiles/{profile}/api-key`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ApiKeyBody {
    /// The key: one word of printable ASCII letters; space around it is taken off.
    #[cfg_attr(feature = "schema", schemars(regex(pattern = r"^\s*[!-~]+\s*$")))]
    pub api_key: String,
}

/// The body of `POST /v1/profiles/{profile}/refresh`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RefreshBody {
    /// The generation that an upstream refused with 401: refresh only if it is still the current one.
    /// Written without a fraction, even one of zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected_generation: Option<u64>,
    /// The grant that the rejected generation belongs to, as Headers tells it; another grant's rejection is
    /// ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_id: Option<String>,
}

/// Ready headers. The one message that carries a secret.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Headers {
    /// The profile they belong to.
    pub profile: ProfileName,
    /// The credential they carry.
    pub mode: Mode,
    /// The base URL they are good for.
    pub base_url: String,
    /// `{base_url}/responses`.
    pub responses_url: String,
    /// Ordered pairs of name and value.
    pub headers: Vec<(String, String)>,
    /// Counts up with every change of the credential.
    pub generation: u64,
    /// Random id of the grant, made at sign-in; with the generation it names the credential.
    #[serde(default)]
    pub grant_id: String,
    /// When they stop working; absent for an API key.
    #[cfg_attr(feature = "schema", schemars(with = "Option<crate::openapi::Moment>"))]
    pub expires_at: Option<Timestamp>,
}

impl Headers {
    /// The bare bearer token, for a library that makes the header itself. In ChatGPT mode the other
    /// headers are needed as well.
    ///
    /// ```no_run
    /// use authd_api::{Client, ClientError};
    ///
    /// async fn token(client: &Client) -> Result<Option<String>, ClientError> {
    ///     let ready = client.headers(None, None).await?;
    ///     Ok(ready.token().map(str::to_owned))
    /// }
    /// ```
    pub fn token(&self) -> Option<&str> {
        self.value("authorization")?.strip_prefix("Bearer ")
    }

    /// The body of a [refresh](crate::Client::refresh) after an upstream refused these headers with 401. A
    /// daemon that tells no grant knows no such field, so none is sent to it.
    pub fn rejected(&self) -> RefreshBody {
        let grant_id = Some(self.grant_id.clone()).filter(|id| !id.is_empty());
        RefreshBody { rejected_generation: Some(self.generation), grant_id }
    }

    /// The value of one header, its name in any case.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

// The three messages with a secret in them have a Debug that says nothing.
macro_rules! silent_debug {
    ($($message:ident),*) => {$(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), " { [redacted] }"))
            }
        }
    )*};
}
silent_debug!(CallbackBody, ApiKeyBody, Headers);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_this_version_does_not_know_is_unknown() {
        let read = |text: &str| serde_json::from_str::<ProfileState>(text).unwrap();
        assert_eq!(read("\"unread\""), ProfileState::Unread);
        assert_eq!(read("\"coined_later\""), ProfileState::Unknown);
    }

    #[test]
    fn a_rejection_names_the_grant_if_the_daemon_tells_one() {
        let mut headers = serde_json::json!({"profile": "work", "mode": "chatgpt", "base_url": "",
            "responses_url": "", "headers": [], "generation": 7, "expires_at": null});
        let body = |headers: &serde_json::Value| {
            let headers: Headers = serde_json::from_value(headers.clone()).unwrap();
            serde_json::to_value(headers.rejected()).unwrap()
        };
        // An older daemon refuses a field that it does not know.
        assert_eq!(body(&headers), serde_json::json!({"rejected_generation": 7}));
        headers["grant_id"] = "g1".into();
        assert_eq!(body(&headers), serde_json::json!({"rejected_generation": 7, "grant_id": "g1"}));
    }
}
