//! Maps the errors of the relay to problems.

use authd_api::{ErrorCode, Problem, ProfileName};
use jiff::Timestamp;

use super::{no_credential, provider};
use crate::relay::RelayError;

/// A request that was not relayed.
pub(in crate::http) fn relay(error: &RelayError, name: &ProfileName, now: Timestamp) -> Problem {
    match error {
        RelayError::Upstream(error) => provider(error).about(name),
        RelayError::UnrequestedUpgrade => {
            let detail = "the upstream switched to a protocol that the client did not request";
            Problem::new(ErrorCode::ProviderRefused, detail).about(name)
        }
        RelayError::BrokenBody => {
            let detail = "the request body ended early or is malformed";
            Problem::new(ErrorCode::BadRequest, detail).about(name)
        }
        RelayError::PathOutsideBaseUrl => {
            Problem::new(ErrorCode::BadRequest, "a relayed path must not leave the base URL")
        }
        RelayError::NoBackend => {
            let detail = format!("profile \"{name}\" is in API-key mode, which has no ChatGPT backend");
            Problem::new(ErrorCode::Conflict, detail).hint("use the relay, not relay-backend")
        }
        RelayError::NoCredential(snapshot) => no_credential(snapshot, now),
    }
}
