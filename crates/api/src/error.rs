//! Every way a request can fail, as a code, and the message that carries it. The code alone decides the
//! HTTP status and the exit code; which failure gets which code is the daemon's decision, not made here.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::ProfileName;

/// What went wrong, in one word that programs may branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request itself is wrong: mend it before sending it again.
    BadRequest,
    /// The caller may not use this socket: another user, a web page, or a wrong `Host`.
    Forbidden,
    /// No profile of that name: sign in under it, or name another.
    ProfileUnknown,
    /// No login with that id: it ended more than ten minutes or 64 logins ago, or never was.
    LoginUnknown,
    /// No such route.
    NotFound,
    /// The route exists, the method does not; `Allow` names those that do.
    MethodNotAllowed,
    /// Nobody is signed in under this profile any more: a person has to sign in.
    LoginRequired,
    /// The provider or the person refused the login: read the detail, then start another.
    LoginDenied,
    /// The login was not finished in time: start another.
    LoginExpired,
    /// The request does not fit what is there now: a name is taken, or a mode cannot do this.
    Conflict,
    /// The request is larger than any honest one.
    TooLarge,
    /// The provider could not be reached, or asks to wait: try again after `Retry-After`.
    ProviderUnreachable,
    /// The provider answered and refused: trying again as it is will not help.
    ProviderRefused,
    /// The keychain is locked: unlock it; authd heals by itself.
    StoreLocked,
    /// The store does not answer truthfully: see `authctl doctor`; authd heals by itself.
    StoreUnavailable,
    /// The callback server has no port: free one, or sign in by paste or device code.
    CallbackUnavailable,
    /// The answer did not come within the deadline: try again.
    Timeout,
    /// This program holds too many connections, or too many logins are pending: end some, or try again after
    /// `Retry-After`.
    TooManyRequests,
    /// The daemon is stopping: the next one answers.
    ShuttingDown,
    /// A bug in authd: please report it with the log.
    Internal,
    /// A code that this version of the client does not know.
    #[serde(other)]
    #[cfg_attr(feature = "schema", schemars(skip))]
    Unknown,
}

impl ErrorCode {
    /// All codes, in the order of the contract.
    pub const ALL: [Self; 21] = [
        Self::BadRequest,
        Self::Forbidden,
        Self::ProfileUnknown,
        Self::LoginUnknown,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::LoginRequired,
        Self::LoginDenied,
        Self::LoginExpired,
        Self::Conflict,
        Self::TooLarge,
        Self::ProviderUnreachable,
        Self::ProviderRefused,
        Self::StoreLocked,
        Self::StoreUnavailable,
        Self::CallbackUnavailable,
        Self::Timeout,
        Self::TooManyRequests,
        Self::ShuttingDown,
        Self::Internal,
        Self::Unknown,
    ];

    /// The HTTP status of an answer with this code.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::ProfileUnknown | Self::LoginUnknown | Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::LoginRequired | Self::LoginDenied | Self::LoginExpired | Self::Conflict => {
                StatusCode::CONFLICT
            }
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ProviderRefused => StatusCode::BAD_GATEWAY,
            Self::ProviderUnreachable
            | Self::StoreLocked
            | Self::StoreUnavailable
            | Self::CallbackUnavailable
            | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal | Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The exit code of an `authctl` that met this code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal | Self::Unknown => 1,
            Self::BadRequest | Self::MethodNotAllowed | Self::Conflict | Self::TooLarge => 2,
            Self::ProfileUnknown | Self::LoginUnknown | Self::NotFound => 3,
            Self::LoginRequired | Self::LoginDenied | Self::LoginExpired => 4,
            Self::ProviderUnreachable | Self::ProviderRefused | Self::Timeout => 5,
            Self::Forbidden => 6,
            Self::StoreLocked | Self::StoreUnavailable => 7,
            Self::CallbackUnavailable => 8,
            Self::ShuttingDown | Self::TooManyRequests => 9,
        }
    }

    /// The code as it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Forbidden => "forbidden",
            Self::ProfileUnknown => "profile_unknown",
            Self::LoginUnknown => "login_unknown",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::LoginRequired => "login_required",
            Self::LoginDenied => "login_denied",
            Self::LoginExpired => "login_expired",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::ProviderUnreachable => "provider_unreachable",
            Self::ProviderRefused => "provider_refused",
            Self::StoreLocked => "store_locked",
            Self::StoreUnavailable => "store_unavailable",
            Self::CallbackUnavailable => "callback_unavailable",
            Self::Timeout => "timeout",
            Self::TooManyRequests => "too_many_requests",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
            Self::Unknown => "unknown",
        }
    }

    /// The short title of this kind of problem, the same for every occurrence (RFC 9457, section 3.1.4).
    pub fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "Bad request",
            Self::Forbidden => "Not allowed on this socket",
            Self::ProfileUnknown => "No such profile",
            Self::LoginUnknown => "No such login",
            Self::NotFound => "No such route",
            Self::MethodNotAllowed => "No such method on this route",
            Self::LoginRequired => "Sign-in required",
            Self::LoginDenied => "Sign-in refused",
            Self::LoginExpired => "Sign-in ran out of time",
            Self::Conflict => "Not possible as things are",
            Self::TooLarge => "Request too large",
            Self::ProviderUnreachable => "Provider out of reach",
            Self::ProviderRefused => "Provider refused",
            Self::StoreLocked => "Keychain locked",
            Self::StoreUnavailable => "Credential store unavailable",
            Self::CallbackUnavailable => "Callback server unavailable",
            Self::Timeout => "No answer in time",
            Self::TooManyRequests => "Too many requests at once",
            Self::ShuttingDown => "Stopping",
            Self::Internal => "Internal error",
            Self::Unknown => "Unknown error",
        }
    }
}

/// The body of every answer of status 400 and above (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Problem {
    /// `urn:authd:problem:{code}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The code to branch on.
    pub code: ErrorCode,
    /// What happened this time, for a person. Never a secret, never a provider's raw words.
    pub detail: String,
    /// What to do about it: a command, where one helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The profile it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// Seconds after which trying again makes sense; the same as the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem of this code; what happened is the detail.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:authd:problem:{}", code.as_str()),
            title: code.title().to_owned(),
            status: code.status().as_u16(),
            code,
            detail: detail.into(),
            hint: None,
            profile: None,
            retry_after: None,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with the profile it is about.
    #[must_use]
    pub fn about(mut self, profile: &ProfileName) -> Self {
        self.profile = Some(profile.clone());
        self
    }

    /// The same with the seconds to wait before trying again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_on_the_wire_is_the_word_in_the_table() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        let later: ErrorCode = serde_json::from_str("\"coined_later\"").unwrap();
        assert_eq!(later, ErrorCode::Unknown);
    }

    #[test]
    fn codes_statuses_and_exits_are_pinned() {
        let table: Vec<_> = ErrorCode::ALL
            .map(|code| format!("{} {} {}", code.as_str(), code.status().as_u16(), code.exit_code()))
            .into();
        insta::assert_json_snapshot!(table);
    }

    #[test]
    fn a_problem_reads_as_in_the_contract() {
        let name: ProfileName = "work".parse().unwrap();
        let problem = Problem::new(ErrorCode::LoginRequired, "profile \"work\" is signed out")
            .hint("run: authctl login work")
            .about(&name);
        insta::assert_json_snapshot!(problem);
    }
}
