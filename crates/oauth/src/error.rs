//! Every way a call to the provider can fail, told apart by what its reader should do next; and the
//! provider's own error codes, in words. The provider's text is never passed on: it may hold anything.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// A call that did not yield what it was for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// Send it again, even with a token that dies on use: nothing reached the provider (DNS, connect,
    /// TLS, proxy).
    #[error("the provider cannot be reached: {detail}")]
    NotSent {
        /// What went wrong, and which proxy and CA are in force.
        detail: String,
    },
    /// Wait for the network, then send it again, knowing that the token may be spent: it was sent, and
    /// no complete answer came.
    #[error("no answer from the provider: {detail}")]
    NoResponse {
        /// What went wrong, and which proxy and CA are in force.
        detail: String,
    },
    /// Wait, then send it again: the provider said so (429), or is in last_error (5xx).
    #[error("the provider is busy (status {status})")]
    Unavailable {
        /// The HTTP status.
        status: u16,
        /// What its `Retry-After` says.
        retry_after: Option<Duration>,
    },
    /// Wait, then send it again: what answered is not the provider, or not as it answers.
    #[error("not an answer of the provider: {detail}")]
    InvalidResponse {
        /// What was wrong with it.
        detail: String,
    },
    /// Do not send it again: the provider refused for good.
    #[error("the provider refused (status {status}): {}", code.sentence())]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// Its error code.
        code: Code,
    },
}

impl ProviderError {
    /// Whether the same call would fail again.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Rejected { .. })
    }

    /// Whether the provider may have acted on the call: then a token that dies on use may be dead.
    pub fn may_have_rotated(&self) -> bool {
        match self {
            Self::NoResponse { .. } | Self::InvalidResponse { .. } => true,
            Self::Unavailable { status, .. } => *status >= 500,
            Self::NotSent { .. } | Self::Rejected { .. } => false,
        }
    }
}

/// A provider's error code: a short word, checked, safe to show and to log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(String);

impl Code {
    /// The code that a text is; a text that is no code becomes `unknown`.
    pub fn new(text: &str) -> Self {
        let word = text.trim().to_ascii_lowercase();
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.' | b'-');
        let is_code = (1..=64).contains(&word.len()) && word.bytes().all(fits);
        Self(if is_code { word } else { "unknown".to_owned() })
    }

    /// The code itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it means, as the second half of a sentence.
    pub fn sentence(&self) -> &str {
        match self.as_str() {
            "refresh_token_expired" => "the refresh token has expired",
            "refresh_token_reused" => "the refresh token was already used",
            "refresh_token_invalidated" => "the refresh token was revoked",
            "session_ended" => "the session has ended at the provider",
            "invalid_grant" => "the grant is not valid any more",
            "token_expired" | "token_invalidated" | "token_revoked" => "the token is not valid any more",
            "token_exchange_user_error" => "the sign-in could not be completed; please start another",
            "invalid_subject_token" => "Invalid ID token: missing organization_id",
            "unknown" => "no reason was given",
            code => code,
        }
    }

    /// Whether a refresh token is dead for good, at whatever HTTP status the code comes.
    pub(crate) fn ends_a_grant(&self) -> bool {
        matches!(
            self.as_str(),
            "refresh_token_expired"
                | "refresh_token_reused"
                | "refresh_token_invalidated"
                | "invalid_grant"
                | "session_ended"
                | "token_expired"
                | "token_invalidated"
                | "token_revoked"
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
