//! The login file of the Codex CLI (`auth.json`): what it means, and the two forms it is written in. As a
//! *login* it holds the refresh token; in the *external* form it holds the access token alone, and Codex
//! works with it without being able to spend anything (`docs/protocol.md`, sections 10 and 12.3).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    AccessToken, ApiKey, Grant, GrantSecrets, IdToken, ModePreference, RefreshToken, Tokens, claims, plan,
    token::expiry_of_old,
};

/// What a login file means.
#[derive(Debug)]
pub enum CodexLogin {
    /// A login to take over.
    Grant(Box<Grant>),
    /// The external form: its refresh token is with somebody already.
    External,
    /// Nobody is signed in.
    Nobody,
}

/// A login file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodexError {
    /// Sign in to Codex again: this is not its file. The text is secret, so only the place is told.
    #[error("this is not a login of the Codex CLI (line {line}, column {column})")]
    Unreadable {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// Use an ordinary sign-in: this one is of a kind that authd does not know.
    #[error("this login is of the kind {0}, which authd cannot keep")]
    Unknown(String),
    /// Sign in to Codex again: the id token in the file cannot be read.
    #[error("the id token in the file cannot be read")]
    IdToken,
}

#[derive(Deserialize)]
struct Sent {
    auth_mode: Option<String>,
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: Option<String>,
    tokens: Option<SentTokens>,
    last_refresh: Option<Timestamp>,
}

#[expect(clippy::struct_field_names, reason = "the names are the file's")]
#[derive(Deserialize)]
struct SentTokens {
    id_token: String,
    access_token: String,
    refresh_token: String,
}

/// What a login file's text means at `now`.
pub fn parse(text: &str, now: Timestamp) -> Result<CodexLogin, CodexError> {
    let sent: Sent = serde_json::from_str(text)
        .map_err(|error| CodexError::Unreadable { line: error.line(), column: error.column() })?;
    let key = sent.api_key.filter(|key| !key.trim().is_empty()).map(ApiKey::new);
    let tokens = sent.tokens.filter(|tokens| !tokens.access_token.is_empty());
    match (sent.auth_mode.as_deref(), key, tokens) {
        (Some("chatgptAuthTokens"), ..) => Ok(CodexLogin::External),
        (Some("apikey"), Some(key), _) | (None, Some(key), None) => {
            Ok(grant(Grant::own_key(key, "the key was taken over from Codex", now)))
        }
        // Old files have both, and no mode: the plan decides, as it did in the Codex of their time.
        (None, Some(key), Some(tokens)) => with_tokens(tokens, Some(key), sent.last_refresh, now),
        (None | Some("chatgpt"), _, Some(tokens)) => with_tokens(tokens, None, sent.last_refresh, now),
        (None | Some("chatgpt" | "apikey"), ..) => Ok(CodexLogin::Nobody),
        (Some(other), ..) => Err(CodexError::Unknown(short(other))),
    }
}

fn with_tokens(
    sent: SentTokens,
    key: Option<ApiKey>,
    last_refresh: Option<Timestamp>,
    now: Timestamp,
) -> Result<CodexLogin, CodexError> {
    if sent.refresh_token.is_empty() {
        return Ok(CodexLogin::External);
    }
    let id_token = IdToken::new(sent.id_token);
    let identity = claims::identity(&id_token).map_err(|_| CodexError::IdToken)?;
    let access_token = AccessToken::new(sent.access_token);
    let expires_at = expiry_of_old(&access_token, None, now).map_or(now, |(expires_at, _)| expires_at);
    let tokens =
        Tokens { access_token, refresh_token: Some(RefreshToken::new(sent.refresh_token)), expires_at };
    let wants_key = matches!(plan::decide(ModePreference::Auto, &identity), plan::Decision::TryApiKey { .. });
    let (secrets, reason) = match key.filter(|_| wants_key) {
        Some(key) => {
            (GrantSecrets::ApiKey(key, Some(Box::new((tokens, id_token)))), "Codex had a key for this plan")
        }
        None => (GrantSecrets::ChatGpt(tokens, Some(id_token)), "the login was taken over from Codex"),
    };
    let issued_at = last_refresh.unwrap_or(now).min(now);
    Ok(grant(Grant { identity: identity.into(), secrets, mode_reason: reason.into(), issued_at }))
}

fn grant(grant: Grant) -> CodexLogin {
    CodexLogin::Grant(Box::new(grant))
}

/// What a file in the external form says.
#[derive(Clone, Debug)]
pub enum External<'a> {
    /// An access token and its workspace.
    ChatGpt {
        /// The token. It stands in for the id token, too: it has the same claims.
        access_token: &'a str,
        /// The workspace; without one Codex does not work in this form.
        account_id: &'a str,
    },
    /// An API key.
    ApiKey(&'a str),
}

/// A file in the external form: nothing in it can be spent.
pub fn external(content: &External<'_>, last_refresh: Timestamp) -> SecretString {
    pretty(&match content {
        External::ChatGpt { access_token, account_id } => json!({
            "auth_mode": "chatgptAuthTokens",
            "OPENAI_API_KEY": null,
            "tokens": {"id_token": access_token, "access_token": access_token, "refresh_token": "", "account_id": account_id},
            "last_refresh": last_refresh,
        }),
        External::ApiKey(key) => json!({"auth_mode": "apikey", "OPENAI_API_KEY": key}),
    })
}

/// A file that is a login: whoever has it owns the refresh token. None, if the id token is missing, without which
/// Codex takes the file for damaged.
pub fn login(grant: &Grant) -> Option<SecretString> {
    let key = match &grant.secrets {
        GrantSecrets::ApiKey(key, _) => Some(key.expose()),
        GrantSecrets::ChatGpt(..) => None,
    };
    let mut file = json!({"OPENAI_API_KEY": key});
    // A file with both and no mode is what Codex itself wrote for such an account.
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

fn short(word: &str) -> String {
    word.chars().filter(char::is_ascii_graphic).take(40).collect()
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use serde_json::Value;

    use super::*;

    const NOW: &str = "2026-11-23T14:00:00Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a constant")
    }

    fn jwt(claims: &Value) -> String {
        use base64::Engine;
        let part = |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.sig", part(&json!({"alg": "none"})), part(claims))
    }

    fn file(mode: Option<&str>, key: Option<&str>, plan: &str, refresh: &str) -> String {
        let id = jwt(&json!({"email": "user@example.com", "https://api.openai.com/auth":
            {"chatgpt_plan_type": plan, "chatgpt_account_id": "acc", "chatgpt_user_id": "user"}}));
        let access = jwt(&json!({"exp": 4_102_444_800_u64}));
        let mut file = json!({"OPENAI_API_KEY": key, "last_refresh": "2026-11-20T00:00:00Z",
            "tokens": {"id_token": id, "access_token": access, "refresh_token": refresh, "account_id": "acc"}});
        if let Some(mode) = mode {
            file["auth_mode"] = json!(mode);
        }
        file.to_string()
    }

    fn taken(text: &str) -> Grant {
        match parse(text, now()) {
            Ok(CodexLogin::Grant(grant)) => *grant,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_of_file_means_what_codex_means_by_it() {
        let chatgpt = taken(&file(Some("chatgpt"), Some("sk-1"), "business", "rt"));
        assert_eq!(chatgpt.secrets.mode(), crate::Mode::ChatGpt, "a new file's mode decides");
        assert_eq!(chatgpt.issued_at.to_string(), "2026-11-20T00:00:00Z");
        assert_eq!(chatgpt.identity.account_id.as_deref(), Some("acc"));
        assert_eq!(taken(&file(None, Some("sk-1"), "business", "rt")).secrets.mode(), crate::Mode::ApiKey);
        assert_eq!(taken(&file(None, Some("sk-1"), "plus", "rt")).secrets.mode(), crate::Mode::ChatGpt);
        let key = taken(r#"{"OPENAI_API_KEY":"sk-1"}"#);
        assert!(key.secrets.refresh_token().is_none() && key.secrets.mode() == crate::Mode::ApiKey);
        for external in [file(Some("chatgptAuthTokens"), None, "plus", ""), file(None, None, "plus", "")] {
            assert!(matches!(parse(&external, now()), Ok(CodexLogin::External)));
        }
        assert!(matches!(parse("{}", now()), Ok(CodexLogin::Nobody)));
        let other = parse(r#"{"auth_mode":"agentIdentity"}"#, now()).unwrap_err();
        assert_eq!(other, CodexError::Unknown("agentIdentity".to_owned()));
        assert!(matches!(parse("{\"secret\": oops", now()), Err(CodexError::Unreadable { .. })));
    }

    #[test]
    fn a_login_that_is_given_back_is_the_one_that_was_taken() {
        for text in [
            file(Some("chatgpt"), None, "plus", "rt-1"),
            file(None, Some("sk-1"), "business", "rt-2"),
            r#"{"OPENAI_API_KEY":"sk-1"}"#.to_owned(),
        ] {
            let grant = taken(&text);
            let again = taken(login(&grant).unwrap().expose_secret());
            assert_eq!(again.identity, grant.identity);
            let token = |grant: &Grant| grant.secrets.refresh_token().map(|token| token.expose().to_owned());
            assert_eq!(token(&again), token(&grant));
        }
    }

    #[test]
    fn the_external_form_has_nothing_to_spend() {
        let access_token = jwt(&json!({"exp": 4_102_444_800_u64}));
        let content = External::ChatGpt { access_token: &access_token, account_id: "acc" };
        let text = external(&content, now());
        let file: Value = serde_json::from_str(text.expose_secret()).expect("our own JSON");
        let recorded: Value =
            serde_json::from_str(include_str!("../tests/wire/codex-0.169.0.json")).expect("JSON");
        let form = &recorded["external_token_file"]["file"];
        let keys = |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
        assert_eq!(keys(&file), keys(form));
        assert_eq!(keys(&file["tokens"]), keys(&form["tokens"]));
        assert_eq!((&file["auth_mode"], &file["tokens"]["refresh_token"]), (&form["auth_mode"], &json!("")));
        assert_eq!(file["last_refresh"], form["last_refresh"]);
        assert!(matches!(parse(text.expose_secret(), now()), Ok(CodexLogin::External)));
    }
}
