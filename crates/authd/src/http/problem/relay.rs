//! Maps the errors of the relay to problems.

use authd_api::{ErrorCode, Problem, ProfileName};
use authd_oauth::Mode;
use jiff::Timestamp;

use super::{no_credential, provider};
use crate::relay::RelayError;

/// A request for the OAuth metadata of an MCP server: the client must use the headers that it was
/// given.
pub(in crate::http) fn no_oauth_metadata() -> Problem {
    Problem::new(ErrorCode::NotFound, "there is no OAuth metadata here: authd adds the token")
}

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
        RelayError::NoBackend(mode) => {
            let mode = if *mode == Mode::ApiKey { "API-key" } else { "bearer" };
            let detail = format!("profile \"{name}\" is in {mode} mode, which has no ChatGPT backend");
            Problem::new(ErrorCode::Conflict, detail).hint("use the relay, not relay-backend")
        }
        RelayError::NoBaseUrl(provider) => {
            let detail = format!(
                "the relay does not know where to send the requests of profile \"{name}\": provider \"{provider}\" \
                 has no base_url"
            );
            let hint = format!(
                "set base_url in [providers.{provider}] of authd.toml, then sign in again: authctl login {name}"
            );
            Problem::new(ErrorCode::Conflict, detail).hint(hint).about(name)
        }
        RelayError::NoCredential(snapshot) => no_credential(snapshot, now),
    }
}
