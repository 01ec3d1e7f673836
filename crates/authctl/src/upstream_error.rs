//! Turns an error response of the relay into a problem: whether to sign in, to change the request,
//! or to wait. Messages of the provider are quoted short and without control characters.

use authd_api::{ErrorCode, PROBLEM_TYPE, Problem, Response};
use http::{StatusCode, header};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::{sanitize, time};

/// The code of a request from a country that the provider does not serve.
const REGION_RULE: &str = "unsupported_country_region_territory";

/// The longest quotation, in characters.
const MAX_QUOTE: usize = 200;

/// The remedy if the provider considers the client too old.
pub(crate) const NEWER_CLIENT: &str =
    "set version in [client] of authd.toml to a newer release of the Codex CLI, and restart authd";

/// The problem behind an error response of the daemon or, through the relay, of the provider.
pub(crate) fn problem(response: &Response) -> Problem {
    problem_at(response, time::now(), &TimeZone::system())
}

/// `now` and `zone` are for the time at which a usage limit resets.
fn problem_at(response: &Response, now: Timestamp, zone: &TimeZone) -> Problem {
    let Response { status, headers, body } = response;
    // Only the daemon uses this media type.
    let is_from_daemon = headers.get(header::CONTENT_TYPE).is_some_and(|value| value == PROBLEM_TYPE);
    if let Some(problem) = is_from_daemon.then(|| serde_json::from_slice(body).ok()).flatten() {
        return problem;
    }
    let error = UpstreamError::parse(body);
    let quoted = error.quoted(*status);
    let retry = "try again in a moment";
    let (code, detail, hint) = match (status.as_u16(), error.code.as_deref()) {
        (401, _) => (
            ErrorCode::LoginRequired,
            format!("the provider does not accept the credential: {quoted}"),
            "run: authctl refresh; if that does not help: authctl login",
        ),
        (403, _) if error.is_blocked => (
            ErrorCode::LoginDenied,
            "access is blocked on the way to the provider (403, Cloudflare)".to_owned(),
            "networks of data centres and some countries are blocked: try another network",
        ),
        (403, Some(REGION_RULE)) => (
            ErrorCode::LoginDenied,
            format!("the provider does not serve the country, region or territory of this network: {quoted}"),
            "the provider judges the address that it sees: check the VPN and the proxy in use: authctl doctor",
        ),
        (403, _) => (
            ErrorCode::LoginDenied,
            format!("the provider does not allow this request: {quoted}"),
            "authctl check shows what the account may use",
        ),
        (429, Some(code @ "usage_limit_reached")) => {
            return usage_limit(&error, now, zone).provider_code(Some(code));
        }
        (429, Some("usage_not_included" | "insufficient_quota")) => {
            (ErrorCode::ProviderRefused, format!("the plan does not include this: {quoted}"), "")
        }
        (429, _) => {
            (ErrorCode::ProviderUnreachable, format!("the provider limits the request rate: {quoted}"), retry)
        }
        (400, _) if quoted.contains("requires a newer version") => {
            (ErrorCode::BadRequest, format!("the provider rejected the request: {quoted}"), NEWER_CLIENT)
        }
        (402, Some("deactivated_workspace")) => (
            ErrorCode::LoginDenied,
            format!("the workspace is deactivated: {quoted}"),
            "sign in and choose another workspace: authctl login",
        ),
        (408 | 425, _) => {
            (ErrorCode::ProviderUnreachable, format!("the provider did not answer in time: {quoted}"), retry)
        }
        (400..=499, _) => (ErrorCode::BadRequest, format!("the provider rejected the request: {quoted}"), ""),
        _ => (ErrorCode::ProviderUnreachable, format!("the provider failed: {quoted}"), retry),
    };
    let problem = Problem::new(code, detail).provider_code(error.code.as_deref().and_then(safe_code));
    if hint.is_empty() { problem } else { problem.hint(hint) }
}

/// The problem behind an error event in a stream that began with a success status.
pub(crate) fn stream_failed(code: Option<&str>, message: Option<&str>) -> Problem {
    let quoted = match (message.map(quote), code.map(quote)) {
        (Some(message), Some(code)) => format!("{message} ({code})"),
        (Some(text), None) | (None, Some(text)) => text,
        (None, None) => "no reason given".to_owned(),
    };
    Problem::new(ErrorCode::ProviderRefused, format!("the provider ended the answer with an error: {quoted}"))
        .provider_code(code.and_then(safe_code))
}

/// A code of the provider in the form that a problem may carry.
fn safe_code(code: &str) -> Option<&str> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    Some(code).filter(|code| (1..=64).contains(&code.len()) && code.bytes().all(is_allowed))
}

/// Text of another program in one short line, without control characters.
pub(crate) fn quote(text: &str) -> String {
    let text = text.replace(char::is_control, " ");
    let line = sanitize::line(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// An error body of the provider in any of its forms: `{"detail": "…"}`, `{"detail": {…}}`,
/// `{"error": {…}}`, or an HTML page.
#[derive(Default)]
struct UpstreamError {
    code: Option<String>,
    message: Option<String>,
    resets_at: Option<Timestamp>,
    resets_in: Option<i64>,
    is_blocked: bool,
}

impl UpstreamError {
    fn parse(body: &[u8]) -> Self {
        let Ok(Value::Object(object)) = serde_json::from_slice(body) else {
            let page = String::from_utf8_lossy(body);
            let is_blocked = page.contains("Cloudflare") && page.contains("blocked");
            return Self { is_blocked, ..Self::default() };
        };
        let error = object.get("error").or_else(|| object.get("detail")).unwrap_or(&Value::Null);
        let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
        let seconds = |name: &str| error.get(name).and_then(Value::as_i64);
        // Usage limits have their code in `type`; other errors have a mere category there.
        let usage_code = text("type").filter(|kind| kind.starts_with("usage_"));
        Self {
            code: usage_code.or_else(|| text("code")),
            message: text("message").or_else(|| error.as_str().map(str::to_owned)),
            resets_at: seconds("resets_at").and_then(|at| Timestamp::from_second(at).ok()),
            resets_in: seconds("resets_in_seconds"),
            is_blocked: false,
        }
    }

    /// The message and the code, with the status.
    fn quoted(&self, status: StatusCode) -> String {
        let status = status.as_u16();
        match (&self.message, &self.code) {
            (Some(message), Some(code)) => format!("{} ({status} {})", quote(message), quote(code)),
            (Some(text), None) | (None, Some(text)) => format!("{} ({status})", quote(text)),
            (None, None) => format!("status {status}"),
        }
    }
}

fn usage_limit(error: &UpstreamError, now: Timestamp, zone: &TimeZone) -> Problem {
    let in_seconds = |seconds: i64| Timestamp::from_second(now.as_second().saturating_add(seconds)).ok();
    let reset = error.resets_at.or_else(|| error.resets_in.and_then(in_seconds));
    let Some(reset) = reset.filter(|reset| *reset > now) else {
        return Problem::new(ErrorCode::ProviderRefused, "the usage limit of the plan is reached");
    };
    let detail = format!(
        "the usage limit of the plan is reached; it resets at {} ({})",
        time::clock_time(reset, now, zone),
        time::relative(reset, now)
    );
    let seconds = u64::try_from(reset.as_second() - now.as_second()).unwrap_or(0);
    Problem::new(ErrorCode::ProviderRefused, detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-23T14:00:00Z";

    fn parse(status: u16, body: &str) -> Problem {
        let status = StatusCode::from_u16(status).unwrap();
        let response = Response { status, headers: HeaderMap::new(), body: body.to_owned().into() };
        problem_at(&response, NOW.parse().unwrap(), &TimeZone::UTC)
    }

    #[test]
    fn each_error_has_an_exit_code_and_a_reason() {
        let region = json!({"error": {"code": REGION_RULE, "message": "not supported"}}).to_string();
        let cases = [
            (
                401,
                r#"{"detail": {"code": "token_expired", "message": "expired."}}"#,
                4,
                "expired. (401 token_expired)",
            ),
            (403, r#"{"detail": "no"}"#, 4, "no (403)"),
            (403, &region, 4, "country, region or territory"),
            (402, r#"{"detail": {"code": "deactivated_workspace"}}"#, 4, "the workspace is deactivated"),
            (408, "", 5, "did not answer in time"),
            (403, "<html>Cloudflare: you have been blocked</html>", 4, "Cloudflare"),
            (400, r#"{"detail": "Instructions are required"}"#, 2, "Instructions are required (400)"),
            (
                404,
                r#"{"error": {"type": "invalid_request_error", "message": "no such model"}}"#,
                2,
                "no such model (404)",
            ),
            (
                429,
                r#"{"error": {"type": "usage_not_included", "message": "upgrade"}}"#,
                5,
                "does not include",
            ),
            (429, r#"{"error": {"type": "rate_limit", "message": "slow"}}"#, 5, "limits the request rate"),
            (500, "<html>oops</html>", 5, "status 500"),
            (503, "", 5, "status 503"),
        ];
        for (status, body, exit_code, reason) in cases {
            let problem = parse(status, body);
            assert_eq!(problem.code.exit_code(), exit_code, "{status} {body}");
            assert!(problem.detail.contains(reason), "{:?} has no {reason:?}", problem.detail);
        }
    }

    #[test]
    fn usage_limit_shows_the_reset_time() {
        let at = "2026-11-23T16:30:00Z".parse::<Timestamp>().unwrap().as_second();
        for limit in [json!({"resets_at": at}), json!({"resets_in_seconds": 9000})] {
            let mut body = json!({"error": limit});
            body["error"]["type"] = json!("usage_limit_reached");
            let problem = parse(429, &body.to_string());
            assert_eq!(
                problem.detail,
                "the usage limit of the plan is reached; it resets at 16:30 (in 2 h 30 min)"
            );
            assert_eq!((problem.retry_after, problem.code.exit_code()), (Some(9000), 5));
        }
        let past = json!({"error": {"type": "usage_limit_reached", "resets_at": 1}}).to_string();
        assert_eq!(parse(429, &past).detail, "the usage limit of the plan is reached");
    }

    #[test]
    fn code_of_the_provider_is_passed_on_if_it_is_safe() {
        let code = |code: &str| parse(403, &json!({"error": {"code": code}}).to_string()).provider_code;
        assert_eq!(code("insufficient_permissions").as_deref(), Some("insufficient_permissions"));
        for unsafe_code in ["", "a b", "\u{1b}[31m", "<b>", &"x".repeat(65)] {
            assert_eq!(code(unsafe_code), None, "{unsafe_code}");
        }
        let limit = parse(429, r#"{"error": {"type": "usage_limit_reached"}}"#);
        assert_eq!(limit.provider_code.as_deref(), Some("usage_limit_reached"));
        assert_eq!(stream_failed(Some("server_error"), None).provider_code.as_deref(), Some("server_error"));
    }

    #[test]
    fn problem_of_the_daemon_is_passed_on() {
        let own = Problem::new(ErrorCode::StoreLocked, "locked").hint("unlock it");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, PROBLEM_TYPE.parse().unwrap());
        let body = serde_json::to_vec(&own).unwrap().into();
        assert_eq!(problem(&Response { status: StatusCode::SERVICE_UNAVAILABLE, headers, body }), own);
    }

    #[test]
    fn quotation_is_one_short_line() {
        assert_eq!(quote("a\n\x1b[31mb\t c "), "a [31mb c");
        assert_eq!(quote(&"x".repeat(300)).chars().count(), MAX_QUOTE + 1);
    }
}
