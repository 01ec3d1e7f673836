//! The login file of the Codex CLI (`auth.json`) and its two forms. A *login* holds the refresh
//! token. The *external* form holds the access token alone: Codex works with it and can spend
//! nothing (`docs/protocol.md`, sections 10 and 12.3).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    AccessToken, ApiKey, Grant, GrantSecrets, IdToken, ModePreference, RefreshToken, Tokens, claims,
    mode_decision, token::expiry_of_old,
};

/// The content of a login file.
#[derive(Debug)]
pub enum CodexLogin {
    /// A login that can be imported.
    Grant(Box<Grant>),
    /// The external form: another program holds the refresh token.
    External,
    /// No login.
    SignedOut,
}

/// A login file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodexError {
    /// It is not a login file of Codex: sign in to Codex again. The text is secret, so only the
    /// position of the error is shown.
    #[error("this is not a login of the Codex CLI (line {line}, column {column})")]
    Unreadable {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The login is of an unknown kind: use an ordinary sign-in.
    #[error("authd does not support logins of the kind {0}")]
    Unknown(String),
    /// The id token is invalid: sign in to Codex again.
    #[error("the id token in the file cannot be parsed")]
    IdToken,
}

#[derive(Deserialize)]
struct LoginFile {
    auth_mode: Option<String>,
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: Option<String>,
    tokens: Option<FileTokens>,
    last_refresh: Option<Timestamp>,
}

#[expect(clippy::struct_field_names, reason = "the names are those of the file")]
#[derive(Deserialize)]
struct FileTokens {
    id_token: String,
    access_token: String,
    refresh_token: String,
}

/// Parses a login file.
pub fn parse(text: &str, now: Timestamp) -> Result<CodexLogin, CodexError> {
    let file: LoginFile = serde_json::from_str(text)
        .map_err(|error| CodexError::Unreadable { line: error.line(), column: error.column() })?;
    let key = file.api_key.filter(|key| !key.trim().is_empty()).map(ApiKey::new);
    let tokens = file.tokens.filter(|tokens| !tokens.access_token.is_empty());
    match (file.auth_mode.as_deref(), key, tokens) {
        (Some("chatgptAuthTokens"), ..) => Ok(CodexLogin::External),
        (Some("apikey"), Some(key), _) | (None, Some(key), None) => {
            let grant = Grant::own_key(key, "the key was imported from Codex", now);
            Ok(CodexLogin::Grant(Box::new(grant)))
        }
        // Old files have both and no mode. The plan decides, as it did in the Codex of that time.
        (None, Some(key), Some(tokens)) => with_tokens(tokens, Some(key), file.last_refresh, now),
        (None | Some("chatgpt"), _, Some(tokens)) => with_tokens(tokens, None, file.last_refresh, now),
        (None | Some("chatgpt" | "apikey"), ..) => Ok(CodexLogin::SignedOut),
        (Some(other), ..) => {
            Err(CodexError::Unknown(other.chars().filter(char::is_ascii_graphic).take(40).collect()))
        }
    }
}

fn with_tokens(
    tokens: FileTokens,
    key: Option<ApiKey>,
    last_refresh: Option<Timestamp>,
    now: Timestamp,
) -> Result<CodexLogin, CodexError> {
    if tokens.refresh_token.is_empty() {
        return Ok(CodexLogin::External);
    }
    let id_token = IdToken::new(tokens.id_token);
    let identity = claims::identity(&id_token).map_err(|_| CodexError::IdToken)?;
    let access_token = AccessToken::new(tokens.access_token);
    let expires_at = expiry_of_old(&access_token, None, now).map_or(now, |(expires_at, _)| expires_at);
    let refresh_token = Some(RefreshToken::new(tokens.refresh_token));
    let tokens = Tokens { access_token, refresh_token, expires_at };
    let wants_key = matches!(
        mode_decision::decide(ModePreference::Auto, &identity),
        mode_decision::Decision::TryApiKey { .. }
    );
    let (secrets, mode_reason) = match key.filter(|_| wants_key) {
        Some(key) => {
            (GrantSecrets::ApiKey(key, Some(Box::new((tokens, id_token)))), "Codex had a key for this plan")
        }
        None => (GrantSecrets::ChatGpt(tokens, Some(id_token)), "the login was imported from Codex"),
    };
    let issued_at = last_refresh.unwrap_or(now).min(now);
    let grant = Grant { identity: identity.into(), secrets, mode_reason: mode_reason.into(), issued_at };
    Ok(CodexLogin::Grant(Box::new(grant)))
}

/// The content of a file in the external form.
#[derive(Clone, Debug)]
pub enum External<'a> {
    /// An access token and its workspace.
    ChatGpt {
        /// The token. It replaces the id token too: it has the same claims.
        access_token: &'a str,
        /// The workspace. Codex needs one in this form.
        account_id: &'a str,
    },
    /// An API key.
    ApiKey(&'a str),
}

/// A file in the external form: it contains no refresh token.
pub fn external(content: &External<'_>, last_refresh: Timestamp) -> SecretString {
    pretty(&match content {
        External::ChatGpt { access_token, account_id } => json!({
            "auth_mode": "chatgptAuthTokens",
            "OPENAI_API_KEY": null,
            "tokens": {
                "id_token": access_token,
                "access_token": access_token,
                "refresh_token": "",
                "account_id": account_id,
            },
            "last_refresh": last_refresh,
        }),
        External::ApiKey(key) => json!({"auth_mode": "apikey", "OPENAI_API_KEY": key}),
    })
}

/// A file that is a login: its reader owns the refresh token. None without an id token: Codex would
/// reject the file.
pub fn login(grant: &Grant) -> Option<SecretString> {
    let key = match &grant.secrets {
        GrantSecrets::ApiKey(key, _) => Some(key.expose()),
        GrantSecrets::ChatGpt(..) => None,
    };
    let mut file = json!({"OPENAI_API_KEY": key});
    // With a key and tokens Codex itself writes no mode.
    match (key.is_some(), grant.secrets.tokens().is_some()) {
        (true, true) => {}
        (true, false) => file["auth_mode"] = json!("apikey"),
        (false, _) => file["auth_mode"] = json!("chatgpt"),
    }
    if let Some(tokens) = grant.secrets.tokens() {
        file["tokens"] = json!({
            "id_token": grant.secrets.id_token()?.expose(),
            "access_token": tokens.access_token.expose(),
            "refresh_token": tokens.refresh_token.as_ref().map_or("", RefreshToken::expose),
            "account_id": grant.identity.account_id,
        });
        file["last_refresh"] = json!(grant.issued_at);
    }
    Some(pretty(&file))
}

fn pretty(file: &impl Serialize) -> SecretString {
    let text = serde_json::to_string_pretty(file).expect("texts and times have a JSON form");
    SecretString::from(text + "\n")
}
