//! A pending login in the store: what a restart needs to finish it.

use authd_oauth::Attempt;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::snapshot::LoginSnapshot;

/// The version that this program writes and reads. A pending login of another version is dropped:
/// its user starts again.
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
struct StoredLoginJson<L> {
    version: u32,
    login: L,
    replace: bool,
    attempt: String,
}

impl StoredLogin {
    /// The text of a pending login. It holds the verifier, so only the store may have it.
    pub(super) fn to_secret_json(login: &LoginSnapshot, replace: bool, attempt: &Attempt) -> SecretString {
        let attempt = attempt.to_secret_json().expose_secret().to_owned();
        let stored = StoredLoginJson { version: VERSION, login, replace, attempt };
        serde_json::to_string(&stored).expect("a struct of strings and times serializes").into()
    }

    /// Parses the text of a pending login.
    pub(super) fn from_secret_json(text: &SecretString) -> Option<Self> {
        let stored: StoredLoginJson<LoginSnapshot> = serde_json::from_str(text.expose_secret()).ok()?;
        let attempt = Attempt::from_secret_json(&stored.attempt)?;
        (stored.version == VERSION).then_some(Self { login: stored.login, replace: stored.replace, attempt })
    }
}
