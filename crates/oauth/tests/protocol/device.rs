//! The messages of a device login.

use std::time::Duration;

use authd_oauth::{DevicePoll, DeviceStart, ErrorCode, ProviderError, device_pause};
use http::StatusCode;

fn started(body: &str) -> DeviceStart {
    DeviceStart::parse(StatusCode::OK, body.as_bytes()).unwrap().unwrap()
}

#[test]
fn interval_is_parsed_in_every_form_and_has_a_floor() {
    for (interval, seconds) in [(r#""1""#, 1), ("7", 7), (r#""0""#, 1), ("null", 5), (r#""soon""#, 5)] {
        let body = format!(r#"{{"device_auth_id":"d","usercode":"AB","interval":{interval}}}"#);
        let start = started(&body);
        assert_eq!(start.interval, Duration::from_secs(seconds), "{interval}");
        assert_eq!(start.user_code, "AB");
    }
    assert!(DeviceStart::parse(StatusCode::OK, b"{}").unwrap().is_err());
}

#[test]
fn expiry_of_a_code_is_optional() {
    let body = |rest: &str| format!(r#"{{"device_auth_id":"d","user_code":"AB"{rest}}}"#);
    assert_eq!(started(&body("")).expires_at, None);
    assert_eq!(started(&body(r#","expires_at":"soon""#)).expires_at, None);
    let stated = started(&body(r#","expires_at":"2026-06-22T17:12:47.105853+00:00""#)).expires_at;
    assert_eq!(stated, Some("2026-06-22T17:12:47.105853Z".parse().unwrap()));
}

#[test]
fn not_found_at_the_start_is_a_rejection_whatever_its_body_is() {
    for (body, code) in [
        ("", None),
        ("<html><title>404</title></html>", None),
        (r#"{"error":{"code":"not_found"}}"#, Some("not_found")),
    ] {
        let error = DeviceStart::parse(StatusCode::NOT_FOUND, body.as_bytes()).unwrap().unwrap_err();
        assert!(matches!(error, ProviderError::Rejected { status: 404, .. }), "{body}: {error:?}");
        assert_eq!(error.code().map(ErrorCode::as_str), code, "{body}");
    }
    assert!(DeviceStart::parse(StatusCode::FORBIDDEN, b"").is_none());
}

#[test]
fn pause_after_a_failure_doubles_or_is_the_requested_one() {
    let seconds = Duration::from_secs;
    let limited = |retry_after: Option<u64>| ProviderError::Unavailable {
        status: 429,
        code: None,
        retry_after: retry_after.map(seconds),
    };
    for (retry_after, before, after) in [
        (None, 1, 2),
        (None, 20, 30),
        (Some(1), 5, 5),
        (Some(7), 5, 7),
        (Some(600), 5, 600),
        (Some(u64::MAX), 5, 3600),
    ] {
        assert_eq!(device_pause(&limited(retry_after), seconds(before)), seconds(after), "{retry_after:?}");
    }
}

#[test]
fn pending_depends_on_the_status_except_for_the_region_rule() {
    let pending = br#"{"error":{"code":"deviceauth_authorization_pending"}}"#;
    let region = br#"{"error":{"code":"unsupported_country_region_territory"}}"#;
    for status in [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
        for body in [&b"x"[..], b"", pending] {
            assert!(matches!(DevicePoll::parse(status, body), Some(Ok(DevicePoll::Pending))));
        }
        assert!(DevicePoll::parse(status, region).is_none(), "it is classified as a rejection");
    }
    assert!(DevicePoll::parse(StatusCode::BAD_REQUEST, b"").is_none());
    assert!(matches!(DevicePoll::parse(StatusCode::OK, b"{}"), Some(Err(_))));
    let granted = br#"{"authorization_code":"c","code_challenge":"x","code_verifier":"v"}"#;
    assert!(matches!(DevicePoll::parse(StatusCode::OK, granted), Some(Ok(DevicePoll::Granted(..)))));
}
