//! Error codes, and the message that carries them. The code alone determines the HTTP status and
//! the exit code. The daemon maps its failures to codes.

use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::ProfileName;

/// The kind of failure. Programs may branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is invalid: correct it before you send it again.
    BadRequest,
    /// The caller may not use this socket: another user, a web page, or a wrong `Host`.
    Forbidden,
    /// No profile has this name: sign in with it, or use another name.
    ProfileUnknown,
    /// No login has this id: it ended more than ten minutes or 64 logins ago, or never existed.
    LoginUnknown,
    /// No provider has this name: define it, or use its URL.
    ProviderUnknown,
    /// No share has this id: it has ended, or never existed.
    ShareUnknown,
    /// The request has no key of a share, or one that is not valid: get a new share.
    KeyInvalid,
    /// The route does not exist.
    NotFound,
    /// The route does not support the method; `Allow` lists the supported ones.
    MethodNotAllowed,
    /// The profile is signed out: the user has to sign in.
    LoginRequired,
    /// The provider or the user rejected the login: read the detail, then start another login.
    LoginDenied,
    /// The login was not completed in time: start another.
    LoginExpired,
    /// The request conflicts with the current state: a name is in use, or the mode does not support
    /// it.
    Conflict,
    /// The request is too large.
    TooLarge,
    /// The provider cannot be reached, or limits the rate: try again after `Retry-After`.
    ProviderUnreachable,
    /// The provider rejected the request: the same request fails again, unless `Retry-After` says
    /// when to try. `provider_code` has the provider's own code.
    ProviderRefused,
    /// The keychain is locked: unlock it. No restart is necessary.
    StoreLocked,
    /// The store does not work: run `authctl doctor`. No restart is necessary after the repair.
    StoreUnavailable,
    /// The callback server has no port: free one, or sign in by paste or device code.
    CallbackUnavailable,
    /// The response did not arrive before the deadline: try again.
    Timeout,
    /// The client has too many connections, or too many logins are pending: close some, or try
    /// again after `Retry-After`.
    TooManyRequests,
    /// The daemon is shutting down: try again after its restart.
    ShuttingDown,
    /// No daemon listens on the socket: start it. A client reports it, never the daemon.
    NoDaemon,
    /// The service manager cannot be reached. `authctl` reports it, never the daemon.
    NoServiceManager,
    /// A bug in authd: report it with the log.
    Internal,
    /// A code that this version of the client does not know.
    #[serde(other)]
    Unknown,
}

impl ErrorCode {
    /// All codes, in the order of the documentation.
    pub const ALL: [Self; 26] = [
        Self::BadRequest,
        Self::Forbidden,
        Self::ProfileUnknown,
        Self::LoginUnknown,
        Self::ProviderUnknown,
        Self::ShareUnknown,
        Self::KeyInvalid,
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
        Self::NoDaemon,
        Self::NoServiceManager,
        Self::Internal,
        Self::Unknown,
    ];

    /// The HTTP status of a response with this code.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.properties().1).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The exit code of `authctl` after an error with this code.
    pub fn exit_code(self) -> u8 {
        self.properties().2
    }

    /// The code as it appears in JSON.
    pub fn as_str(self) -> &'static str {
        self.properties().0
    }

    /// The short title, the same for every problem with this code (RFC 9457, section 3.1.4).
    pub fn title(self) -> &'static str {
        self.properties().3
    }

    /// The JSON form, the HTTP status, the exit code of `authctl`, and the title.
    fn properties(self) -> (&'static str, u16, u8, &'static str) {
        match self {
            Self::BadRequest => ("bad_request", 400, 2, "Bad request"),
            Self::Forbidden => ("forbidden", 403, 6, "Not allowed on this socket"),
            Self::ProfileUnknown => ("profile_unknown", 404, 3, "No such profile"),
            Self::LoginUnknown => ("login_unknown", 404, 3, "No such login"),
            Self::ProviderUnknown => ("provider_unknown", 404, 3, "No such provider"),
            Self::ShareUnknown => ("share_unknown", 404, 3, "No such share"),
            Self::KeyInvalid => ("key_invalid", 401, 6, "Key not valid"),
            Self::NotFound => ("not_found", 404, 3, "No such route"),
            Self::MethodNotAllowed => ("method_not_allowed", 405, 2, "Method not allowed"),
            Self::LoginRequired => ("login_required", 409, 4, "Sign-in required"),
            Self::LoginDenied => ("login_denied", 409, 4, "Sign-in refused"),
            Self::LoginExpired => ("login_expired", 409, 4, "Sign-in expired"),
            Self::Conflict => ("conflict", 409, 2, "Conflict"),
            Self::TooLarge => ("too_large", 413, 2, "Request too large"),
            Self::ProviderUnreachable => ("provider_unreachable", 503, 5, "Provider unreachable"),
            Self::ProviderRefused => ("provider_refused", 502, 5, "Provider refused"),
            Self::StoreLocked => ("store_locked", 503, 7, "Keychain locked"),
            Self::StoreUnavailable => ("store_unavailable", 503, 7, "Credential store unavailable"),
            Self::CallbackUnavailable => ("callback_unavailable", 503, 8, "Callback server unavailable"),
            Self::Timeout => ("timeout", 504, 5, "Timeout"),
            Self::TooManyRequests => ("too_many_requests", 429, 9, "Too many requests"),
            Self::ShuttingDown => ("shutting_down", 503, 9, "Shutting down"),
            Self::NoDaemon => ("no_daemon", 503, 9, "No daemon"),
            Self::NoServiceManager => ("no_service_manager", 503, 9, "No service manager"),
            Self::Internal => ("internal", 500, 1, "Internal error"),
            Self::Unknown => ("unknown", 500, 1, "Unknown error"),
        }
    }
}

/// The body of every response of status 400 and above (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// `urn:authd:problem:{code}`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The short title, the same for every problem with this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The kind of failure, for programs.
    pub code: ErrorCode,
    /// What failed and why, for the user. It contains no secret and no raw text of the provider.
    pub detail: String,
    /// What the user can do: a command if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The affected profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ProfileName>,
    /// Seconds to wait before a retry; the same as the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// The provider's own error code, if it refused and stated one: for example
    /// `token_exchange_user_error`. At most 64 lower-case letters, digits and `_.-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
}

impl Problem {
    /// Creates a problem.
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
            provider_code: None,
        }
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the affected profile.
    #[must_use]
    pub fn about(mut self, profile: &ProfileName) -> Self {
        self.profile = Some(profile.clone());
        self
    }

    /// Sets the seconds to wait before a retry.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Sets the provider's error code.
    #[must_use]
    pub fn provider_code(mut self, code: Option<impl Into<String>>) -> Self {
        self.provider_code = code.map(Into::into);
        self
    }
}

/// The problem of a relay route. It also has the form of the provider's own errors, because the
/// SDKs show the message of `error`, and say "no body" without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelayProblem {
    /// The problem.
    #[serde(flatten)]
    pub problem: Problem,
    /// The same in the form of the provider's errors.
    pub error: SdkError,
}

/// An error as the SDKs read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SdkError {
    /// The detail and the hint of the problem.
    pub message: String,
    /// The `type` of the problem, which no error of the provider has.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of failure, for programs.
    pub code: ErrorCode,
}

impl From<Problem> for RelayProblem {
    fn from(problem: Problem) -> Self {
        let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        let message = format!("authd: {}{hint}", problem.detail);
        Self { error: SdkError { message, kind: problem.kind.clone(), code: problem.code }, problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_form_is_the_same_as_in_the_table() {
        for code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
        let unknown: ErrorCode = serde_json::from_str("\"coined_later\"").unwrap();
        assert_eq!(unknown, ErrorCode::Unknown);
    }

    #[test]
    fn codes_statuses_and_exit_codes_are_pinned() {
        let table: Vec<_> = ErrorCode::ALL
            .map(|code| format!("{} {} {}", code.as_str(), code.status().as_u16(), code.exit_code()))
            .into();
        insta::assert_json_snapshot!(table);
    }

    #[test]
    fn problem_has_the_documented_json_form() {
        let name: ProfileName = "work".parse().unwrap();
        let problem = Problem::new(ErrorCode::LoginRequired, "profile \"work\" is signed out")
            .hint("run: authctl login work")
            .about(&name);
        insta::assert_json_snapshot!(problem);
    }

    #[test]
    fn problem_of_the_relay_has_an_error_that_sdks_show() {
        let problem = Problem::new(ErrorCode::LoginRequired, "signed out").hint("run: authctl login");
        let relayed = serde_json::to_value(RelayProblem::from(problem.clone())).unwrap();
        assert_eq!(
            relayed["error"],
            serde_json::json!({"message": "authd: signed out (run: authctl login)",
                "type": "urn:authd:problem:login_required", "code": "login_required"})
        );
        // Clients of the daemon find the problem in it.
        assert_eq!(serde_json::from_value::<Problem>(relayed).unwrap(), problem);
    }
}
