//! From an authorization code to a grant: exchange, claims, mode decision, API key. Which profile it
//! becomes is not decided here.

use std::time::Duration;

use authd_oauth::{
    Decision, Endpoint, Exchange, Grant, GrantSecrets, IdToken, LoginFailure, ModePreference, ProviderError,
    Tokens, claims, plan,
};
use tracing::{info, warn};

use crate::clock;

/// How often the API-key exchange is tried while the provider cannot be reached. Together with the
/// waits between, this stays well inside a login's ten minutes and a browser's patience.
const TRIES: u32 = 4;

/// What a login wishes for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The kind of credential.
    pub(crate) mode: ModePreference,
    /// The only workspaces to accept; empty accepts any.
    pub(crate) workspaces: Vec<String>,
}

/// Redeems an authorization code, and everything that follows from it.
pub(crate) async fn redeem(
    endpoint: &Endpoint,
    exchange: Exchange,
    wish: &Wish,
) -> Result<Grant, LoginFailure> {
    let answer = endpoint.exchange_code(exchange).await.map_err(LoginFailure::Exchange)?;
    let now = clock::now();
    let (tokens, id_token) = Tokens::issued(answer, now);
    let identity = claims::identity(&id_token).map_err(|error| {
        LoginFailure::Exchange(ProviderError::InvalidResponse { detail: error.to_string() })
    })?;
    accept_workspace(identity.account_id.as_deref(), &wish.workspaces)?;
    let (secrets, mode_reason) = match plan::decide(wish.mode, &identity) {
        Decision::ChatGpt { reason } => (GrantSecrets::ChatGpt(tokens, Some(id_token)), reason),
        Decision::TryApiKey { reason, fallback } => match api_key(endpoint, &id_token).await {
            Ok(key) => (GrantSecrets::ApiKey(key, Some(Box::new((tokens, id_token)))), reason),
            Err(ProviderError::Rejected { code, .. }) if fallback => {
                info!(%code, "no API key for this account; ChatGPT mode");
                (GrantSecrets::ChatGpt(tokens, Some(id_token)), plan::no_key_reason(&code))
            }
            Err(ProviderError::Rejected { code, .. }) => return Err(LoginFailure::NoApiKey(code)),
            Err(failure) => return Err(LoginFailure::Exchange(failure)),
        },
    };
    Ok(Grant { identity: identity.into(), secrets, mode_reason: mode_reason.into(), issued_at: now })
}

/// The exchange spends nothing, so it may be tried again; a provider out of reach never changes the
/// mode.
async fn api_key(endpoint: &Endpoint, id_token: &IdToken) -> Result<authd_oauth::ApiKey, ProviderError> {
    let mut tries = 1;
    loop {
        match endpoint.exchange_api_key(id_token).await {
            Err(failure) if !failure.is_permanent() && tries < TRIES => {
                warn!(%failure, "the API-key exchange failed, and is tried again");
                tokio::time::sleep(Duration::from_secs(1 << tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

/// The workspaces that a login may end in, empty for any: the one that it asks for, else all that the
/// configuration accepts. None: it asks for another than those.
pub(crate) fn workspaces(asked: Option<&str>, accepted: &[String]) -> Option<Vec<String>> {
    match asked {
        None => Some(accepted.to_vec()),
        Some(asked) if accepted.is_empty() || accepted.iter().any(|id| id == asked) => {
            Some(vec![asked.to_owned()])
        }
        Some(_) => None,
    }
}

fn accept_workspace(account: Option<&str>, allowed: &[String]) -> Result<(), LoginFailure> {
    if allowed.is_empty() || account.is_some_and(|account| allowed.iter().any(|id| id == account)) {
        return Ok(());
    }
    Err(LoginFailure::WrongWorkspace { wanted: allowed.join(", "), got: account.map(ToOwned::to_owned) })
}
