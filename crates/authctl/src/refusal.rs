//! What an upstream's refusal means to the person who asked: whether to sign in, to mend the question, or
//! to wait. The provider's own words are shown short and harmless; nothing is asked again here.

use authd_api::{ErrorCode, PROBLEM_TYPE, Problem};
use http::{HeaderMap, StatusCode, header};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::Value;

use crate::{printable, time};

/// The longest quotation of the provider, in characters: a sentence or two.
const MAX_QUOTE: usize = 200;

/// Why a relayed request was refused, by authd itself or by the provider. `now` and `zone` are for saying
/// when a limit is lifted.
pub(crate) fn problem(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
    zone: &TimeZone,
) -> Problem {
    // The provider does not use this media type; the daemon's own problems all do.
    let own = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_TYPE);
    if let Some(problem) = own.then(|| serde_json::from_slice(body).ok()).flatten() {
        return problem;
    }
    let refusal = Refusal::parse(body);
    let said = refusal.said(status);
    match (status.as_u16(), refusal.code.as_deref()) {
        (401, _) => Problem::new(
            ErrorCode::LoginRequired,
            format!("the provider does not take the credential: {said}"),
        )
        .hint("run: authctl refresh; if that does not help: authctl login"),
        (403, _) if refusal.blocked => Problem::new(
            ErrorCode::LoginDenied,
            "access is blocked on the way to the provider (403, Cloudflare)",
        )
        .hint("this happens on networks of data centres and in some countries: try another network"),
        (403, _) => Problem::new(ErrorCode::LoginDenied, format!("the provider does not allow this: {said}"))
            .hint("authctl check shows what this account may do"),
        (429, Some("usage_limit_reached")) => usage_limit(&refusal, now, zone),
        (429, Some("usage_not_included" | "insufficient_quota")) => {
            Problem::new(ErrorCode::ProviderRefused, format!("the plan does not include this: {said}"))
        }
        (429, _) => {
            Problem::new(ErrorCode::ProviderUnreachable, format!("the provider asks to slow down: {said}"))
                .hint("try again in a moment")
        }
        (400..=499, _) => {
            Problem::new(ErrorCode::BadRequest, format!("the provider refuses the request: {said}"))
        }
        _ => Problem::new(ErrorCode::ProviderUnreachable, format!("the provider is in trouble: {said}"))
            .hint("try again in a moment"),
    }
}

/// A stream that ended in a refusal instead of an answer.
pub(crate) fn stream_failed(code: Option<&str>, message: Option<&str>) -> Problem {
    let said = match (message.map(quote), code.map(quote)) {
        (Some(message), Some(code)) => format!("{message} ({code})"),
        (Some(words), None) | (None, Some(words)) => words,
        (None, None) => "no reason was given".to_owned(),
    };
    Problem::new(ErrorCode::ProviderRefused, format!("the provider gave up: {said}"))
}

/// Somebody else's words, short and harmless: one line, no control characters.
pub(crate) fn quote(words: &str) -> String {
    let plain: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let one_line = printable::value(&plain).split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(MAX_QUOTE) {
        Some((end, _)) => format!("{}…", &one_line[..end]),
        None => one_line,
    }
}

/// A refusal as the provider words it, in one of its forms: `{"detail": "…"}`, `{"detail": {…}}`,
/// `{"error": {…}}`, or a page.
#[derive(Default)]
struct Refusal {
    code: Option<String>,
    message: Option<String>,
    resets_at: Option<Timestamp>,
    resets_in: Option<i64>,
    blocked: bool,
}

impl Refusal {
    fn parse(body: &[u8]) -> Self {
        let Ok(Value::Object(sent)) = serde_json::from_slice(body) else {
            let page = String::from_utf8_lossy(body);
            return Self {
                blocked: page.contains("Cloudflare") && page.contains("blocked"),
                ..Self::default()
            };
        };
        let told = sent.get("error").or_else(|| sent.get("detail")).unwrap_or(&Value::Null);
        let word = |name: &str| told.get(name).and_then(Value::as_str).map(str::to_owned);
        let seconds = |name: &str| told.get(name).and_then(Value::as_i64);
        // The kinds that matter here stand in `type`; elsewhere `type` is a mere category of `code`.
        let kind = word("type").filter(|kind| kind.starts_with("usage_"));
        Self {
            code: kind.or_else(|| word("code")),
            message: word("message").or_else(|| told.as_str().map(str::to_owned)),
            resets_at: seconds("resets_at").and_then(|at| Timestamp::from_second(at).ok()),
            resets_in: seconds("resets_in_seconds"),
            blocked: false,
        }
    }

    /// The provider's words with the status, which helps when asking for help.
    fn said(&self, status: StatusCode) -> String {
        let status = status.as_u16();
        match (&self.message, &self.code) {
            (Some(message), Some(code)) => format!("{} ({status} {})", quote(message), quote(code)),
            (Some(words), None) | (None, Some(words)) => format!("{} ({status})", quote(words)),
            (None, None) => format!("status {status}"),
        }
    }
}

fn usage_limit(refusal: &Refusal, now: Timestamp, zone: &TimeZone) -> Problem {
    let later = |seconds: i64| Timestamp::from_second(now.as_second().saturating_add(seconds)).ok();
    let lifted = refusal.resets_at.or_else(|| refusal.resets_in.and_then(later));
    let Some(at) = lifted.filter(|at| *at > now) else {
        return Problem::new(ErrorCode::ProviderRefused, "the plan's usage limit is reached");
    };
    let detail = format!(
        "the plan's usage limit is reached; it is lifted at {} ({})",
        time::on_the_clock(at, now, zone),
        time::relative(at, now)
    );
    let seconds = u64::try_from(at.as_second() - now.as_second()).unwrap_or(0);
    Problem::new(ErrorCode::ProviderRefused, detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-23T14:00:00Z";

    fn refused(status: u16, body: &str) -> Problem {
        let status = StatusCode::from_u16(status).unwrap();
        problem(status, &HeaderMap::new(), body.as_bytes(), NOW.parse().unwrap(), &TimeZone::UTC)
    }

    #[test]
    fn each_refusal_tells_whose_turn_it_is() {
        let error =
            |kind: &str, message: &str| json!({"error": {"type": kind, "message": message}}).to_string();
        let cases = [
            (
                401,
                json!({"detail": {"code": "token_expired", "message": "expired."}}).to_string(),
                4,
                "expired. (401 token_expired)",
            ),
            (403, json!({"detail": "no"}).to_string(), 4, "no (403)"),
            (403, "<html>Cloudflare: you have been blocked</html>".into(), 4, "Cloudflare"),
            (
                400,
                json!({"detail": "Instructions are required"}).to_string(),
                2,
                "Instructions are required (400)",
            ),
            (404, error("invalid_request_error", "no such model"), 2, "no such model (404)"),
            (429, error("usage_not_included", "upgrade"), 5, "does not include"),
            (429, error("rate_limit", "slow"), 5, "slow down"),
            (500, "<html>oops</html>".into(), 5, "status 500"),
            (503, String::new(), 5, "status 503"),
        ];
        for (status, body, exit, words) in cases {
            let problem = refused(status, &body);
            assert_eq!(problem.code.exit_code(), exit, "{status} {body}");
            assert!(problem.detail.contains(words), "{:?} has no {words:?}", problem.detail);
        }
    }

    #[test]
    fn a_usage_limit_says_when_it_is_lifted() {
        let at = "2026-11-23T16:30:00Z".parse::<Timestamp>().unwrap().as_second();
        for limit in [json!({"resets_at": at}), json!({"resets_in_seconds": 9000})] {
            let mut body = json!({"error": limit});
            body["error"]["type"] = json!("usage_limit_reached");
            let problem = refused(429, &body.to_string());
            assert_eq!(
                problem.detail,
                "the plan's usage limit is reached; it is lifted at 16:30 (in 2 h 30 min)"
            );
            assert_eq!((problem.retry_after, problem.code.exit_code()), (Some(9000), 5));
        }
        let past = json!({"error": {"type": "usage_limit_reached", "resets_at": 1}}).to_string();
        assert_eq!(refused(429, &past).detail, "the plan's usage limit is reached");
    }

    #[test]
    fn the_daemons_own_problem_is_passed_on() {
        let own = Problem::new(ErrorCode::StoreLocked, "locked").hint("unlock it");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, PROBLEM_TYPE.parse().unwrap());
        let body = serde_json::to_vec(&own).unwrap();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(problem(status, &headers, &body, NOW.parse().unwrap(), &TimeZone::UTC), own);
    }

    #[test]
    fn quotations_are_short_and_harmless() {
        assert_eq!(quote("a\n\x1b[31mb\t c "), "a [31mb c");
        assert_eq!(quote(&"x".repeat(300)).chars().count(), MAX_QUOTE + 1);
    }
}
