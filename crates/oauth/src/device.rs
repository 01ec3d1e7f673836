//! The messages of a device login: as sent, and as meant. The provider's is not that of RFC 8628: it
//! makes the code verifier itself, and tells pending by the status alone.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Deserializer};

use crate::{AuthorizationCode, ProviderError, pkce::Verifier};

/// A poll is never sooner than this after the one before, whatever the provider says.
const FLOOR: Duration = Duration::from_secs(1);

/// The pause when the provider names none (RFC 8628, section 3.2).
const UNSTATED: Duration = Duration::from_secs(5);

/// A device login that was started.
#[derive(Clone, Debug)]
pub struct DeviceStart {
    /// What the polls name.
    pub id: String,
    /// What the person types.
    pub user_code: String,
    /// The pause between two polls.
    pub interval: Duration,
}

/// What a poll says.
#[derive(Debug)]
pub enum DevicePoll {
    /// The person is not done.
    Pending,
    /// The person agreed; the code is to be exchanged with this verifier.
    Granted(AuthorizationCode, Verifier),
}

impl DeviceStart {
    /// The start that a body means.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        let sent: Started = serde_json::from_slice(body).map_err(|_| garbled())?;
        let interval = sent.interval.map_or(UNSTATED, Duration::from_secs).max(FLOOR);
        Ok(Self { id: sent.device_auth_id, user_code: sent.user_code, interval })
    }
}

impl DevicePoll {
    /// What an answer to a poll means; none, if it is a failure.
    pub fn parse(status: StatusCode, body: &[u8]) -> Option<Result<Self, ProviderError>> {
        if status == StatusCode::FORBIDDEN || status == StatusCode::NOT_FOUND {
            return Some(Ok(Self::Pending));
        }
        status.is_success().then(|| {
            let sent: Granted = serde_json::from_slice(body).map_err(|_| garbled())?;
            Ok(Self::Granted(
                AuthorizationCode::new(sent.authorization_code),
                Verifier::from_text(sent.code_verifier),
            ))
        })
    }
}

#[derive(Deserialize)]
struct Started {
    device_auth_id: String,
    #[serde(alias = "usercode")]
    user_code: String,
    #[serde(default, deserialize_with = "seconds")]
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct Granted {
    authorization_code: String,
    code_verifier: String,
}

/// Seconds as a number, or as the provider sends them: in a string.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    Ok(match Option::<Seconds>::deserialize(deserializer)? {
        Some(Seconds::Number(seconds)) => Some(seconds),
        Some(Seconds::Text(text)) => text.trim().parse().ok(),
        None => None,
    })
}

fn garbled() -> ProviderError {
    ProviderError::InvalidResponse { detail: "a success without the expected JSON".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_comes_in_many_forms_and_has_a_floor() {
        for (interval, seconds) in [(r#""1""#, 1), ("7", 7), (r#""0""#, 1), ("null", 5), (r#""soon""#, 5)] {
            let body = format!(r#"{{"device_auth_id":"d","usercode":"AB","interval":{interval}}}"#);
            let start = DeviceStart::parse(body.as_bytes()).unwrap();
            assert_eq!(start.interval, Duration::from_secs(seconds), "{interval}");
            assert_eq!(start.user_code, "AB");
        }
        assert!(DeviceStart::parse(b"{}").is_err());
    }

    #[test]
    fn pending_is_told_by_the_status_alone() {
        for status in [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND] {
            assert!(matches!(DevicePoll::parse(status, b"x"), Some(Ok(DevicePoll::Pending))));
        }
        assert!(DevicePoll::parse(StatusCode::BAD_REQUEST, b"").is_none());
        assert!(matches!(DevicePoll::parse(StatusCode::OK, b"{}"), Some(Err(_))));
        let granted = br#"{"authorization_code":"c","code_challenge":"x","code_verifier":"v"}"#;
        assert!(matches!(DevicePoll::parse(StatusCode::OK, granted), Some(Ok(DevicePoll::Granted(..)))));
    }
}
