//! A login as readers see it.

use authd_api::{Flow, LoginState, ProfileName};
use jiff::Timestamp;

use super::error::LoginError;
use crate::snapshot::ProfileView;

/// The current state of one login.
#[derive(Clone, Debug)]
pub struct LoginSnapshot {
    /// Its id, `lg_…`.
    pub id: String,
    /// The requested profile name.
    pub profile: ProfileName,
    /// How the user signs in.
    pub flow: Flow,
    /// Its progress.
    pub state: LoginState,
    /// Browser flow: the authorize URL.
    pub authorize_url: Option<String>,
    /// Browser flow: a loopback link of one use that redirects to `authorize_url`.
    pub open_url: Option<String>,
    /// Browser flow: the redirect URI.
    pub redirect_uri: Option<String>,
    /// Device flow: the page to open.
    pub verification_url: Option<String>,
    /// Device flow: the code to enter there.
    pub user_code: Option<String>,
    /// When it started.
    pub created_at: Timestamp,
    /// When it expires.
    pub expires_at: Timestamp,
    /// Why it failed.
    pub error: Option<LoginError>,
    /// The profile that it ended in.
    pub result: Option<SignedInProfile>,
}

impl LoginSnapshot {
    pub(super) fn new(
        id: String,
        profile: ProfileName,
        flow: Flow,
        state: LoginState,
        created_at: Timestamp,
        expires_at: Timestamp,
    ) -> Self {
        Self {
            id,
            profile,
            flow,
            state,
            authorize_url: None,
            open_url: None,
            redirect_uri: None,
            verification_url: None,
            user_code: None,
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
