//! Failures of a call to the provider, distinguished by what the caller should do next, and the
//! provider's error codes. The provider's own text is never passed on: it may contain a secret.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A failed call to the provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// No part of the request reached the provider (DNS, connect, TLS, proxy). It can be repeated,
    /// even with a single-use token.
    #[error("the provider cannot be reached: {detail}")]
    NotSent {
        /// The cause, and the proxy and CA in use.
        detail: String,
    },
    /// The client's secret cannot be read, so nothing was sent.
    #[error("{detail}")]
    NoClientSecret {
        /// The file, and what is wrong with it.
        detail: String,
    },
    /// The request was sent, and no complete response arrived. Wait for the network, then repeat
    /// it: a single-use token may be spent.
    #[error("the provider did not respond: {detail}")]
    NoResponse {
        /// The cause, and the proxy and CA in use.
        detail: String,
    },
    /// The provider asks for a pause (429), or has an error of its own (5xx). Wait, then repeat it.
    #[error("the provider is unavailable (status {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// The error code, if the response has one.
        code: Option<ErrorCode>,
        /// The wait that `Retry-After` names.
        retry_after: Option<Duration>,
    },
    /// The response is not one of the provider's, or not a valid one. Wait, then repeat it.
    #[error("invalid response from the provider: {detail}")]
    InvalidResponse {
        /// What is wrong with the response.
        detail: String,
    },
    /// The provider rejected the request with a code that does not end the grant. Wait, then repeat
    /// it: the Codex CLI keeps the login after such an answer, too.
    #[error("the provider rejects the request for now (status {status}): {}", code.explained())]
    RejectedForNow {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: ErrorCode,
        /// The wait that `Retry-After` names.
        retry_after: Option<Duration>,
    },
    /// The provider rejected the request for good. Do not repeat it.
    #[error("the provider rejected the request (status {status}): {}", code.explained())]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The error code.
        code: ErrorCode,
    },
}

impl ProviderError {
    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::InvalidResponse { detail: detail.into() }
    }

    /// Whether the same call would fail again.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }

    /// Whether the provider may have processed the call, so that a single-use token may be spent.
    pub fn may_have_rotated(&self) -> bool {
        match self {
            Self::NoResponse { .. } | Self::InvalidResponse { .. } => true,
            Self::Unavailable { status, .. } => *status >= 500,
            Self::NotSent { .. }
            | Self::NoClientSecret { .. }
            | Self::RejectedForNow { .. }
            | Self::Rejected { .. } => false,
        }
    }

    /// The pause that the provider asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::RejectedForNow { retry_after, .. } => *retry_after,
            Self::NotSent { .. }
            | Self::NoClientSecret { .. }
            | Self::NoResponse { .. }
            | Self::InvalidResponse { .. }
            | Self::Rejected { .. } => None,
        }
    }

    /// The error code of the response, if it has one.
    pub fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::RejectedForNow { code, .. } | Self::Rejected { code, .. } => Some(code),
            Self::Unavailable { code, .. } => code.as_ref(),
            Self::NotSent { .. }
            | Self::NoClientSecret { .. }
            | Self::NoResponse { .. }
            | Self::InvalidResponse { .. } => None,
        }
        .filter(|code| code.known().is_some())
    }
}

/// The codes that end a grant, whatever the HTTP status is.
const ENDS_GRANT: [&str; 3] = ["refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"];

/// The codes that call a token invalid and do not end a grant. If such an answer lasts, only a new
/// sign-in helps.
const CALLS_TOKEN_INVALID: [&str; 7] = [
    "bad_refresh_token",
    "invalid_grant",
    "invalid_refresh_token",
    "session_ended",
    "token_expired",
    "token_invalidated",
    "token_revoked",
];

/// The code of a request from a country that the provider does not serve.
const REGION_RULE: &str = "unsupported_country_region_territory";

/// The text of a code that was absent or not valid.
const UNKNOWN: &str = "unknown";

/// An error code of the provider: a short, validated word, safe to show and to log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(String);

impl ErrorCode {
    /// The next step for a user whom the region rule stops.
    pub const REGION_REMEDY: &str = "check the VPN and the proxy: the provider judges the address that it sees; \
                                     the proxy in use is shown by: authctl doctor";

    /// The code in a text. A text that is not a code becomes `unknown`.
    pub fn new(text: &str) -> Self {
        let code = text.trim().to_ascii_lowercase();
        let is_allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
        let is_code = (1..=64).contains(&code.len()) && code.bytes().all(is_allowed);
        Self(if is_code { code } else { UNKNOWN.to_owned() })
    }

    /// The code as text, if the provider stated one.
    pub fn known(&self) -> Option<&str> {
        Some(self.as_str()).filter(|code| *code != UNKNOWN)
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its meaning, as a clause for the end of a message.
    pub fn sentence(&self) -> &str {
        match self.as_str() {
            "refresh_token_expired" => "the refresh token has expired",
            "refresh_token_reused" => "the refresh token was already used",
            "refresh_token_invalidated" => "the refresh token was revoked",
            "session_ended" => "the provider has ended the session",
            "invalid_grant" => "the grant is no longer valid",
            "invalid_refresh_token" => "the refresh token is not valid",
            "invalid_client" | "unauthorized_client" => "the provider does not accept the client id",
            REGION_RULE => "the country, region or territory of this network is not supported",
            "token_expired" | "token_invalidated" | "token_revoked" => "the token is no longer valid",
            "token_exchange_user_error" => "the sign-in could not be completed; please start another",
            "invalid_subject_token" => "Invalid ID token: missing organization_id",
            UNKNOWN => "no reason was given",
            code => code,
        }
    }

    /// Its meaning and the code itself, which users search for: `the token is no longer valid
    /// (token_expired)`.
    pub fn explained(&self) -> Cow<'_, str> {
        let (code, sentence) = (self.as_str(), self.sentence());
        if code == sentence || self.known().is_none() {
            return sentence.into();
        }
        format!("{sentence} ({code})").into()
    }

    /// Whether this code ends the grant, whatever the HTTP status is.
    pub(crate) fn ends_grant(&self) -> bool {
        ENDS_GRANT.contains(&self.as_str())
    }

    /// Whether this code calls a token invalid.
    pub fn calls_token_invalid(&self) -> bool {
        CALLS_TOKEN_INVALID.contains(&self.as_str()) || self.ends_grant()
    }

    /// Whether this code stands for the provider's rule about countries.
    pub fn is_region_rule(&self) -> bool {
        self.as_str() == REGION_RULE
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
