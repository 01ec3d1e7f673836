//! The messages of a device login.

use std::time::Duration;

use authd_oauth::{DevicePoll, DeviceStart};
use http::StatusCode;

#[test]
fn interval_is_parsed_in_every_form_and_has_a_floor() {
    for (interval, seconds) in [(r#""1""#, 1), ("7", 7), (r#""0""#, 1), ("null", 5), (r#""soon""#, 5)] {
        let body = format!(r#"{{"device_auth_id":"d","usercode":"AB","interval":{interval}}}"#);
        let start = DeviceStart::parse(body.as_bytes()).unwrap();
        assert_eq!(start.interval, Duration::from_secs(seconds), "{interval}");
        assert_eq!(start.user_code, "AB");
    }
    assert!(DeviceStart::parse(b"{}").is_err());
}

#[test]
fn pending_depends_on_the_status_alone() {
    for status in [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
        assert!(matches!(DevicePoll::parse(status, b"x"), Some(Ok(DevicePoll::Pending))));
    }
    assert!(DevicePoll::parse(StatusCode::BAD_REQUEST, b"").is_none());
    assert!(matches!(DevicePoll::parse(StatusCode::OK, b"{}"), Some(Err(_))));
    let granted = br#"{"authorization_code":"c","code_challenge":"x","code_verifier":"v"}"#;
    assert!(matches!(DevicePoll::parse(StatusCode::OK, granted), Some(Ok(DevicePoll::Granted(..)))));
}
