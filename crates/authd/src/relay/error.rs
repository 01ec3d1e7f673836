//! Why a request was not relayed.

use std::sync::Arc;

use authd_broker::ProfileSnapshot;
use authd_oauth::ProviderError;

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
    /// The profile is in API-key mode, which has no ChatGPT backend.
    NoBackend,
    /// The upstream rejected the credential, and the refresh showed that the user must sign in
    /// again.
    NoCredential(Arc<ProfileSnapshot>),
}
