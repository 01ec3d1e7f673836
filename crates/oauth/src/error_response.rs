//! Maps a provider's error response to a [`ProviderError`]. Nothing of a body is kept but a
//! validated code.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use serde::Deserialize;

use crate::{ErrorCode, ProviderError};

/// The kind of call: the same status means different things to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A refresh: a wrong verdict would end a grant, so only a certain rejection counts as final.
    Refresh,
    /// A refresh at a defined provider: only the code that the protocol has for this ends a grant
    /// (RFC 6749, section 5.2). A rejected client is a matter of the configuration.
    BearerRefresh,
    /// An exchange, a revocation, a device authorization: the user is waiting and can start again.
    Other,
}

/// The error of a response that is not a success.
pub fn classify(
    call: Call,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> ProviderError {
    let number = status.as_u16();
    let code = error_code(body);
    if let Some(code) = code.clone().filter(|code| ends_grant(call, status, code)) {
        return ProviderError::Rejected { status: number, code };
    }
    if is_unavailable(status) {
        return ProviderError::Unavailable { status: number, code, retry_after: retry_after(headers, now) };
    }
    let is_unauthorized = status == StatusCode::UNAUTHORIZED && call != Call::BearerRefresh;
    match code {
        Some(code) if is_unauthorized || call == Call::Other && status.is_client_error() => {
            ProviderError::Rejected { status: number, code }
        }
        // An empty 401 is final for a refresh too: a captive portal does not respond like that.
        None if is_unauthorized && body.is_empty() => {
            ProviderError::Rejected { status: number, code: ErrorCode::new("unknown") }
        }
        Some(code) if status.is_client_error() => {
            ProviderError::RejectedForNow { status: number, code, retry_after: retry_after(headers, now) }
        }
        Some(_) => ProviderError::invalid(format!("status {number} with an error code")),
        None => ProviderError::invalid(describe_non_json(status, headers, body)),
    }
}

/// Whether the status asks for a pause, or tells of a failure of the provider itself.
fn is_unavailable(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) || status.is_server_error()
}

/// Whether the response ends a grant: `invalid_grant` does at the status that RFC 6749 names
/// (section 5.2). The Codex CLI decides alike (docs/protocol.md, section 7). Defined providers have
/// been seen to use other statuses, so theirs counts at each that blames the request.
fn ends_grant(call: Call, status: StatusCode, code: &ErrorCode) -> bool {
    let is_invalid_grant = code.as_str() == "invalid_grant";
    match call {
        Call::BearerRefresh => is_invalid_grant && status.is_client_error() && !is_unavailable(status),
        Call::Refresh | Call::Other => {
            code.ends_grant() || is_invalid_grant && status == StatusCode::BAD_REQUEST
        }
    }
}

/// The status of a token response: 400 for a success that contains an error and no token.
pub fn status_of_token_response(status: StatusCode, body: &[u8]) -> StatusCode {
    #[derive(Deserialize)]
    struct Body {
        error: Option<String>,
        access_token: Option<serde::de::IgnoredAny>,
    }
    let is_error = |body: Body| body.error.is_some() && body.access_token.is_none();
    let is_error = status.is_success() && serde_json::from_slice(body).is_ok_and(is_error);
    if is_error { StatusCode::BAD_REQUEST } else { status }
}

/// The value of `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value.replace("GMT", "+0000")).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

fn describe_non_json(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_ascii_lowercase();
    let number = status.as_u16();
    if text.contains("cloudflare") {
        return format!("status {number} from Cloudflare, which blocks some regions and networks");
    }
    let is_html = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"text/html"));
    if is_html || text.trim_start().starts_with('<') {
        return format!("status {number} with a web page where JSON was expected");
    }
    format!("status {number} without the expected JSON")
}

/// An error body: `{"error":{…}}`, `{"error":"code","error_description":…}`, `{"detail":…}` or
/// `{"code":…}`.
#[derive(Deserialize)]
struct ErrorBody {
    error: Option<ErrorValue>,
    code: Option<String>,
    detail: Option<ErrorValue>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorValue {
    Text(String),
    Object { code: Option<String>, message: Option<String> },
}

/// The error code of a body. None if the body is not an error of the provider.
pub(crate) fn error_code(body: &[u8]) -> Option<ErrorCode> {
    let ErrorBody { error, code: outer, detail, error_description } = serde_json::from_slice(body).ok()?;
    let (code, message) = match error.or(detail) {
        Some(ErrorValue::Object { code, message }) => (code, message),
        Some(ErrorValue::Text(text)) => (Some(text.clone()), error_description.or(Some(text))),
        None => (Some(outer.clone()?), None),
    };
    // The only rejection with a message and no code (protocol.md, section 7).
    if message.is_some_and(|message| message.to_ascii_lowercase().contains("session has ended")) {
        return Some(ErrorCode::new("session_ended"));
    }
    Some(ErrorCode::new(code.or(outer).as_deref().unwrap_or("unknown")))
}
