//! Why there is no newer reading of a quota.

use authd_api::{ErrorCode, Problem};
use authd_broker::{ProfileSnapshot, QuotaFailure};
use authd_oauth::{Mode, ProviderError};
use jiff::Timestamp;

use super::{provider, seconds_until};

/// Why there is no newer reading of a profile's quota; `None` if none was requested.
pub(in crate::http) fn quota(
    failure: &QuotaFailure,
    snapshot: &ProfileSnapshot,
    now: Timestamp,
) -> Option<Problem> {
    let name = &snapshot.name;
    let problem = match failure {
        QuotaFailure::NotRequested => return None,
        QuotaFailure::NoQuota(Mode::Bearer) => {
            let detail = format!("profile \"{name}\" is of another provider, which states no usage limits");
            Problem::new(ErrorCode::Conflict, detail).hint("only ChatGPT accounts have them")
        }
        QuotaFailure::NoQuota(_) => {
            let detail =
                format!("profile \"{name}\" uses an API key, for which the provider states no usage limits");
            Problem::new(ErrorCode::Conflict, detail)
                .hint("see https://platform.openai.com/usage; only ChatGPT accounts have limits here")
        }
        QuotaFailure::NoToken => {
            let detail = format!(
                "the access token of profile \"{name}\" has expired, and reading the usage limits never \
                 refreshes it"
            );
            let hint = format!("any use of the profile does; or run: authctl refresh {name}");
            Problem::new(ErrorCode::Conflict, detail).hint(hint)
        }
        QuotaFailure::TooSoon(until) => {
            let detail = format!("the provider was asked for the usage limits of \"{name}\" just now");
            Problem::new(ErrorCode::TooManyRequests, detail).retry_after(seconds_until(*until, now))
        }
        QuotaFailure::Provider(error, until) => {
            let problem = provider(error);
            let status = match **error {
                ProviderError::Rejected { status, .. } => format!(" (status {status})"),
                _ => String::new(),
            };
            let detail = format!("usage limits not received: {}{status}", problem.detail);
            let problem = Problem { detail, ..problem }.retry_after(seconds_until(*until, now));
            match problem.hint {
                Some(_) => problem,
                None => problem.hint(format!("run: authctl check {name}")),
            }
        }
    };
    Some(problem.about(name))
}
