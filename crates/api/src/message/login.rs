//! The messages about signing in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Profile;
use crate::{Problem, ProfileName};

/// The body of `POST /v1/logins`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// The profile to sign in; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// How the person signs in.
    #[serde(default)]
    pub flow: Flow,
    /// Which kind of credential is wanted.
    #[serde(default)]
    pub mode: ModePreference,
    /// The only workspace (account id) to accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// Whether somebody else's sign-in under this name may be replaced.
    #[serde(default)]
    pub replace: bool,
    /// Whether the client will bring the redirect URL itself: then the callback server need not listen.
    #[serde(default)]
    pub paste: bool,
}

/// How the person signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// In a browser that returns to the callback server (authorization code with PKCE).
    #[default]
    Browser,
    /// On any device, with a code (device authorization).
    Device,
}

/// Which kind of credential a login is to end in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ModePreference {
    /// The plan decides.
    #[default]
    Auto,
    /// The access token.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// An API key by token exchange.
    ApiKey,
}

/// The body of `POST /v1/logins/{id}/callback`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CallbackBody {
    /// The redirect URL as the browser's address bar shows it, or just its code and state.
    pub url: String,
}

/// One login attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Login {
    /// Its id, `lg_…`; no secret.
    pub id: String,
    /// The profile it was started for; the result names the one it ended in.
    pub profile: ProfileName,
    /// How the person signs in.
    pub flow: Flow,
    /// How far it is.
    pub state: LoginState,
    /// Browser flow: the page to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// A loopback address of one use that redirects a browser to `authorize_url`, so that the URL is in no process list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_url: Option<String>,
    /// Browser flow: where the browser returns to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Device flow: the page to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_url: Option<String>,
    /// Device flow: the code to type there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// When it was started.
    #[cfg_attr(feature = "schema", schemars(with = "crate::openapi::Moment"))]
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[cfg_attr(feature = "schema", schemars(with = "crate::openapi::Moment"))]
    pub expires_at: Timestamp,
    /// Why it failed.
    pub error: Option<Problem>,
    /// Who is signed in now.
    pub result: Option<Profile>,
}

/// How far a login is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoginState {
    /// It waits for the person.
    Pending,
    /// The code is being exchanged.
    Exchanging,
    /// Done; `result` says who.
    Succeeded,
    /// Done; `error` says why not.
    Failed,
    /// Nobody came in time.
    Expired,
    /// Called off.
    Cancelled,
    /// A state that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

impl LoginState {
    /// Whether nothing more will happen to this login.
    pub fn is_final(self) -> bool {
        match self {
            Self::Pending | Self::Exchanging | Self::Unknown => false,
            Self::Succeeded | Self::Failed | Self::Expired | Self::Cancelled => true,
        }
    }
}
