//! Maps the errors of shares to problems.

use authd_api::{ErrorCode, Problem};
use authd_broker::ShareError;

/// A share that was not made or not ended.
pub(in crate::http) fn share(error: &ShareError) -> Problem {
    let code = match error {
        ShareError::Invalid { .. } => ErrorCode::BadRequest,
        ShareError::Unknown(_) => ErrorCode::ShareUnknown,
        ShareError::NotHeld(_) => ErrorCode::Conflict,
        ShareError::TooMany(_) => ErrorCode::TooManyRequests,
        ShareError::NotRead(_) | ShareError::NotWritten(_) | ShareError::EndNotWritten(_) => {
            ErrorCode::StoreUnavailable
        }
    };
    let problem = Problem::new(code, error.to_string());
    match error {
        ShareError::Invalid { .. } => problem,
        ShareError::NotHeld(_) => problem.hint("make a share with \"held\": true"),
        ShareError::Unknown(_) => problem.hint("authctl shares lists the shares"),
        ShareError::TooMany(_) => problem.hint("end one with: authctl unshare ID").retry_after(60),
        ShareError::NotRead(_) | ShareError::NotWritten(_) | ShareError::EndNotWritten(_) => {
            problem.hint("fix the named cause; authd continues by itself")
        }
    }
}
