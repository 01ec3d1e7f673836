//! What the refusals of defined providers mean.

use std::borrow::Cow;

use authd_api::Problem;
use authd_broker::ProfileSnapshot;
use authd_oauth::{ErrorCode as ProviderCode, Mode, OauthRequest, ProviderError, Refusal};

/// The problem of a failed request, with what the code means in the answer to this request.
pub(super) fn explain(problem: Problem, request: OauthRequest, error: &ProviderError) -> Problem {
    let (what, code) = match error {
        ProviderError::RejectedForNow { status, code, .. } => {
            (format!("the provider refuses for now (status {status})"), code)
        }
        ProviderError::Rejected { code, .. } => ("the provider refused".to_owned(), code),
        ProviderError::NotSent { .. }
        | ProviderError::NoClientSecret { .. }
        | ProviderError::NoResponse { .. }
        | ProviderError::Unavailable { .. }
        | ProviderError::InvalidResponse { .. } => return problem,
    };
    let refusal = Refusal { request, code: code.clone() };
    let problem = Problem { detail: format!("{what}: {refusal}"), ..problem };
    match refusal.remedy() {
        Some(remedy) => problem.hint(remedy),
        None => problem,
    }
}

/// The problem of a failed refresh, with what the code means if the provider is a defined one.
pub(super) fn explain_refresh(
    problem: Problem,
    snapshot: &ProfileSnapshot,
    error: &ProviderError,
) -> Problem {
    if snapshot.mode() != Mode::Bearer {
        return problem;
    }
    let problem = explain(problem, OauthRequest::Refresh, error);
    match (error, &problem.hint) {
        (ProviderError::RejectedForNow { .. }, Some(hint)) if !hint.contains("by itself") => {
            let hint = format!("{hint}; authd tries again by itself");
            problem.hint(hint)
        }
        _ => problem,
    }
}

/// What the code of a refused refresh means.
pub(super) fn reason<'a>(snapshot: &ProfileSnapshot, code: &'a ProviderCode) -> Cow<'a, str> {
    if snapshot.mode() != Mode::Bearer {
        return code.explained();
    }
    let refusal = Refusal { request: OauthRequest::Refresh, code: code.clone() };
    refusal.explained().into_owned().into()
}
