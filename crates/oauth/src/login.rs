//! One login attempt: the authorize URL that starts it, and the callback that consumes it. Where
//! attempts are kept is not known here.

use std::{fmt::Write, time::Duration};

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{
    AuthorizationCode, Code, ModePreference, Provider, ProviderError,
    pkce::{State, Verifier},
    schedule::later,
};

/// The longest query or pasted text that is looked at, in bytes: real ones have two hundred.
const MAX_CALLBACK: usize = 8 << 10;

/// A login that was started and not finished.
#[derive(Debug)]
pub struct Attempt {
    verifier: Verifier,
    /// What finds this attempt when a browser returns.
    pub state: State,
    /// Where the browser returns to.
    pub redirect_uri: String,
    /// The mode that is wanted.
    pub mode: ModePreference,
    /// The only workspace to accept.
    pub workspace: Option<String>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

/// What a browser, or a person with a pasted URL, brings back.
#[derive(Debug)]
pub enum Callback {
    /// The person agreed.
    Code(AuthorizationCode, State),
    /// The provider or the person refused.
    Refused(AuthorizationError, State),
    /// Neither a code nor an error.
    Empty(State),
}

/// How the provider refuses in a callback (RFC 6749, section 4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationError {
    /// The error code.
    pub code: Code,
    /// Whether the workspace has no right to use Codex.
    pub not_entitled: bool,
}

/// A text that is no callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// It says nothing of a state.
    #[error("it has no state")]
    NoState,
    /// It is longer than any callback.
    #[error("it is too long")]
    TooLong,
}

/// Everything a code exchange needs.
#[derive(Debug)]
pub struct Exchange {
    /// The code.
    pub code: AuthorizationCode,
    /// The verifier of the attempt that it belongs to.
    pub verifier: Verifier,
    /// The redirect URI of that attempt.
    pub redirect_uri: String,
}

/// A login that did not succeed. Each has a sentence and a remedy for its person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub enum LoginFailure {
    /// Start another: it came too late.
    Expired,
    /// Start another: the browser brought no code.
    MissingCode,
    /// Start another, or ask why: the provider or the person refused.
    Denied(Code),
    /// Ask the workspace's administrator.
    NotEntitled,
    /// Choose the right workspace in the browser.
    WrongWorkspace {
        /// Those that are accepted.
        wanted: String,
        /// The one that was chosen.
        got: Option<String>,
    },
    /// Use the ChatGPT mode: this account gets no API key.
    NoApiKey(Code),
    /// See the failure: a call to the provider did not succeed.
    Exchange(ProviderError),
}

impl Attempt {
    /// A new attempt, with a verifier and a state of its own.
    pub fn new(
        redirect_uri: String,
        mode: ModePreference,
        workspace: Option<String>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Self {
        let expires_at = later(now, lifetime);
        Self {
            verifier: Verifier::generate(),
            state: State::generate(),
            redirect_uri,
            mode,
            workspace,
            expires_at,
        }
    }

    /// The URL that the browser opens: the provider's own client's, byte for byte.
    pub fn authorize_url(&self, provider: &Provider) -> String {
        let scopes = provider.scopes.join(" ");
        let challenge = self.verifier.challenge();
        let parameters = [
            ("response_type", "code"),
            ("client_id", &provider.client_id),
            ("redirect_uri", &self.redirect_uri),
            ("scope", &scopes),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("id_token_add_organizations", "true"),
            ("codex_cli_simplified_flow", "true"),
            ("state", self.state.as_str()),
            ("originator", &provider.originator),
        ];
        let pinned = self.workspace.as_deref().map(|workspace| ("allowed_workspace_id", workspace));
        format!("{}?{}", provider.authorize_url, form(parameters.into_iter().chain(pinned)))
    }

    /// Consumes the attempt: what its callback is good for.
    pub fn accept(self, callback: Callback, now: Timestamp) -> Result<Exchange, LoginFailure> {
        if self.expires_at <= now {
            return Err(LoginFailure::Expired);
        }
        match callback {
            Callback::Refused(AuthorizationError { not_entitled: true, .. }, _) => {
                Err(LoginFailure::NotEntitled)
            }
            Callback::Refused(AuthorizationError { code, .. }, _) => Err(LoginFailure::Denied(code)),
            Callback::Empty(_) => Err(LoginFailure::MissingCode),
            Callback::Code(code, _) => {
                Ok(Exchange { code, verifier: self.verifier, redirect_uri: self.redirect_uri })
            }
        }
    }

    /// The attempt as text, to be sealed in the store.
    pub fn to_secret_json(&self) -> SecretString {
        let sealed = StoredAttempt {
            verifier: self.verifier.expose().to_owned(),
            state: self.state.as_str().to_owned(),
            redirect_uri: self.redirect_uri.clone(),
            mode: self.mode,
            workspace: self.workspace.clone(),
            expires_at: self.expires_at,
        };
        serde_json::to_string(&sealed).expect("a struct of strings and times has a JSON form").into()
    }

    /// The attempt that a sealed text means, if it means one.
    pub fn from_secret_json(text: &str) -> Option<Self> {
        let sealed: StoredAttempt = serde_json::from_str(text).ok()?;
        Some(Self {
            verifier: Verifier::from_text(sealed.verifier),
            state: State::from_returned(&sealed.state),
            redirect_uri: sealed.redirect_uri,
            mode: sealed.mode,
            workspace: sealed.workspace,
            expires_at: sealed.expires_at,
        })
    }
}

impl Callback {
    /// The callback that a redirect's query means.
    pub fn parse(query: &str) -> Result<Self, CallbackError> {
        if query.len() > MAX_CALLBACK {
            return Err(CallbackError::TooLong);
        }
        let (mut code, mut state, mut error, mut description) = (None, None, None, None);
        // The last one wins, as with the provider's own client.
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "code" => code = Some(value),
                "state" => state = Some(value),
                "error" => error = Some(value),
                "error_description" => description = Some(value),
                _ => {}
            }
        }
        let state = state.filter(|state| !state.is_empty()).ok_or(CallbackError::NoState)?;
        let state = State::from_returned(&state);
        if let Some(error) = error {
            let described = description.unwrap_or_default().to_ascii_lowercase();
            let not_entitled = error == "access_denied" && described.contains("missing_codex_entitlement");
            return Ok(Self::Refused(AuthorizationError { code: Code::new(&error), not_entitled }, state));
        }
        Ok(match code.filter(|code| !code.is_empty()) {
            Some(code) => Self::Code(AuthorizationCode::new(code.into_owned()), state),
            None => Self::Empty(state),
        })
    }

    /// The callback that a person pasted: the redirect URL, its query, or code and state with a space
    /// or `#` between.
    pub fn from_pasted(text: &str) -> Result<Self, CallbackError> {
        let text = text.trim().trim_matches(['"', '\'']);
        if text.len() > MAX_CALLBACK {
            return Err(CallbackError::TooLong);
        }
        if let Some((_, query)) = text.split_once('?') {
            return Self::parse(query.split('#').next().unwrap_or_default());
        }
        if text.contains("state=") {
            return Self::parse(text);
        }
        let mut words = text.split(['#', ' ', '\t', '\n']).filter(|word| !word.is_empty());
        match (words.next(), words.next(), words.next()) {
            (Some(code), Some(state), None) => {
                Ok(Self::Code(AuthorizationCode::new(code), State::from_returned(state)))
            }
            _ => Err(CallbackError::NoState),
        }
    }

    /// The state that finds the attempt.
    pub fn state(&self) -> &State {
        match self {
            Self::Code(_, state) | Self::Refused(_, state) | Self::Empty(state) => state,
        }
    }
}

impl LoginFailure {
    /// What happened, for its person.
    pub fn sentence(&self) -> String {
        match self {
            Self::Expired => "nobody finished the sign-in in time".to_owned(),
            Self::MissingCode => "Missing authorization code. Sign-in could not be completed.".to_owned(),
            Self::Denied(code) if code.as_str() == "access_denied" => {
                "the sign-in was refused in the browser (access_denied)".to_owned()
            },
            Self::Denied(code) => format!("the provider refused the sign-in: {}", code.sentence()),
            Self::NotEntitled => {
                "Codex is not enabled for your workspace. Contact your workspace administrator to request access to Codex."
                    .to_owned()
            }
            Self::WrongWorkspace { wanted, got: Some(got) } => {
                format!("this login is for workspace {wanted}, and the one chosen is {got}")
            }
            Self::WrongWorkspace { wanted, got: None } => {
                format!("this login is for workspace {wanted}, and the account names none")
            }
            Self::NoApiKey(code) => format!("the provider gave no API key: {}", code.sentence()),
            Self::Exchange(ProviderError::Rejected { code, .. }) => format!("the provider refused the code: {}", code.sentence()),
            Self::Exchange(failure) => failure.to_string(),
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Expired | Self::MissingCode | Self::Denied(_) => "start another: authctl login",
            Self::NotEntitled => "ask the administrator of your workspace for access to Codex",
            Self::WrongWorkspace { .. } => {
                "start another, and choose that workspace in the browser: authctl login"
            }
            Self::NoApiKey(_) => "use the ChatGPT mode: authctl login --mode chatgpt",
            Self::Exchange(_) => "start another: authctl login; if it fails again: authctl doctor",
        }
    }
}

/// An attempt at rest.
#[derive(Serialize, Deserialize)]
struct StoredAttempt {
    verifier: String,
    state: String,
    redirect_uri: String,
    mode: ModePreference,
    workspace: Option<String>,
    expires_at: Timestamp,
}

/// Names and values as a query or a form body, in the order given, encoded as the provider's own client
/// does: everything but letters, digits and `-_.~`, with `%20` for a space.
pub(crate) fn form<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        if !text.is_empty() {
            text.push('&');
        }
        text.push_str(name);
        text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
                text.push(char::from(byte));
            } else {
                write!(text, "%{byte:02X}").expect("a string takes any text");
            }
        }
    }
    text
}
