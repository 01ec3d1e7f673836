//! A login as readers see it.

use authd_api::{Flow, LoginState, ProfileName};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::LoginError;
use crate::snapshot::ProfileView;

/// The current state of one login. The serialized form is what the store keeps of a pending one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoginSnapshot {
    /// Its id, `lg_…`.
    pub id: String,
    /// The requested profile name.
    pub profile: ProfileName,
    /// How the user signs in.
    pub flow: Flow,
    /// Its progress.
    pub state: LoginState,
    /// The name of the provider, unless it is the built-in one.
    #[serde(default)]
    pub provider: Option<String>,
    /// The issuer, if the provider is a defined one and has one.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Browser flow: the authorize URL.
    pub authorize_url: Option<String>,
    /// Browser flow: a loopback link of one use that redirects to `authorize_url`. It is not
    /// stored: after a restart it would not be known whether it was used.
    #[serde(skip)]
    pub open_url: Option<String>,
    /// Browser flow: the redirect URI.
    pub redirect_uri: Option<String>,
    /// Device flow: the page to open.
    #[serde(skip)]
    pub verification_url: Option<String>,
    /// Device flow: the code to enter there.
    #[serde(skip)]
    pub user_code: Option<String>,
    /// Device flow: a page that needs no typing.
    #[serde(skip)]
    pub verification_url_complete: Option<String>,
    /// When it started.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Why it failed.
    #[serde(skip)]
    pub error: Option<LoginError>,
    /// The profile that it ended in.
    #[serde(skip)]
    pub result: Option<SignedInProfile>,
}

impl LoginSnapshot {
    /// A pending login with a new id: 72 random bits. The id is no secret, but must not be
    /// guessable.
    pub(super) fn new(
        profile: ProfileName,
        flow: Flow,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            id: format!("lg_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 9]>())),
            profile,
            flow,
            state: LoginState::Pending,
            provider: None,
            issuer: None,
            authorize_url: None,
            open_url: None,
            redirect_uri: None,
            verification_url: None,
            user_code: None,
            verification_url_complete: None,
            created_at,
            expires_at,
            error: None,
            result: None,
        }
    }
}

/// A profile as of the end of its login.
#[derive(Clone, Debug)]
pub struct SignedInProfile {
    /// Its name.
    pub name: ProfileName,
    /// Its view at that time.
    pub view: ProfileView,
    /// Whether it was the default.
    pub is_default: bool,
    /// The time.
    pub at: Timestamp,
}
