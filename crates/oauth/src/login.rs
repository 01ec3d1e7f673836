//! One login attempt: the authorize URL that starts it, and the callback that consumes it.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use crate::{
    AuthorizationCode, ErrorCode, ModePreference, Provider, ProviderError,
    pkce::{State, Verifier},
    schedule::later,
};

/// The longest query or pasted text that is parsed, in bytes. Real ones have two hundred.
const MAX_CALLBACK: usize = 8 << 10;

/// A login attempt that has not finished.
#[derive(Debug)]
pub struct Attempt {
    verifier: Verifier,
    /// Identifies this attempt when the browser returns.
    pub state: State,
    /// The URL that the browser returns to.
    pub redirect_uri: String,
    /// The requested mode.
    pub mode: ModePreference,
    /// The only workspace that is accepted.
    pub workspace: Option<String>,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// The parameters of a redirect, or of a pasted URL.
#[derive(Debug)]
pub enum Callback {
    /// The user agreed.
    Code(AuthorizationCode, State),
    /// The provider or the user refused.
    Refused(AuthorizationError, State),
    /// Neither a code nor an error.
    Empty(State),
}

/// An error response in a callback (RFC 6749, section 4.1.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationError {
    /// The error code.
    pub code: ErrorCode,
    /// Whether Codex is not enabled for the workspace.
    pub not_entitled: bool,
}

/// A text that is not a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// It has no `state` parameter.
    #[error("it has no state")]
    NoState,
    /// It is longer than any valid callback.
    #[error("it is too long")]
    TooLong,
}

/// The parameters of a code exchange.
#[derive(Debug)]
pub struct Exchange {
    /// The authorization code.
    pub code: AuthorizationCode,
    /// The attempt's code verifier.
    pub verifier: Verifier,
    /// The attempt's redirect URI.
    pub redirect_uri: String,
}

/// A failed login, with a message and a remedy for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub enum LoginFailure {
    /// The attempt had expired.
    Expired,
    /// The callback had no code.
    MissingCode,
    /// The provider or the user refused.
    Denied(ErrorCode),
    /// Codex is not enabled for the workspace.
    NotEntitled,
    /// Another workspace was chosen in the browser.
    WrongWorkspace {
        /// The accepted workspaces.
        wanted: String,
        /// The chosen workspace.
        got: Option<String>,
    },
    /// The provider issued no API key.
    NoApiKey(ErrorCode),
    /// A call to the provider failed.
    Exchange(ProviderError),
}

impl Attempt {
    /// A new attempt, with its own verifier and state.
    pub fn new(
        redirect_uri: String,
        mode: ModePreference,
        workspace: Option<String>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Self {
        let (verifier, state) = (Verifier::generate(), State::generate());
        Self { verifier, state, redirect_uri, mode, workspace, expires_at: later(now, lifetime) }
    }

    /// The URL that the browser opens: byte for byte that of the Codex CLI.
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

    /// Consumes the attempt and its callback.
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

    /// The attempt as text, for the store.
    pub fn to_secret_json(&self) -> SecretString {
        let stored = StoredAttempt {
            verifier: self.verifier.expose().to_owned(),
            state: self.state.as_str().to_owned(),
            redirect_uri: self.redirect_uri.clone(),
            mode: self.mode,
            workspace: self.workspace.clone(),
            expires_at: self.expires_at,
        };
        serde_json::to_string(&stored).expect("a struct of strings and times has a JSON form").into()
    }

    /// Parses a stored attempt. None if the text is not one.
    pub fn from_secret_json(text: &str) -> Option<Self> {
        let stored: StoredAttempt = serde_json::from_str(text).ok()?;
        Some(Self {
            verifier: Verifier::from_text(stored.verifier),
            state: State::from_returned(&stored.state),
            redirect_uri: stored.redirect_uri,
            mode: stored.mode,
            workspace: stored.workspace,
            expires_at: stored.expires_at,
        })
    }
}

impl Callback {
    /// Parses the query of a redirect.
    pub fn parse(query: &str) -> Result<Self, CallbackError> {
        if query.len() > MAX_CALLBACK {
            return Err(CallbackError::TooLong);
        }
        // Of a repeated parameter the last one counts, as in the Codex CLI.
        let parameter = |name| {
            let parameters = form_urlencoded::parse(query.as_bytes());
            parameters.filter(|(key, _)| key == name).last().map(|(_, value)| value)
        };
        let state = parameter("state").filter(|state| !state.is_empty()).ok_or(CallbackError::NoState)?;
        let state = State::from_returned(&state);
        if let Some(error) = parameter("error") {
            let description = parameter("error_description").unwrap_or_default().to_ascii_lowercase();
            let not_entitled = error == "access_denied" && description.contains("missing_codex_entitlement");
            let code = ErrorCode::new(&error);
            return Ok(Self::Refused(AuthorizationError { code, not_entitled }, state));
        }
        Ok(match parameter("code").filter(|code| !code.is_empty()) {
            Some(code) => Self::Code(AuthorizationCode::new(code.into_owned()), state),
            None => Self::Empty(state),
        })
    }

    /// Parses a pasted text: the redirect URL, its query, or code and state separated by a space or
    /// `#`.
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
        let mut parts = text.split(['#', ' ', '\t', '\n']).filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.next()) {
            (Some(code), Some(state), None) => {
                Ok(Self::Code(AuthorizationCode::new(code), State::from_returned(state)))
            }
            _ => Err(CallbackError::NoState),
        }
    }

    /// The state that identifies the attempt.
    pub fn state(&self) -> &State {
        match self {
            Self::Code(_, state) | Self::Refused(_, state) | Self::Empty(state) => state,
        }
    }
}

impl LoginFailure {
    /// The failure, as a message for the user.
    pub fn sentence(&self) -> String {
        match self {
            Self::Expired => "the sign-in was not finished in time".to_owned(),
            Self::MissingCode => "Missing authorization code. Sign-in could not be completed.".to_owned(),
            Self::Denied(code) if code.as_str() == "access_denied" => {
                "the sign-in was denied in the browser (access_denied)".to_owned()
            }
            Self::Denied(code) => format!("the provider denied the sign-in: {}", code.explained()),
            Self::NotEntitled => "Codex is not enabled for your workspace. Contact your workspace \
                                  administrator to request access to Codex."
                .to_owned(),
            Self::WrongWorkspace { wanted, got: Some(got) } => {
                format!("this login is for workspace {wanted}, but {got} was chosen")
            }
            Self::WrongWorkspace { wanted, got: None } => {
                format!("this login is for workspace {wanted}, but the account names no workspace")
            }
            Self::NoApiKey(code) => format!("the provider issued no API key: {}", code.explained()),
            Self::Exchange(ProviderError::Rejected { code, .. }) => {
                format!("the provider rejected the authorization code: {}", code.explained())
            }
            Self::Exchange(error) => error.to_string(),
        }
    }

    /// The provider's error code, if it stated one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Denied(code) | Self::NoApiKey(code) => code.known(),
            Self::Exchange(error) => error.code().map(ErrorCode::as_str),
            // The entitlement is named in the description of this code.
            Self::NotEntitled => Some("access_denied"),
            Self::Expired | Self::MissingCode | Self::WrongWorkspace { .. } => None,
        }
    }

    /// The next step for the user.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Denied(code) | Self::NoApiKey(code) if code.is_region_rule() => ErrorCode::REGION_REMEDY,
            Self::Exchange(error) if error.code().is_some_and(ErrorCode::is_region_rule) => {
                ErrorCode::REGION_REMEDY
            }
            Self::Expired | Self::MissingCode | Self::Denied(_) => "start a new login: authctl login",
            Self::NotEntitled => "ask the administrator of your workspace for access to Codex",
            Self::WrongWorkspace { .. } => {
                "start a new login and choose that workspace in the browser: authctl login"
            }
            Self::NoApiKey(_) => "use ChatGPT mode: authctl login --mode chatgpt",
            Self::Exchange(_) => "start a new login: authctl login; if it fails again: authctl doctor",
        }
    }
}

/// The stored form of an attempt.
#[derive(Serialize, Deserialize)]
struct StoredAttempt {
    verifier: String,
    state: String,
    redirect_uri: String,
    mode: ModePreference,
    workspace: Option<String>,
    expires_at: Timestamp,
}

/// Names and values as a query or a form body, in this order. Encoded as in the Codex CLI:
/// everything but letters, digits and `-_.~` is escaped, and a space becomes `%20`.
pub(crate) fn form<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    text.replace('+', "%20").replace('*', "%2A").replace("%7E", "~")
}
