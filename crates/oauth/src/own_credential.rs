//! Credentials that a user supplies: a personal access token, an API key, or the token of a defined
//! provider. Before one is stored, a request is made with it. These functions say what the answer
//! proves.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    AccessToken, ApiKey, Authority, ErrorCode, Identity, Plan, ProviderError, claims,
    error_response::{self, Call},
    sign_in::identity_of_userinfo,
};

/// What every personal access token of OpenAI begins with.
pub const PERSONAL_ACCESS_TOKEN: &str = "at-";

/// GitHub's header with the expiry of a token.
const GITHUB_EXPIRATION: &str = "github-authentication-token-expiration";

/// The codes of a key that is known and has nothing left to spend.
const SPENT_QUOTA: [&str; 3] = ["insufficient_quota", "billing_hard_limit_reached", "billing_not_active"];

/// The codes of a key that is known and may not list the models.
const LACKS_SCOPE: [&str; 3] = ["missing_scope", "insufficient_scope", "insufficient_permissions"];

/// The answer to a request with a credential.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty if it was not read.
    pub body: Bytes,
}

/// Why a credential is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The server rejects the credential, with this code.
    #[error("the provider rejects it: {}", .0.explained())]
    Rejected(ErrorCode),
    /// The server says nothing about the credential now.
    #[error("{0}")]
    Failed(#[from] ProviderError),
    /// This answer does not depend on the credential, so far as is known.
    #[error("{url} answered {status}, which does not show whether the token is valid")]
    Inconclusive {
        /// The URL.
        url: String,
        /// The status.
        status: u16,
    },
}

/// What an accepted API key can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It lists the models.
    Ready,
    /// The provider knows it. It is a restricted key that may not list the models.
    Restricted,
    /// The provider knows it, and its quota is used up.
    OutOfQuota,
}

/// How the token of a defined provider is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenCheck {
    /// `GET` at the `check_url` of the definition.
    CheckUrl(String),
    /// The userinfo endpoint (`OpenID` Connect Core, section 5.3).
    Userinfo(String),
    /// `initialize` at an MCP server.
    Mcp(String),
    /// `GET` at the `base_url` of the definition.
    BaseUrl(String),
}

/// What an answer says about an accepted token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedToken {
    /// The user, as far as the answer states one.
    pub identity: Identity,
    /// When the token expires, if the answer or the token says so.
    pub expires_at: Option<Timestamp>,
}

/// The user of a personal access token of OpenAI.
pub fn whoami(answer: &Answer, now: Timestamp) -> Result<Identity, CheckError> {
    #[derive(Deserialize)]
    struct Whoami {
        email: Option<String>,
        chatgpt_user_id: String,
        chatgpt_account_id: String,
        chatgpt_plan_type: String,
        chatgpt_account_is_fedramp: bool,
    }
    if !answer.status.is_success() {
        return Err(failure(answer, now));
    }
    let unusable = || ProviderError::invalid("a success status without the user of the token");
    let whoami: Whoami = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
    let printable = |text: String| claims::printable(Some(text));
    Ok(Identity {
        email: whoami.email.and_then(printable),
        // The Codex CLI lower-cases it, too.
        plan: printable(whoami.chatgpt_plan_type.to_ascii_lowercase()).map(Plan::new),
        user_id: Some(printable(whoami.chatgpt_user_id).ok_or_else(unusable)?),
        account_id: Some(printable(whoami.chatgpt_account_id).ok_or_else(unusable)?),
        fedramp: whoami.chatgpt_account_is_fedramp,
        ..Identity::default()
    })
}

/// The state of an API key, from the answer to a request for the list of models.
///
/// A restricted key is refused there although the provider knows it, with 401 or 403 and the scopes
/// that it lacks. Used-up quota proves the key, too. Another 429 proves nothing: such limits also
/// apply to an address, whatever key it sends.
pub fn api_key(key: &ApiKey, answer: &Answer, now: Timestamp) -> Result<KeyState, CheckError> {
    let Answer { status, body, .. } = answer;
    if status.is_success() {
        let is_list =
            serde_json::from_slice::<Value>(body).is_ok_and(|list| list.is_object() || list.is_array());
        let invalid = || ProviderError::invalid("a success status without a list of models").into();
        return if is_list { Ok(KeyState::Ready) } else { Err(invalid()) };
    }
    let code = error_response::error_code(body);
    let has_code = |codes: &[&str]| code.as_ref().is_some_and(|code| codes.contains(&code.as_str()));
    // An access token of a ChatGPT login lacks the same scopes, and is no key.
    let is_key = claims::times(key.expose()).expires_at.is_none();
    let is_refusal = matches!(*status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if is_refusal && is_key && (has_code(&LACKS_SCOPE) || names_missing_scopes(body)) {
        return Ok(KeyState::Restricted);
    }
    if *status == StatusCode::TOO_MANY_REQUESTS && has_code(&SPENT_QUOTA) {
        return Ok(KeyState::OutOfQuota);
    }
    Err(failure(answer, now))
}

/// What an answer says about the token of a defined provider.
pub fn token(
    check: &TokenCheck,
    token: &AccessToken,
    answer: &Answer,
    authority: &Authority,
    now: Timestamp,
) -> Result<CheckedToken, CheckError> {
    let Answer { status, headers, body } = answer;
    let inconclusive = || {
        let (TokenCheck::CheckUrl(url)
        | TokenCheck::Userinfo(url)
        | TokenCheck::Mcp(url)
        | TokenCheck::BaseUrl(url)) = check;
        CheckError::Inconclusive { url: url.clone(), status: status.as_u16() }
    };
    if !status.is_success() {
        let says_nothing = status.is_redirection()
            || status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 407 | 408 | 429);
        return Err(if says_nothing { inconclusive() } else { failure(answer, now) });
    }
    let is_of_type = |types: &[&str]| {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| types.iter().any(|name| value.trim_start().starts_with(name)))
    };
    let realm = Some(authority.realm());
    let stated: Value = serde_json::from_slice(body).unwrap_or_default();
    let identity = match check {
        TokenCheck::Userinfo(_) => identity_of_userinfo(body, authority)
            .ok_or_else(|| ProviderError::invalid("a userinfo response without a user"))?,
        TokenCheck::Mcp(_) if !is_of_type(&["application/json", "text/event-stream"]) => {
            return Err(ProviderError::invalid("a success status without a message of MCP").into());
        }
        // A web page is the same for every visitor.
        TokenCheck::BaseUrl(_) if is_of_type(&["text/html"]) => return Err(inconclusive()),
        TokenCheck::Mcp(_) | TokenCheck::BaseUrl(_) => Identity { realm, ..Identity::default() },
        // A token that is listed as one that has ended.
        TokenCheck::CheckUrl(_) if stated["active"] == false || stated["revoked"] == true => {
            return Err(CheckError::Rejected(ErrorCode::new("token_revoked")));
        }
        TokenCheck::CheckUrl(_) if is_of_type(&["text/html"]) => {
            return Err(ProviderError::invalid("a web page where JSON was expected").into());
        }
        TokenCheck::CheckUrl(_) => Identity { realm, ..stated_user(&stated) },
    };
    let of_header = headers.get(GITHUB_EXPIRATION).and_then(|value| github_time(value.to_str().ok()?));
    let of_body = stated["expires_at"].as_str().and_then(time_or_date);
    let of_token = claims::times(token.expose()).expires_at;
    // The server has just accepted the token, so an expiry in the past is that of a wrong clock.
    let expires_at = [of_header, of_body, of_token].into_iter().flatten().filter(|at| *at > now).min();
    Ok(CheckedToken { identity, expires_at })
}

/// The user that the JSON of a `check_url` states: in the form of a userinfo response, of GitLab's
/// description of a token, or of GitHub's and GitLab's description of a user.
fn stated_user(stated: &Value) -> Identity {
    let text = |value: &Value| match value {
        Value::String(text) => claims::printable(Some(text.clone())),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    };
    // The `id` of something that is no user may be the token's own.
    let is_user = stated["login"].is_string() || stated["username"].is_string();
    let of_user = || text(&stated["id"]).filter(|_| is_user);
    Identity {
        email: stated["email"].as_str().and_then(|_| text(&stated["email"])),
        user_id: text(&stated["sub"]).or_else(|| text(&stated["user_id"])).or_else(of_user),
        ..Identity::default()
    }
}

/// An answer that does not accept a credential.
fn failure(answer: &Answer, now: Timestamp) -> CheckError {
    let Answer { status, headers, body } = answer;
    let code = error_response::error_code(body);
    match (status.as_u16(), code) {
        (401, code) => CheckError::Rejected(code.unwrap_or_else(|| ErrorCode::new(""))),
        (403, Some(code)) => CheckError::Rejected(code),
        _ => match error_response::classify(Call::Other, *status, headers, body, now) {
            // A wrong path or a proxy, perhaps. It says nothing about the credential.
            ProviderError::Rejected { status, .. } => {
                ProviderError::invalid(format!("status {status} with an error code")).into()
            }
            error => error.into(),
        },
    }
}

/// Whether an error says that scopes are missing. OpenAI's has no code.
fn names_missing_scopes(body: &[u8]) -> bool {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = body["error"]["message"].as_str().unwrap_or_default();
    message.to_ascii_lowercase().contains("missing scopes")
}

/// GitHub's form of a time: `2026-12-31 08:00:00 UTC`, or with an offset such as `+0200`.
fn github_time(text: &str) -> Option<Timestamp> {
    let text = text.replace("UTC", "+0000");
    Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", text).ok()
}

/// A time (RFC 3339), or a date, at whose beginning a token of GitLab expires.
fn time_or_date(text: &str) -> Option<Timestamp> {
    text.parse().or_else(|_| format!("{text}T00:00:00Z").parse()).ok()
}
