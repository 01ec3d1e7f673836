//! The messages of the device flow (RFC 8628).

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use crate::{BearerResponse, DeviceCode, ErrorCode, ProviderError, provider::is_secure_url};

/// The pause between two polls if the server names none (RFC 8628, section 3.2).
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// The addition to the pause after `slow_down` (RFC 8628, section 3.5).
const SLOW_DOWN: Duration = Duration::from_secs(5);

/// Longest text that is shown, in bytes.
const MAX_TEXT: usize = 2048;

/// A device login that a server has started (RFC 8628, section 3.2).
#[derive(Clone, Debug)]
pub struct DefinedDeviceStart {
    /// The code that the polls carry.
    pub code: DeviceCode,
    /// The code that the user types.
    pub user_code: String,
    /// The page where the user types it.
    pub verification_url: String,
    /// A page that needs no typing.
    pub verification_url_complete: Option<String>,
    /// The pause between two polls.
    pub interval: Duration,
    /// How long the codes are valid.
    pub expires_in: Duration,
}

/// The result of a poll.
#[derive(Debug)]
pub enum DefinedDevicePoll {
    /// The user has not finished. The next poll is due after this pause.
    Pending(Duration),
    /// The user agreed.
    Granted(Box<BearerResponse>),
}

impl DefinedDeviceStart {
    /// Parses a device authorization response. Google names the page `verification_url`.
    pub fn parse(body: &[u8]) -> Result<Self, ProviderError> {
        #[derive(Deserialize)]
        struct Response {
            device_code: String,
            user_code: String,
            #[serde(alias = "verification_url")]
            verification_uri: String,
            verification_uri_complete: Option<String>,
            expires_in: u64,
            interval: Option<u64>,
        }
        let response: Response = serde_json::from_slice(body)
            .map_err(|_| ProviderError::invalid("a device authorization without the expected JSON"))?;
        let is_text = |text: &str| {
            (1..=MAX_TEXT).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        };
        // The URL parser would accept control characters, which a terminal must not get.
        let is_page = |url: &str| is_text(url) && is_secure_url(url);
        if !is_text(&response.user_code) || !is_page(&response.verification_uri) {
            return Err(ProviderError::invalid("a device authorization with an unusable page or code"));
        }
        let interval = response.interval.map_or(DEFAULT_INTERVAL, Duration::from_secs);
        Ok(Self {
            code: DeviceCode::new(response.device_code),
            user_code: response.user_code,
            verification_url: response.verification_uri,
            verification_url_complete: response.verification_uri_complete.filter(|url| is_page(url)),
            interval: interval.clamp(Duration::from_secs(1), Duration::from_secs(300)),
            expires_in: Duration::from_secs(response.expires_in),
        })
    }
}

impl DefinedDevicePoll {
    /// The result of a poll that came after this pause.
    pub fn of(
        result: Result<impl AsRef<[u8]>, ProviderError>,
        pause: Duration,
        now: Timestamp,
    ) -> Result<Self, ProviderError> {
        match result {
            Ok(body) => BearerResponse::parse(body.as_ref(), now).map(Box::new).map(Self::Granted),
            Err(error) => match error.code().map(ErrorCode::as_str) {
                Some("authorization_pending") => Ok(Self::Pending(pause)),
                Some("slow_down") => Ok(Self::Pending(pause + SLOW_DOWN)),
                _ => Err(error),
            },
        }
    }
}
