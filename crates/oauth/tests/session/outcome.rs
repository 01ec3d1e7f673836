//! The outcome of a call: its effect at the other end, and the result that the session gets.

use authd_oauth::{ApiKey, ProviderError, Record, RefreshToken, SaveError};

use crate::{
    model::{Provider, Renewal, ResponseContent, Store, rejected_for_now, rejected_with},
    step::Outcome,
};

/// The result of a call.
#[derive(Clone)]
pub(crate) enum CallResult {
    Probed(bool),
    Saved(Result<(), SaveError>),
    Refreshed(Result<Renewal, ProviderError>),
    Exchanged(Result<ApiKey, ProviderError>),
}

/// The error of a failed save.
pub(crate) fn save_error(message: &str) -> SaveError {
    SaveError { locked: false, message: message.to_owned() }
}

/// A save with this outcome.
pub(crate) fn save(store: &mut Store, record: &Record, outcome: Outcome) -> Result<(), SaveError> {
    let (is_written, is_reported) = match outcome {
        Outcome::Success(_)
        | Outcome::SuccessWithoutLifetime
        | Outcome::SuccessWithoutRotation(_)
        | Outcome::NoAccessToken
        | Outcome::RateLimited(_) => (true, true),
        Outcome::ResponseLost | Outcome::InvalidResponse | Outcome::ServerError => (true, false),
        Outcome::NotSent
        | Outcome::RequestLost
        | Outcome::RejectedForNow
        | Outcome::Rejected
        | Outcome::RejectedWrongly => (false, false),
    };
    if is_written {
        store.write(record.clone());
    }
    if is_reported { Ok(()) } else { Err(save_error("it is locked")) }
}

/// A refresh with this outcome.
pub(crate) fn refresh(
    provider: &mut Provider,
    token: &RefreshToken,
    outcome: Outcome,
) -> Result<Renewal, ProviderError> {
    let token = token.expose();
    match outcome {
        Outcome::Success(lifetime) => provider.spend(token, ResponseContent::All, lifetime),
        Outcome::SuccessWithoutRotation(lifetime) => {
            provider.spend(token, ResponseContent::AccessToken, lifetime)
        }
        Outcome::SuccessWithoutLifetime => {
            provider.spend(token, ResponseContent::AllWithoutLifetime, outcome.lifetime())
        }
        Outcome::NoAccessToken => provider.spend(token, ResponseContent::RefreshToken, outcome.lifetime()),
        Outcome::Rejected => {
            provider.revoke(token);
            provider.spend(token, ResponseContent::All, outcome.lifetime())
        }
        Outcome::ResponseLost | Outcome::InvalidResponse | Outcome::ServerError => {
            // The token is spent, and the response does not arrive.
            drop(provider.spend(token, ResponseContent::All, outcome.lifetime()));
            Err(failure(outcome))
        }
        Outcome::RejectedWrongly => Err(rejected_with("invalid_grant")),
        Outcome::NotSent | Outcome::RequestLost | Outcome::RateLimited(_) | Outcome::RejectedForNow => {
            Err(failure(outcome))
        }
    }
}

/// The error of a failed call.
pub(crate) fn failure(outcome: Outcome) -> ProviderError {
    let detail = String::new();
    match outcome {
        Outcome::NotSent => ProviderError::NotSent { detail },
        Outcome::InvalidResponse | Outcome::NoAccessToken => ProviderError::InvalidResponse { detail },
        Outcome::RateLimited(retry_after) => {
            ProviderError::Unavailable { status: 429, code: None, retry_after }
        }
        Outcome::ServerError => ProviderError::Unavailable { status: 503, code: None, retry_after: None },
        Outcome::RejectedForNow => rejected_for_now("token_expired"),
        _ => ProviderError::NoResponse { detail },
    }
}
