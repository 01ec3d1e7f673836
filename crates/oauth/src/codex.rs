//! The login file of the Codex CLI (`auth.json`) and its two forms. A *login* holds the refresh
//! token. The *external* form holds the access token alone: Codex works with it and can spend
//! nothing (`docs/protocol.md`, sections 10 and 12.3).

use std::borrow::Cow;

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, de::IgnoredAny};

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
    // Codex omits the mode in some files with these.
    agent_identity: Option<IgnoredAny>,
    personal_access_token: Option<IgnoredAny>,
    bedrock_api_key: Option<IgnoredAny>,
}

impl LoginFile {
    /// A credential of a kind that authd does not support.
    fn unsupported(&self) -> Option<&'static str> {
        let kinds = [
            ("agentIdentity", &self.agent_identity),
            ("personalAccessToken", &self.personal_access_token),
            ("bedrockApiKey", &self.bedrock_api_key),
        ];
        kinds.into_iter().find_map(|(kind, credential)| credential.is_some().then_some(kind))
    }
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
    let unsupported = file.unsupported();
    let key = file.api_key.filter(|key| !key.trim().is_empty()).map(ApiKey::new);
    let tokens = file.tokens.filter(|tokens| !tokens.access_token.is_empty());
    match (file.auth_mode.as_deref(), key, tokens) {
        (Some(EXTERNAL), ..) => Ok(CodexLogin::External),
        (Some("apikey"), Some(key), _) | (None, Some(key), None) => {
            let grant = Grant::own_key(key, "the key was imported from Codex", now);
            Ok(CodexLogin::Grant(Box::new(grant)))
        }
        // Old files have both and no mode. The plan decides, as it did in the Codex of that time.
        (None, Some(key), Some(tokens)) => with_tokens(tokens, Some(key), file.last_refresh, now),
        (None | Some("chatgpt"), _, Some(tokens)) => with_tokens(tokens, None, file.last_refresh, now),
        (None | Some("chatgpt" | "apikey"), ..) => match unsupported {
            Some(kind) => Err(CodexError::Unknown(kind.to_owned())),
            None => Ok(CodexLogin::SignedOut),
        },
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
    let expires_at = Some(expires_at);
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
    /// A personal access token, which Codex asks the provider about by itself.
    PersonalAccessToken(&'a str),
    /// An API key.
    ApiKey(&'a str),
}

/// A login file, its fields in the order that Codex writes.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthJson<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_mode: Option<Cow<'a, str>>,
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: Option<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    tokens: Option<AuthJsonTokens<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_refresh: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    personal_access_token: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthJsonTokens<'a> {
    id_token: Cow<'a, str>,
    access_token: Cow<'a, str>,
    refresh_token: Cow<'a, str>,
    account_id: Option<Cow<'a, str>>,
}

const EXTERNAL: &str = "chatgptAuthTokens";

/// A file in the external form: it contains no refresh token.
pub fn external(content: &External<'_>, last_refresh: Timestamp) -> SecretString {
    text(&match content {
        External::ChatGpt { access_token, account_id } => AuthJson {
            auth_mode: Some(EXTERNAL.into()),
            api_key: None,
            tokens: Some(AuthJsonTokens {
                id_token: (*access_token).into(),
                access_token: (*access_token).into(),
                refresh_token: "".into(),
                account_id: Some((*account_id).into()),
            }),
            last_refresh: Some(last_refresh.to_string().into()),
            personal_access_token: None,
        },
        External::PersonalAccessToken(token) => token_file(token),
        External::ApiKey(key) => key_file(key),
    })
}

/// Whether a text is byte for byte a file in the external form. It holds nothing that its writer
/// cannot write again. Any other spelling is the work of a person or of an unknown program.
pub fn is_external(content: &str) -> bool {
    serde_json::from_str::<AuthJson<'_>>(content).is_ok_and(|file| {
        file.auth_mode.as_deref() == Some(EXTERNAL)
            && file.api_key.is_none()
            && file.personal_access_token.is_none()
            && file.tokens.as_ref().is_some_and(|tokens| tokens.refresh_token.is_empty())
            && text(&file).expose_secret() == content
    })
}

/// A file that is a login: its reader owns the refresh token. None without an id token: Codex would
/// reject the file.
pub fn login(grant: &Grant) -> Option<SecretString> {
    let key = match &grant.secrets {
        GrantSecrets::ApiKey(key, _) => Some(key.expose()),
        GrantSecrets::ChatGpt(tokens, _) if grant.secrets.is_personal_access_token() => {
            return Some(text(&token_file(tokens.access_token.expose())));
        }
        GrantSecrets::ChatGpt(..) => None,
        // Codex has no use for another provider's tokens.
        GrantSecrets::Bearer(_) => return None,
    };
    let Some(tokens) = grant.secrets.tokens() else { return key.map(|key| text(&key_file(key))) };
    Some(text(&AuthJson {
        // With a key and tokens Codex itself writes no mode.
        auth_mode: key.is_none().then(|| "chatgpt".into()),
        api_key: key.map(Cow::from),
        tokens: Some(AuthJsonTokens {
            id_token: grant.secrets.id_token()?.expose().into(),
            access_token: tokens.access_token.expose().into(),
            refresh_token: tokens.refresh_token.as_ref().map_or("", RefreshToken::expose).into(),
            account_id: grant.identity.account_id.as_deref().map(Cow::from),
        }),
        last_refresh: Some(grant.issued_at.to_string().into()),
        personal_access_token: None,
    }))
}

fn key_file(key: &str) -> AuthJson<'_> {
    AuthJson { auth_mode: Some("apikey".into()), api_key: Some(key.into()), ..AuthJson::default() }
}

/// Codex writes no mode into this file.
fn token_file(token: &str) -> AuthJson<'_> {
    AuthJson { personal_access_token: Some(token.into()), ..AuthJson::default() }
}

fn text(file: &AuthJson<'_>) -> SecretString {
    SecretString::from(serde_json::to_string_pretty(file).expect("texts have a JSON form"))
}
