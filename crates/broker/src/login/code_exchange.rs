//! Turns an authorization code into a grant: code exchange, claims, mode decision, API key.

use std::time::Duration;

use authd_api::ProfileName;
use authd_oauth::{
    ApiKey, Decision, Endpoint, Exchange, Grant, GrantSecrets, IdToken, LoginFailure, ModePreference,
    ProviderError, Tokens, claims, mode_decision,
};
use tracing::{info, warn};

use crate::clock;

/// Attempts of the API-key exchange while the provider is unreachable. With the waits between them
/// they take less time than a browser waits.
const ATTEMPTS: u32 = 4;

/// What the user requested.
pub(super) struct LoginPreferences {
    pub(super) profile: ProfileName,
    /// Whether the login may replace another user's sign-in.
    pub(super) replace: bool,
    pub(super) mode: ModePreference,
    /// The accepted workspaces; empty accepts any.
    pub(super) workspaces: Vec<String>,
}

/// Redeems an authorization code and decides the mode.
pub(super) async fn redeem(
    endpoint: &Endpoint,
    exchange: Exchange,
    preferences: &LoginPreferences,
) -> Result<Grant, LoginFailure> {
    let response = endpoint.exchange_code(exchange).await.map_err(LoginFailure::Exchange)?;
    let now = clock::now();
    let (tokens, id_token) = Tokens::issued(response, now);
    let identity = claims::identity(&id_token).map_err(|error| {
        LoginFailure::Exchange(ProviderError::InvalidResponse { detail: error.to_string() })
    })?;
    accept_workspace(identity.account_id.as_deref(), &preferences.workspaces)?;
    let (secrets, mode_reason) = match mode_decision::decide(preferences.mode, &identity) {
        Decision::ChatGpt { reason } => (GrantSecrets::ChatGpt(tokens, Some(id_token)), reason),
        Decision::TryApiKey { reason, fallback } => match api_key(endpoint, &id_token).await {
            Ok(key) => (GrantSecrets::ApiKey(key, Some(Box::new((tokens, id_token)))), reason),
            Err(ProviderError::Rejected { code, .. }) if fallback && !code.is_region_rule() => {
                info!(%code, "no API key for this account; using ChatGPT mode");
                (GrantSecrets::ChatGpt(tokens, Some(id_token)), mode_decision::no_key_reason(&code))
            }
            Err(ProviderError::Rejected { code, .. }) => return Err(LoginFailure::NoApiKey(code)),
            Err(failure) => return Err(LoginFailure::Exchange(failure)),
        },
    };
    Ok(Grant { identity: identity.into(), secrets, mode_reason: mode_reason.into(), issued_at: now })
}

/// The exchange spends nothing, so it is retried. An unreachable provider never changes the mode.
async fn api_key(endpoint: &Endpoint, id_token: &IdToken) -> Result<ApiKey, ProviderError> {
    let mut attempts = 1;
    loop {
        match endpoint.exchange_api_key(id_token).await {
            Err(error) if !error.is_permanent() && attempts < ATTEMPTS => {
                warn!(%error, "API key exchange failed; retrying");
                tokio::time::sleep(Duration::from_secs(1 << attempts)).await;
                attempts += 1;
            }
            result => return result,
        }
    }
}

/// Whether the account of a sign-in is among the accepted workspaces; empty accepts any.
pub(super) fn accept_workspace(account: Option<&str>, allowed: &[String]) -> Result<(), LoginFailure> {
    if allowed.is_empty() || account.is_some_and(|account| allowed.iter().any(|id| id == account)) {
        return Ok(());
    }
    Err(LoginFailure::WrongWorkspace { wanted: allowed.join(", "), got: account.map(ToOwned::to_owned) })
}
