//! The messages of logins.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Profile;
use crate::{Problem, ProfileName};

/// The body of `POST /v1/logins`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct LoginBody {
    /// The profile to sign in. If absent, that of the provider's name, or `default` for the
    /// built-in provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// How the user signs in.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = Flow::default))]
    pub flow: Flow,
    /// The kind of credential.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = ModePreference::default))]
    pub mode: ModePreference,
    /// The only workspace (account id) to accept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The provider. If absent, that of the profile, if it exists, else the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Scopes to request besides those of the provider's definition, and besides those that an
    /// earlier sign-in of the profile requested or that a server has asked for since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(default = Vec::<String>::new))]
    pub scopes: Vec<String>,
    /// Whether the login may replace another user's profile of this name.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = false))]
    pub replace: bool,
    /// Whether the client submits the redirect URL itself. Then the callback server need not
    /// listen.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(default = false))]
    pub paste: bool,
}

/// How the user signs in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Flow {
    /// In a browser that returns to the callback server (authorization code with PKCE).
    #[default]
    Browser,
    /// On any device, with a code (device authorization).
    Device,
}

/// The kind of credential that a login creates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ModePreference {
    /// Depends on the plan.
    #[default]
    Auto,
    /// An access token.
    #[serde(rename = "chatgpt")]
    ChatGpt,
    /// An API key, by token exchange.
    ApiKey,
}

/// The body of `POST /v1/logins/{id}/callback`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CallbackBody {
    /// The redirect URL from the browser's address bar, or only its code and state.
    pub url: String,
}

/// Contains no secret.
impl fmt::Debug for CallbackBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackBody { [redacted] }")
    }
}

/// One login attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Login {
    /// The login's id, `lg_…`. It is not a secret.
    pub id: String,
    /// The requested profile. The result names the actual profile.
    pub profile: ProfileName,
    /// How the user signs in.
    pub flow: Flow,
    /// The login's progress.
    pub state: LoginState,
    /// The name of the provider, unless it is the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The issuer where the user signs in, if the provider has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Browser flow: the page to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorize_url: Option<String>,
    /// A loopback URL that redirects a browser to `authorize_url` once. It keeps that URL out of
    /// the process list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_url: Option<String>,
    /// Browser flow: the URL that the browser returns to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
    /// Device flow: the page to open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_url: Option<String>,
    /// Device flow: the code to type there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_code: Option<String>,
    /// Device flow: a page that needs no typing, for a QR code (RFC 8628, section 3.3.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_url_complete: Option<String>,
    /// When the login started.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When the login expires.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub expires_at: Timestamp,
    /// Why the login failed.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub error: Option<Problem>,
    /// The signed-in profile.
    #[cfg_attr(feature = "openapi", schema(required))]
    pub result: Option<Profile>,
}

/// The response to `GET /v1/logins`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Logins {
    /// The logins that have not ended, in the order in which they started.
    pub logins: Vec<Login>,
}

/// The progress of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum LoginState {
    /// The login waits for the user.
    Pending,
    /// The daemon exchanges the code.
    Exchanging,
    /// The login has succeeded; see `result`.
    Succeeded,
    /// The login has failed; see `error`.
    Failed,
    /// The user did not sign in in time.
    Expired,
    /// The login was cancelled.
    Cancelled,
    /// A state that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

impl LoginState {
    /// Whether the login has ended.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Exchanging | Self::Unknown)
    }
}
