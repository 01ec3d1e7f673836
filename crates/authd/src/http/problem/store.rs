//! What a failure of the credential store means.

use authd_api::{ErrorCode, Problem};
use authd_oauth::SaveError;
use authd_store::StoreError;

use super::command::DOCTOR;

const UNLOCK: &str = "unlock the keychain; authd continues by itself";

/// A failed call to the store.
pub(crate) fn store(error: &StoreError) -> Problem {
    let detail = error.to_string();
    match error {
        StoreError::Locked { .. } => Problem::new(ErrorCode::StoreLocked, detail).hint(UNLOCK),
        StoreError::Unavailable { .. } => Problem::new(ErrorCode::StoreUnavailable, detail).hint(DOCTOR),
        StoreError::Refused { .. } => Problem::new(ErrorCode::Conflict, detail),
        StoreError::Damaged { .. } => {
            Problem::new(ErrorCode::StoreUnavailable, detail).hint("sign in again: authctl login --replace")
        }
    }
}

/// A credential that is not saved, or not renewed: the store must have a note before a refresh
/// token is sent.
pub(super) fn not_stored(error: &SaveError, is_unsaved: bool) -> Problem {
    let SaveError { locked, message } = error;
    let what = if is_unsaved { "the newest credential is not saved" } else { "not renewed" };
    let detail = format!("{what}: {message}");
    if *locked {
        Problem::new(ErrorCode::StoreLocked, detail).hint(UNLOCK)
    } else {
        Problem::new(ErrorCode::StoreUnavailable, detail).hint(DOCTOR)
    }
}
