//! A pending login in the store: what a restart needs to finish it.

use authd_api::{Flow, LoginState, ProfileName};
use authd_oauth::Attempt;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::snapshot::LoginSnapshot;

/// The version that this program writes and reads. A pending login of another version is dropped: its user
/// starts again.
const VERSION: u32 = 1;

/// A pending browser login.
pub(super) struct StoredLogin {
    pub(super) login: LoginSnapshot,
    /// Whether it may replace another user's sign-in.
    pub(super) replace: bool,
    /// The verifier and the state.
    pub(super) attempt: Attempt,
}

#[derive(Serialize, Deserialize)]
struct StoredLoginJson {
    version: u32,
    login: LoginJson,
    replace: bool,
    attempt: String,
}

#[derive(Serialize, Deserialize)]
struct LoginJson {
    id: String,
    profile: ProfileName,
    flow: Flow,
    state: LoginState,
    authorize_url: Option<String>,
    redirect_uri: Option<String>,
    created_at: Timestamp,
    expires_at: Timestamp,
}

impl StoredLogin {
    /// The text of a pending login. It holds the verifier, so only the store may have it.
    pub(super) fn to_secret_json(login: &LoginSnapshot, replace: bool, attempt: &Attempt) -> SecretString {
        let login = LoginJson {
            id: login.id.clone(),
            profile: login.profile.clone(),
            flow: login.flow,
            state: login.state,
            authorize_url: login.authorize_url.clone(),
            redirect_uri: login.redirect_uri.clone(),
            created_at: login.created_at,
            expires_at: login.expires_at,
        };
        let attempt = attempt.to_secret_json().expose_secret().to_owned();
        let stored = StoredLoginJson { version: VERSION, login, replace, attempt };
        serde_json::to_string(&stored).expect("a struct of strings and times serializes").into()
    }

    /// Parses the text of a pending login.
    pub(super) fn from_secret_json(text: &SecretString) -> Option<Self> {
        let stored: StoredLoginJson = serde_json::from_str(text.expose_secret()).ok()?;
        let attempt = Attempt::from_secret_json(&stored.attempt)?;
        let LoginJson { id, profile, flow, state, authorize_url, redirect_uri, created_at, expires_at } =
            stored.login;
        let login = LoginSnapshot {
            authorize_url,
            redirect_uri,
            ..LoginSnapshot::new(id, profile, flow, state, created_at, expires_at)
        };
        (stored.version == VERSION).then_some(Self { login, replace: stored.replace, attempt })
    }
}
