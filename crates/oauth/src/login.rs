//! One login attempt: the authorize URL that starts it, and the callback that consumes it.

use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

pub use self::failure::LoginFailure;
use crate::{
    AuthorizationCode, ClientSecret, ErrorCode, ModePreference, OauthRequest, Provider, Refusal,
    SignInClient, SignInPlan,
    form::form,
    pkce::{State, Verifier},
    schedule::later,
};

mod failure;

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
    /// The sign-in at a defined provider; `None` for the built-in one.
    pub defined: Option<Box<SignInClient>>,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A redirect, or a pasted URL: its parameters, and the issuer that it names (RFC 9207).
#[derive(Debug)]
pub struct Redirect {
    /// The parameters.
    pub callback: Callback,
    /// The issuer.
    pub issuer: Option<String>,
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
    /// It names several issuers.
    #[error("it names several issuers")]
    SeveralIssuers,
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
    /// The sign-in at a defined provider; `None` for the built-in one.
    pub defined: Option<Box<SignInClient>>,
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
        Self {
            verifier,
            state,
            redirect_uri,
            mode,
            workspace,
            defined: None,
            expires_at: later(now, lifetime),
        }
    }

    /// The attempt at a defined provider.
    #[must_use]
    pub fn at(mut self, defined: SignInClient) -> Self {
        self.defined = Some(Box::new(defined));
        self
    }

    /// The parameters of the authorization request to a defined provider (RFC 6749, section 4.1.1;
    /// RFC 7636, section 4.3).
    pub fn authorize_parameters(&self, plan: &SignInPlan) -> Vec<(String, String)> {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut all = vec![
            pair("response_type", "code"),
            pair("client_id", &plan.authority.client.id),
            pair("redirect_uri", &self.redirect_uri),
            pair("state", self.state.as_str()),
            pair("code_challenge", self.verifier.challenge().as_str()),
            pair("code_challenge_method", "S256"),
        ];
        all.extend(plan.scope().map(|scope| pair("scope", &scope)));
        all.extend(plan.authority.resource.as_deref().map(|resource| pair("resource", resource)));
        all.extend(plan.params.iter().map(|(name, value)| pair(name, value)));
        all
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
    pub fn accept(self, redirect: impl Into<Redirect>, now: Timestamp) -> Result<Exchange, LoginFailure> {
        if self.expires_at <= now {
            return Err(LoginFailure::Expired);
        }
        let Redirect { callback, issuer } = redirect.into();
        if self.defined.as_ref().is_some_and(|defined| !defined.plan.accepts_issuer(issuer.as_deref())) {
            return Err(LoginFailure::WrongIssuer);
        }
        match callback {
            Callback::Refused(AuthorizationError { not_entitled: true, .. }, _) => {
                Err(LoginFailure::NotEntitled)
            }
            Callback::Refused(AuthorizationError { code, .. }, _)
                if self.defined.is_some() && code.as_str() != "access_denied" =>
            {
                Err(LoginFailure::Refused(Refusal { request: OauthRequest::Authorize, code }))
            }
            Callback::Refused(AuthorizationError { code, .. }, _) => Err(LoginFailure::Denied(code)),
            Callback::Empty(_) => Err(LoginFailure::MissingCode),
            Callback::Code(code, _) => {
                let Self { verifier, redirect_uri, defined, .. } = self;
                Ok(Exchange { code, verifier, redirect_uri, defined })
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
            plan: self.defined.as_ref().map(|defined| defined.plan.clone()),
            client_secret: self.defined.as_ref().and_then(|defined| defined.secret.as_ref()).map(exposed),
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
            defined: stored.plan.map(|plan| {
                Box::new(SignInClient { plan, secret: stored.client_secret.map(ClientSecret::new) })
            }),
            expires_at: stored.expires_at,
        })
    }
}

impl From<Callback> for Redirect {
    fn from(callback: Callback) -> Self {
        Self { callback, issuer: None }
    }
}

impl Redirect {
    /// Parses the query of a redirect.
    pub fn parse(query: &str) -> Result<Self, CallbackError> {
        Ok(Self { callback: Callback::parse(query)?, issuer: issuer_of(query)? })
    }

    /// Parses a pasted text, as [`Callback::from_pasted`] does.
    pub fn from_pasted(text: &str) -> Result<Self, CallbackError> {
        let text = unquoted(text);
        let callback = Callback::from_pasted(text)?;
        let query = text.split_once('?').map_or(text, |(_, query)| query);
        let query = query.split('#').next().unwrap_or_default();
        Ok(Self { callback, issuer: issuer_of(query)? })
    }
}

/// The issuer that a redirect names (RFC 9207, section 2). A server may let a redirect URI have a
/// query, so an `iss` beside the server's own may be that of an attacker.
fn issuer_of(query: &str) -> Result<Option<String>, CallbackError> {
    let mut issuers = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "iss");
    let issuer = issuers.next().map(|(_, value)| value.into_owned());
    if issuers.next().is_some() { Err(CallbackError::SeveralIssuers) } else { Ok(issuer) }
}

/// A pasted text without the space and the quotation marks around it.
fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}

impl SignInPlan {
    /// Whether a redirect with this `iss` may be of the provider (RFC 9207, section 2.4).
    fn accepts_issuer(&self, issuer: Option<&str>) -> bool {
        match (issuer, &self.authority.issuer) {
            (Some(issuer), Some(expected)) => issuer == expected,
            (Some(_), None) => true,
            (None, _) => !self.sends_issuer,
        }
    }
}

fn exposed(secret: &ClientSecret) -> String {
    secret.expose().to_owned()
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
        let text = unquoted(text);
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

/// The stored form of an attempt.
#[derive(Serialize, Deserialize)]
struct StoredAttempt {
    verifier: String,
    state: String,
    redirect_uri: String,
    mode: ModePreference,
    workspace: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    plan: Option<SignInPlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
    expires_at: Timestamp,
}
