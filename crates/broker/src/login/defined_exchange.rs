//! Turns an authorization code, or the tokens of a device login, into the grant of a defined
//! provider.

use std::sync::Arc;

use authd_oauth::{
    Authority, BearerGrant, BearerResponse, Endpoint, Exchange, Grant, GrantSecrets, Identity, LoginFailure,
    ProviderError, SignInClient, identity_of_id_token,
};
use authd_store::{Key, Store};
use tracing::{info, warn};

use crate::clock;

/// Redeems an authorization code.
pub(super) async fn redeem(
    endpoint: &Endpoint,
    store: &Store,
    client: SignInClient,
    exchange: Exchange,
) -> Result<Grant, LoginFailure> {
    match endpoint.exchange_bearer(&client, exchange, clock::now).await {
        Ok(response) => grant(endpoint, client, response).await,
        Err(error) => Err(rejected(store, &client, error).await),
    }
}

/// The failure of an exchange. A registered client that the server does not know any more is
/// forgotten, so that the next login registers a new one.
pub(super) async fn rejected(store: &Store, client: &SignInClient, error: ProviderError) -> LoginFailure {
    match (&error, &client.plan.registration) {
        (ProviderError::Rejected { code, .. }, Some(key)) if code.as_str() == "invalid_client" => {
            if let Err(error) = store.delete(&Key::client(key)).await {
                warn!(%error, "client registration not deleted");
            }
            LoginFailure::ClientForgotten(code.clone())
        }
        _ => LoginFailure::Exchange(error),
    }
}

/// The grant of a token response, with the identity that the provider states.
pub(super) async fn grant(
    endpoint: &Endpoint,
    SignInClient { plan, secret }: SignInClient,
    BearerResponse { tokens, id_token, scopes }: BearerResponse,
) -> Result<Grant, LoginFailure> {
    let requested = &plan.authority.requested_scopes;
    let scopes = scopes.unwrap_or_else(|| requested.clone());
    let authority = Arc::new(Authority { scopes, ..plan.authority });
    let grant = BearerGrant { tokens, client_secret: secret, authority: authority.clone() };
    let identity = match (id_token, &plan.userinfo_url) {
        (Some(token), _) => {
            Some(identity_of_id_token(&token, &authority).map_err(LoginFailure::WrongIdToken)?)
        }
        (None, Some(url)) => endpoint.userinfo(url, &grant).await.unwrap_or_else(|error| {
            info!(%error, "the provider states no identity");
            None
        }),
        (None, None) => None,
    };
    let none = || Identity { realm: Some(authority.realm()), ..Identity::default() };
    Ok(Grant {
        identity: identity.unwrap_or_else(none).into(),
        mode_reason: format!("provider {}", authority.provider).into(),
        secrets: GrantSecrets::Bearer(Box::new(grant)),
        issued_at: clock::now(),
    })
}
