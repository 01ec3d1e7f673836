//! The messages of a device login. The provider's flow differs from RFC 8628: it generates the code
//! verifier itself, and the status alone shows that a login is pending.

use std::time::Duration;

use http::StatusCode;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{AuthorizationCode, ProviderError, pkce::Verifier};

/// Shortest pause between two polls, whatever the provider says.
const FLOOR: Duration = Duration::from_secs(1);

/// The pause when the provider names none (RFC 8628, section 3.2).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// A device login that was started.
#[derive(Clone, Debug)]
pub struct DeviceStart {
    /// The id that the polls carry.
    pub id: String,
    /// The code that the user types.
    pub user_code: String,
    /// The pause between two polls.
    pub interval: Duration,
}

/// The result of a poll.
#[derive(Debug)]
pub enum DevicePoll {
    /// The user has not finished.
    Pending,
    /// The user agreed. The code is to be exchanged with this verifier.
    Granted(AuthorizationCode, Verifier),
}

impl DeviceStart {
    /// Parses the body of a start response.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        let body: StartBody = from_json(body)?;
        let interval = body.interval.map_or(DEFAULT_INTERVAL, Duration::from_secs).max(FLOOR);
        Ok(Self { id: body.device_auth_id, user_code: body.user_code, interval })
    }
}

impl DevicePoll {
    /// Parses the response to a poll. None if it is an error response.
    pub fn parse(status: StatusCode, body: &[u8]) -> Option<Result<Self, ProviderError>> {
        if status == StatusCode::FORBIDDEN || status == StatusCode::NOT_FOUND {
            return Some(Ok(Self::Pending));
        }
        status.is_success().then(|| {
            let GrantedBody { authorization_code, code_verifier } = from_json(body)?;
            Ok(Self::Granted(AuthorizationCode::new(authorization_code), Verifier::from_text(code_verifier)))
        })
    }
}

#[derive(Deserialize)]
struct StartBody {
    device_auth_id: String,
    #[serde(alias = "usercode")]
    user_code: String,
    #[serde(default, deserialize_with = "seconds")]
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct GrantedBody {
    authorization_code: String,
    code_verifier: String,
}

/// Seconds as a number, or as text, which the provider sends.
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

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ProviderError> {
    serde_json::from_slice(body)
        .map_err(|_| ProviderError::invalid("a success status without the expected JSON"))
}
