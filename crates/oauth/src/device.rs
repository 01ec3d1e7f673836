//! The messages of a device login. The provider's flow differs from RFC 8628: it generates the code
//! verifier itself, and the status alone shows that a login is pending.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    AuthorizationCode, ErrorCode, ProviderError, error_response, pkce::Verifier,
    schedule::LONGEST_RETRY_AFTER,
};

/// Shortest pause between two polls, whatever the provider says.
const FLOOR: Duration = Duration::from_secs(1);

/// Longest pause between two polls while the provider fails and names no pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

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
    /// When the provider's code expires, if the provider states it.
    pub expires_at: Option<Timestamp>,
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
    /// Parses the response to a start. None if it is another error response. The provider answers
    /// 404, with any body, where device login is not enabled.
    pub fn parse(status: StatusCode, body: &[u8]) -> Option<Result<Self, ProviderError>> {
        if status == StatusCode::NOT_FOUND {
            let code = error_response::error_code(body).unwrap_or_else(|| ErrorCode::new(""));
            return Some(Err(ProviderError::Rejected { status: status.as_u16(), code }));
        }
        status.is_success().then(|| {
            let body: StartBody = from_json(body)?;
            let interval = body.interval.map_or(DEFAULT_INTERVAL, Duration::from_secs).max(FLOOR);
            Ok(Self {
                id: body.device_auth_id,
                user_code: body.user_code,
                interval,
                expires_at: body.expires_at.and_then(|time| time.parse().ok()),
            })
        })
    }
}

impl DevicePoll {
    /// Parses the response to a poll. None if it is an error response. 403 and 404 mean that the
    /// user has not finished, except for the provider's rule about countries.
    pub fn parse(status: StatusCode, body: &[u8]) -> Option<Result<Self, ProviderError>> {
        if status == StatusCode::FORBIDDEN || status == StatusCode::NOT_FOUND {
            let refused = error_response::error_code(body).is_some_and(|code| code.is_region_rule());
            return (!refused).then_some(Ok(Self::Pending));
        }
        status.is_success().then(|| {
            let GrantedBody { authorization_code, code_verifier } = from_json(body)?;
            Ok(Self::Granted(AuthorizationCode::new(authorization_code), Verifier::from_text(code_verifier)))
        })
    }
}

/// The pause after a failed poll or start that followed this pause: the provider's `Retry-After`,
/// if that is longer, up to [`LONGEST_RETRY_AFTER`], else twice the pause.
pub fn device_pause(error: &ProviderError, pause: Duration) -> Duration {
    match error {
        ProviderError::Unavailable { retry_after: Some(wait), .. } => {
            pause.max((*wait).min(LONGEST_RETRY_AFTER))
        }
        _ => (pause * 2).min(LONGEST_PAUSE),
    }
}

#[derive(Deserialize)]
struct StartBody {
    device_auth_id: String,
    #[serde(alias = "usercode")]
    user_code: String,
    #[serde(default, deserialize_with = "seconds")]
    interval: Option<u64>,
    expires_at: Option<String>,
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
