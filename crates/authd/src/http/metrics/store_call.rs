//! The buckets and labels of calls to a store.

use authd_store::StoreError;

/// Bucket bounds of the store's latencies, in seconds: from a file's latency to the longest wait of
/// a client.
pub(super) const STORE_BUCKETS: [f64; 9] =
    [0.0001, 0.0004, 0.0016, 0.0064, 0.0256, 0.1024, 0.4096, 1.6384, 6.5536];

/// A label whose values are known.
pub(super) type Label = (&'static str, &'static str);

/// The label of the result of a store call.
pub(super) fn result_label(error: Option<&StoreError>) -> &'static str {
    match error {
        None => "ok",
        Some(StoreError::Locked { .. }) => "locked",
        Some(StoreError::Unavailable { .. }) => "unavailable",
        Some(StoreError::Refused { .. }) => "refused",
        Some(StoreError::Damaged { .. }) => "damaged",
    }
}
