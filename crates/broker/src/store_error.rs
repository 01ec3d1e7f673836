//! The error for work on the store that cannot be done now and is retried.

use authd_store::StoreError;

pub(crate) fn unavailable(detail: impl Into<String>) -> StoreError {
    StoreError::Unavailable { detail: detail.into() }
}

/// The store does not support the call. A retry fails again.
pub(crate) fn refused(detail: impl Into<String>) -> StoreError {
    StoreError::Refused { detail: detail.into() }
}
