//! What a login wishes for, and how it is refused.

use authd_api::{ErrorCode, Problem, ProfileName};
use authd_oauth::{LoginFailure, ModePreference, ProviderError};
use jiff::Timestamp;

use super::{login_command, provider_failed, seconds_until};

/// The mode a login wishes for; the configuration decides where it has no wish.
pub(crate) fn mode_preference(
    asked: authd_api::ModePreference,
    configured: ModePreference,
) -> ModePreference {
    match asked {
        authd_api::ModePreference::Auto => configured,
        authd_api::ModePreference::ChatGpt => ModePreference::ChatGpt,
        authd_api::ModePreference::ApiKey => ModePreference::ApiKey,
    }
}

/// A login that the provider or a rule refused.
pub(crate) fn login_failed(failure: &LoginFailure, profile: &ProfileName) -> Problem {
    let problem = match failure {
        LoginFailure::Expired => return login_expired(profile),
        LoginFailure::Exchange(failure) if !failure.is_permanent() => provider_failed(failure),
        denied => Problem::new(ErrorCode::LoginDenied, denied.sentence()).hint(denied.remedy()),
    };
    problem.about(profile)
}

/// A login that asks for a workspace which the configuration does not accept.
pub(crate) fn workspace_refused(asked: &str, accepted: &[String]) -> Problem {
    let detail = format!("the workspace {asked:?} is not among the workspaces that [login] accepts");
    let hint = format!("ask for one of {}, or add it to workspaces in [login]", accepted.join(", "));
    Problem::new(ErrorCode::LoginDenied, detail).hint(hint)
}

/// A device login that could not be started.
pub(crate) fn device_failed(failure: &ProviderError, profile: &ProfileName) -> Problem {
    match failure {
        ProviderError::Rejected { .. } => {
            Problem::new(ErrorCode::LoginDenied, "the provider does not offer device login to this account")
                .hint("enable device code in ChatGPT's settings (Security), or run: authctl login")
                .about(profile)
        }
        other => provider_failed(other).about(profile),
    }
}

/// As many logins are pending as there can be. The first of them ends by itself at a time that is known.
pub(crate) fn too_many_logins(pending: &[Timestamp], now: Timestamp) -> Problem {
    let first = pending.iter().min().copied().unwrap_or(now);
    Problem::new(ErrorCode::TooManyRequests, format!("{} logins are pending already", pending.len()))
        .hint("finish or cancel some")
        .retry_after(seconds_until(first, now))
}

/// A login that nobody finished.
pub(crate) fn login_expired(profile: &ProfileName) -> Problem {
    Problem::new(ErrorCode::LoginExpired, "nobody finished the sign-in in time")
        .hint(login_command(profile))
        .about(profile)
}
