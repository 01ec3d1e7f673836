//! Turns an authorization code, or the tokens of a device login, into the grant of a defined
//! provider.

use std::sync::Arc;

use authd_oauth::{
    Authority, BearerGrant, BearerResponse, Endpoint, Exchange, Grant, GrantSecrets, Identity, LoginFailure,
    OauthRequest, ProviderError, Refusal, SignInClient, identity_of_id_token,
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
        Err(error) => Err(rejected(store, &client, OauthRequest::Exchange, error).await),
    }
}

/// The failure of an exchange or a poll.
pub(super) async fn rejected(
    store: &Store,
    client: &SignInClient,
    request: OauthRequest,
    error: ProviderError,
) -> LoginFailure {
    if let Some(failure) = forget_unknown(store, client, &error).await {
        return failure;
    }
    match error {
        ProviderError::Rejected { code, .. } => LoginFailure::Refused(Refusal { request, code }),
        error => LoginFailure::Exchange(error),
    }
}

/// Forgets a registered client that the server does not know any more, so that the next login
/// registers a new one. `None` if the error is another one.
pub(super) async fn forget_unknown(
    store: &Store,
    client: &SignInClient,
    error: &ProviderError,
) -> Option<LoginFailure> {
    let key = client.plan.registration.as_deref()?;
    let code = error.code().filter(|code| error.is_permanent() && code.as_str() == "invalid_client")?;
    forget(store, key).await;
    Some(LoginFailure::ClientForgotten(code.clone()))
}

/// Forgets a registered client.
pub(super) async fn forget(store: &Store, key: &str) {
    if let Err(error) = store.delete(&Key::client(key)).await {
        warn!(%error, "client registration not deleted");
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
    let attested = id_token.map(|token| identity_of_id_token(&token, &authority));
    let attested = attested.transpose().map_err(LoginFailure::WrongIdToken)?;
    // An id token of a code flow need not have the claims of its scopes (`OpenID` Connect Core,
    // section 5.4).
    let is_complete = attested.as_ref().is_some_and(|identity| identity.email.is_some());
    // Only a token with this scope opens the endpoint (section 5.3.1).
    let is_openid = authority.scopes.iter().any(|scope| scope == "openid");
    let stated = match &plan.userinfo_url {
        Some(url) if is_openid && !is_complete => {
            endpoint.userinfo(url, &grant).await.unwrap_or_else(|error| {
                info!(%error, "the userinfo endpoint states no identity");
                None
            })
        }
        _ => None,
    };
    let identity = match (attested, stated) {
        (Some(attested), Some(stated)) if attested.user_id == stated.user_id => stated,
        (Some(attested), _) => attested,
        (None, Some(stated)) => stated,
        (None, None) => Identity { realm: Some(authority.realm()), ..Identity::default() },
    };
    Ok(Grant {
        identity: identity.into(),
        mode_reason: format!("provider {}", authority.provider).into(),
        secrets: GrantSecrets::Bearer(Box::new(grant)),
        issued_at: clock::now(),
    })
}
