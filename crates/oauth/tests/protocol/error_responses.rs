//! The classification of error responses.

use std::time::Duration;

use authd_oauth::{
    ErrorCode, ProviderError,
    error_response::{Call, classify, status_of_token_response},
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
    for code in ["refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"] {
        for status in [400, 401, 403, 500] {
            for body in bodies(code) {
                let found = code_of(classified(Call::Refresh, status, &body));
                assert_eq!(found.as_deref(), Some(code), "{status} {body}");
            }
        }
    }
}

#[test]
fn invalid_grant_ends_the_grant_only_at_the_status_of_the_standard() {
    for body in bodies("invalid_grant") {
        for (status, ends) in [(400, true), (401, true), (403, false), (500, false)] {
            let error = classified(Call::Refresh, status, &body);
            assert_eq!(error.is_permanent(), ends, "{status} {body}: {error:?}");
        }
    }
}

#[test]
fn other_rejection_of_a_refresh_ends_the_grant_only_as_unauthorized() {
    let ended = r#"{"error":{"message":"Your session has ended. Please log in again.","code":null}}"#;
    let with_code = |code: &str| format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#);
    for (code, body) in [
        ("token_expired", with_code("token_expired")),
        ("token_invalidated", with_code("token_invalidated")),
        ("token_revoked", with_code("token_revoked")),
        ("invalid_refresh_token", with_code("invalid_refresh_token")),
        ("invalid_client", r#"{"error":"invalid_client"}"#.to_owned()),
        ("unsupported_country_region_territory", with_code("unsupported_country_region_territory")),
        ("temporarily", r#"{"error":"temporarily"}"#.to_owned()),
        ("session_ended", ended.to_owned()),
    ] {
        for status in [400, 403, 404] {
            let error = classified(Call::Refresh, status, &body);
            let expected =
                ProviderError::RejectedForNow { status, code: ErrorCode::new(code), retry_after: None };
            assert_eq!(error, expected, "{body}");
            assert!(!error.is_permanent() && error.to_string().contains(code), "{error}");
        }
        assert_eq!(code_of(classified(Call::Refresh, 401, &body)).as_deref(), Some(code), "{body}");
        assert_eq!(code_of(classified(Call::Other, 400, &body)).as_deref(), Some(code), "{body}");
    }
}

/// The forms of an error body with this code.
fn bodies(code: &str) -> [String; 3] {
    [
        format!(r#"{{"error":{{"code":"{code}","message":"m"}}}}"#),
        format!(r#"{{"error":"{code}","error_description":"d"}}"#),
        format!(r#"{{"code":"{}"}}"#, code.to_uppercase()),
    ]
}

#[test]
fn temporary_failure_does_not_end_the_grant() {
    for (status, body) in [(403, "<html>Cloudflare"), (404, ""), (302, ""), (200, "<html>")] {
        let error = classified(Call::Refresh, status, body);
        assert!(matches!(error, ProviderError::InvalidResponse { .. }), "{status}: {error:?}");
    }
    for status in [408, 429, 500, 502, 503, 504] {
        for (body, expected) in
            [("x", None), (r#"{"error":{"code":"rate_limit_exceeded"}}"#, Some("rate_limit_exceeded"))]
        {
            let error = classified(Call::Refresh, status, body);
            assert!(matches!(error, ProviderError::Unavailable { .. }), "{status}");
            assert_eq!(error.code().map(ErrorCode::as_str), expected, "{status}");
        }
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
        assert_eq!(error, ProviderError::Unavailable { status: 429, code: None, retry_after }, "{value}");
    }
}

/// A rejected client, a wrong scope or a code of OpenAI's says nothing about the refresh token.
#[test]
fn only_invalid_grant_ends_the_grant_of_a_defined_provider() {
    let codes = [
        "bad_refresh_token",
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "invalid_target",
        "refresh_token_expired",
        "refresh_token_invalidated",
        "refresh_token_reused",
        "session_ended",
        "unauthorized_client",
        "unsupported_grant_type",
    ];
    for code in codes {
        for (status, body) in
            [400, 401, 403].into_iter().flat_map(|status| bodies(code).map(|body| (status, body)))
        {
            let error = classified(Call::BearerRefresh, status, &body);
            let expected =
                ProviderError::RejectedForNow { status, code: ErrorCode::new(code), retry_after: None };
            assert_eq!(error, expected, "{body}");
        }
    }
    for (status, ends) in [(400, true), (401, true), (403, true), (408, false), (429, false), (500, false)] {
        for body in bodies("invalid_grant") {
            let error = classified(Call::BearerRefresh, status, &body);
            assert_eq!(error.is_permanent(), ends, "{status}: {error:?}");
        }
    }
    for body in ["", "<html>", "{}", r#"{"message":"Unauthorized"}"#] {
        let error = classified(Call::BearerRefresh, 401, body);
        assert!(matches!(error, ProviderError::InvalidResponse { .. }), "{body}: {error:?}");
    }
}

#[test]
fn success_with_an_error_and_no_token_is_a_failure() {
    for (status, body, expected) in [
        (200, r#"{"error":"bad_verification_code"}"#, 400),
        (200, r#"{"error":"x","access_token":null}"#, 400),
        (201, r#"{"error":"x"}"#, 400),
        (200, r#"{"access_token":"a","error":"x"}"#, 200),
        (200, r#"{"access_token":"a"}"#, 200),
        (200, r#"{"error":null}"#, 200),
        (200, "error=x", 200),
        (200, "", 200),
        (503, r#"{"error":"x"}"#, 503),
    ] {
        let found = status_of_token_response(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        assert_eq!(found.as_u16(), expected, "{status} {body}");
    }
}
