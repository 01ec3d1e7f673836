//! Why a request was not relayed.

use std::sync::Arc;

use authd_broker::ProfileSnapshot;
use authd_oauth::{Mode, ProviderError};

/// Why a request was not relayed.
#[derive(Debug)]
pub(crate) enum RelayError {
    /// The call to the upstream failed.
    Upstream(ProviderError),
    /// The upstream switched to a protocol that the client did not request.
    UnrequestedUpgrade,
    /// The request body ended early or is malformed.
    BrokenBody,
    /// The path contains a segment that leaves the base URL.
    PathOutsideBaseUrl,
    /// The profile is in a mode that has no ChatGPT backend.
    NoBackend(Mode),
    /// The definition of this provider has no base URL.
    NoBaseUrl(String),
    /// The upstream rejected the credential, and the refresh showed that the user must sign in
    /// again.
    NoCredential(Arc<ProfileSnapshot>),
}
