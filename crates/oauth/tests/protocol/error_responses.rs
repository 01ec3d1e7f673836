//! The classification of error responses.

use std::time::Duration;

use authd_oauth::{
    ErrorCode, ProviderError,
    error_response::{Call, classify},
};
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;

fn classified(call: Call, status: u16, body: &str) -> ProviderError {
    let status = StatusCode::from_u16(status).unwrap();
    classify(call, status, &HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH)
}

fn code_of(error: ProviderError) -> Option<String> {
    match error {
        ProviderError::Rejected { code, .. } => Some(code.to_string()),
        _ => None,
    }
}

#[test]
fn code_that_ends_the_grant_is_recognised_at_any_status() {
    for code in
        ["refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated", "invalid_grant"]
    {
        for status in [400, 401, 403, 500] {
            for body in [
                format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#),
                format!(r#"{{"error":"{code}","error_description":"d"}}"#),
                format!(r#"{{"code":"{}"}}"#, code.to_uppercase()),
            ] {
                let found = code_of(classified(Call::Refresh, status, &body));
                assert_eq!(found.as_deref(), Some(code), "{status} {body}");
            }
        }
    }
    let ended = r#"{"error":{"message":"Your session has ended. Please log in again.","code":null}}"#;
    assert_eq!(code_of(classified(Call::Refresh, 400, ended)).as_deref(), Some("session_ended"));
}

#[test]
fn temporary_failure_does_not_end_the_grant() {
    for (status, body) in [
        (400, r#"{"error":"temporarily"}"#),
        (403, "<html>Cloudflare"),
        (404, ""),
        (302, ""),
        (200, "<html>"),
    ] {
        let error = classified(Call::Refresh, status, body);
        assert!(matches!(error, ProviderError::InvalidResponse { .. }), "{status}: {error:?}");
    }
    for status in [408, 429, 500, 502, 503, 504] {
        let error = classified(Call::Refresh, status, "x");
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{status}");
    }
    let code = code_of(classified(Call::Refresh, 401, "{\"error\":\"x y\"}"));
    assert_eq!(code.as_deref(), Some("unknown"));
}

#[test]
fn body_is_not_passed_on_except_for_its_code() {
    let error = classified(Call::Other, 400, r#"{"error":{"code":"<script>","message":"secret"}}"#);
    assert_eq!(error, ProviderError::Rejected { status: 400, code: ErrorCode::new("unknown") });
    assert!(!classified(Call::Other, 200, "secret-text").to_string().contains("secret-text"));
}

#[test]
fn retry_after_is_parsed_in_both_forms() {
    for (value, wait) in [("17", Some(17)), ("Thu, 01 Jan 1970 00:01:00 GMT", Some(60)), ("soon", None)] {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]);
        let status = StatusCode::TOO_MANY_REQUESTS;
        let error = classify(Call::Refresh, status, &headers, b"", Timestamp::UNIX_EPOCH);
        let retry_after = wait.map(Duration::from_secs);
        assert_eq!(error, ProviderError::Unavailable { status: 429, retry_after }, "{value}");
    }
}
