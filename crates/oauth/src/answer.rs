//! What a provider's HTTP answer means: one pure function for every call. It keeps nothing of a body but
//! a validated code.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, fmt::rfc2822};
use serde::Deserialize;

use crate::{Code, ProviderError};

/// Which call an answer belongs to: the same status means different things to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A refresh: a grant hangs on it, so only what is surely final is final.
    Refresh,
    /// An exchange, a revocation, a device authorization: a person is waiting, and can start anew.
    Other,
}

/// What an answer that is not a success means.
pub fn failure(
    call: Call,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> ProviderError {
    let number = status.as_u16();
    let said = Said::parse(body);
    if let Some(code) = said.as_ref().map(Said::code).filter(Code::ends_a_grant) {
        return ProviderError::Rejected { status: number, code };
    }
    if status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || status.is_server_error()
    {
        return ProviderError::Unavailable { status: number, retry_after: retry_after(headers, now) };
    }
    match said {
        Some(said) if status == StatusCode::UNAUTHORIZED => {
            ProviderError::Rejected { status: number, code: said.code() }
        }
        Some(said) if call == Call::Other && status.is_client_error() => {
            ProviderError::Rejected { status: number, code: said.code() }
        }
        // A 401 without a word is final for a refresh too: no portal answers so.
        None if status == StatusCode::UNAUTHORIZED && body.is_empty() => {
            ProviderError::Rejected { status: number, code: Code::new("unknown") }
        }
        Some(_) => {
            ProviderError::InvalidResponse { detail: format!("status {number} with an unknown error") }
        }
        None => ProviderError::InvalidResponse { detail: strange(status, headers, body) },
    }
}

/// What `Retry-After` says: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value.replace("GMT", "+0000")).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

/// What an answer looks like that is not JSON.
fn strange(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4096)]).to_ascii_lowercase();
    let number = status.as_u16();
    if text.contains("cloudflare") {
        return format!("status {number} from Cloudflare, which blocks some regions and networks");
    }
    let html =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if html || text.trim_start().starts_with('<') {
        return format!("status {number} with a web page where JSON was expected");
    }
    format!("status {number} without the expected JSON")
}

/// An error as sent: `{"error":{…}}`, `{"error":"code","error_description":…}`, `{"detail":…}` or
/// `{"code":…}`.
#[derive(Deserialize)]
struct Said {
    error: Option<Inner>,
    code: Option<String>,
    detail: Option<Inner>,
    error_description: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inner {
    Text(String),
    Object { code: Option<String>, message: Option<String> },
}

impl Said {
    fn parse(body: &[u8]) -> Option<Self> {
        let said: Self = serde_json::from_slice(body).ok()?;
        let says = said.error.is_some() || said.code.is_some() || said.detail.is_some();
        says.then_some(said)
    }

    fn code(&self) -> Code {
        let (inner, message) = match self.error.as_ref().or(self.detail.as_ref()) {
            Some(Inner::Object { code, message }) => (code.as_deref(), message.as_deref()),
            Some(Inner::Text(text)) => {
                (Some(text.as_str()), self.error_description.as_deref().or(Some(text)))
            }
            None => (None, None),
        };
        // The one refusal that comes with a sentence and no code (protocol.md, section 7).
        let ended = message.is_some_and(|message| message.to_ascii_lowercase().contains("session has ended"));
        if ended {
            return Code::new("session_ended");
        }
        Code::new(inner.or(self.code.as_deref()).unwrap_or("unknown"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(call: Call, status: u16, body: &str) -> ProviderError {
        let status = StatusCode::from_u16(status).unwrap();
        failure(call, status, &HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH)
    }

    fn code_of(failure: ProviderError) -> Option<String> {
        match failure {
            ProviderError::Rejected { code, .. } => Some(code.to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_dead_grant_is_recognised_at_any_status() {
        for code in
            ["refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated", "invalid_grant"]
        {
            for status in [400, 401, 403, 500] {
                for body in [
                    format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#),
                    format!(r#"{{"error":"{code}","error_description":"d"}}"#),
                    format!(r#"{{"code":"{}"}}"#, code.to_uppercase()),
                ] {
                    assert_eq!(
                        code_of(meaning(Call::Refresh, status, &body)).as_deref(),
                        Some(code),
                        "{status} {body}"
                    );
                }
            }
        }
        let ended = r#"{"error":{"message":"Your session has ended. Please log in again.","code":null}}"#;
        assert_eq!(code_of(meaning(Call::Refresh, 400, ended)).as_deref(), Some("session_ended"));
    }

    #[test]
    fn what_may_pass_is_not_taken_for_the_end() {
        for (status, body) in [
            (400, r#"{"error":"temporarily"}"#),
            (403, "<html>Cloudflare"),
            (404, ""),
            (302, ""),
            (200, "<html>"),
        ] {
            let failure = meaning(Call::Refresh, status, body);
            assert!(matches!(failure, ProviderError::InvalidResponse { .. }), "{status}: {failure:?}");
        }
        for status in [408, 429, 500, 502, 503, 504] {
            assert!(
                matches!(meaning(Call::Refresh, status, "x"), ProviderError::Unavailable { .. }),
                "{status}"
            );
        }
        assert_eq!(code_of(meaning(Call::Refresh, 401, "{\"error\":\"x y\"}")).as_deref(), Some("unknown"));
    }

    #[test]
    fn nothing_of_a_body_but_a_code_gets_out() {
        let failure = meaning(Call::Other, 400, r#"{"error":{"code":"<script>","message":"secret"}}"#);
        assert_eq!(failure, ProviderError::Rejected { status: 400, code: Code::new("unknown") });
        assert!(!meaning(Call::Other, 200, "secret-text").to_string().contains("secret-text"));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, "17".parse().unwrap());
        assert_eq!(retry_after(&headers, Timestamp::UNIX_EPOCH), Some(Duration::from_secs(17)));
        headers.insert(header::RETRY_AFTER, "Thu, 01 Jan 1970 00:01:00 GMT".parse().unwrap());
        assert_eq!(retry_after(&headers, Timestamp::UNIX_EPOCH), Some(Duration::from_secs(60)));
        headers.insert(header::RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(retry_after(&headers, Timestamp::UNIX_EPOCH), None);
    }
}
