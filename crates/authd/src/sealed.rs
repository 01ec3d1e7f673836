//! A pending login at rest: what a restart needs to finish it. The store seals it; this is its text.

use authd_api::Login;
use authd_oauth::Attempt;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A pending login, with its verifier.
pub(crate) struct StoredLogin {
    /// The login as its clients see it.
    pub(crate) login: Login,
    /// Whether it may replace somebody else.
    pub(crate) replace: bool,
    /// The verifier and the state.
    pub(crate) attempt: Attempt,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    login: Login,
    replace: bool,
    attempt: String,
}

/// The version this program writes and reads. A pending login of another version is dropped: its
/// person starts anew.
const VERSION: u32 = 1;

impl StoredLogin {
    /// The text of a pending login.
    pub(crate) fn text(login: &Login, replace: bool, attempt: &Attempt) -> SecretString {
        // The second place where a secret leaves: a record at rest.
        let attempt = attempt.to_secret_json().expose_secret().to_owned();
        let written = Written { version: VERSION, login: login.clone(), replace, attempt };
        serde_json::to_string(&written).expect("a struct of strings and times has a JSON form").into()
    }

    /// The pending login that a text means, if it means one.
    pub(crate) fn open(text: &SecretString) -> Option<Self> {
        let written: Written = serde_json::from_str(text.expose_secret()).ok()?;
        let attempt = Attempt::from_secret_json(&written.attempt)?;
        (written.version == VERSION).then_some(Self {
            login: written.login,
            replace: written.replace,
            attempt,
        })
    }
}
