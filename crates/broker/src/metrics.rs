//! Counts refreshes by result. The daemon renders the counts.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use authd_oauth::{Event, ProviderError};

/// The values of the label `result`, in the order of the counters.
const RESULTS: [&str; 6] = ["ok", "unsent", "unanswered", "busy", "garbled", "refused"];

/// The refreshes sent since the start, by result; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct RefreshCounters(Arc<[AtomicU64; 6]>);

impl RefreshCounters {
    pub(crate) fn record_event(&self, event: &Event) {
        let Event::Refreshed(_, result) = event else { return };
        let index = match result {
            Ok(_) => 0,
            Err(ProviderError::NotSent { .. } | ProviderError::NoClientSecret { .. }) => 1,
            Err(ProviderError::NoResponse { .. }) => 2,
            Err(ProviderError::Unavailable { .. }) => 3,
            Err(ProviderError::InvalidResponse { .. }) => 4,
            Err(ProviderError::RejectedForNow { .. } | ProviderError::Rejected { .. }) => 5,
        };
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    /// Each result and how many refreshes ended with it.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        RESULTS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
