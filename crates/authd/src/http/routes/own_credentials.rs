//! Credentials that a user supplies. Each is checked at its provider before it is stored.

use std::sync::Arc;

use authd_api::{ApiKeyBody, AuditAction, ErrorCode, Problem, ProfileName, StoredCredential, TokenBody};
use authd_broker::now;
use authd_oauth::{AccessToken, ApiKey, own_credential::KeyState};
use axum::{Extension, extract::State, response::Response};
use http::StatusCode;

#[cfg(test)]
use super::openapi::responses::{BodyErrors, OwnCredentialErrors, StoreErrors};
use crate::{
    audit::Usage,
    http::{
        extract::{Json, PathParam, profile_name},
        peer::Peer,
        problem,
        respond::{ApiError, json},
        state::{AppState, SharedState},
    },
};

/// Set a profile's API key
///
/// Creates the profile if it does not exist. The daemon first lists the models with the key:
///
/// | the provider's response | the key |
/// |---|---|
/// | a list of models | is stored |
/// | 401 or 403 that names missing scopes | is stored, with a note: it is a restricted key |
/// | 429 because the quota is used up | is stored, with a note |
/// | another 401 or 403 | is refused: `login_denied` |
/// | anything else, or none | is not stored: `provider_unreachable` |
#[cfg_attr(test, utoipa::path(
    put, path = authd_api::route::API_KEY, operation_id = "own_key", tag = "profiles",
    request_body = ApiKeyBody,
    responses(
        (status = 200, description = "The profile, and what the check showed.", body = StoredCredential),
        BodyErrors, OwnCredentialErrors, StoreErrors,
    ),
))]
pub(super) async fn put_api_key(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    Json(ApiKeyBody { api_key, check, replace }): Json<ApiKeyBody>,
) -> Result<Response, ApiError> {
    let name = target(&state, &param).await?;
    let key = ApiKey::new(one_word(&api_key, "an API key").map_err(|problem| problem.about(&name))?);
    let usage = Usage::new(AuditAction::TokenStored).of(&name);
    let stored = state.broker.logins.store_api_key(name, key, replace, check);
    let stored = state.recorded(&peer, usage, stored, |usage, (name, _)| usage.of(name)).await;
    let (name, key_state) = stored.map_err(|error| problem::login(&error, now()))?;
    let note = match key_state {
        None | Some(KeyState::Ready) => None,
        Some(KeyState::Restricted) => Some("it is a restricted key, which may not list the models"),
        Some(KeyState::OutOfQuota) => {
            Some("its quota is used up: the provider answers no request with it now")
        }
    };
    respond(&state, &name, note)
}

/// Set a profile's token
///
/// Creates the profile if it does not exist. A personal access token of OpenAI, `at-…`, is checked
/// with the provider's `whoami`, which also returns the account. The token of a defined provider is
/// checked with the `check_url` of the definition, else with the userinfo endpoint, the MCP server
/// or the `base_url`. If the provider rejects the token, the error is `login_denied`. Without a
/// usable response it is `provider_unreachable`. In both cases nothing is stored.
#[cfg_attr(test, utoipa::path(
    put, path = authd_api::route::TOKEN, operation_id = "own_token", tag = "profiles",
    request_body = TokenBody,
    responses(
        (status = 200, description = "The profile.", body = StoredCredential),
        BodyErrors, OwnCredentialErrors, StoreErrors,
    ),
))]
pub(super) async fn put_token(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    Json(TokenBody { token, provider, replace }): Json<TokenBody>,
) -> Result<Response, ApiError> {
    let name = target(&state, &param).await?;
    let token = AccessToken::new(one_word(&token, "a token").map_err(|problem| problem.about(&name))?);
    let usage = Usage::new(AuditAction::TokenStored).of(&name);
    let stored = state.broker.logins.store_token(name, provider, token, replace);
    let stored = state.recorded(&peer, usage, stored, Usage::of).await;
    let name = stored.map_err(|error| problem::login(&error, now()))?;
    respond(&state, &name, None)
}

/// The profile of the path. It need not exist.
async fn target(state: &AppState, param: &str) -> Result<ProfileName, Problem> {
    let name = match profile_name(param)? {
        Some(name) => name,
        None => state.registry().await?.default.clone().unwrap_or_else(ProfileName::first),
    };
    state.check_sign_in(&name).await?;
    Ok(name)
}

fn one_word<'a>(text: &'a str, what: &str) -> Result<&'a str, Problem> {
    let word = text.trim();
    if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(word);
    }
    Err(Problem::new(ErrorCode::BadRequest, format!("{what} is one word of printable ASCII characters")))
}

fn respond(state: &AppState, name: &ProfileName, note: Option<&str>) -> Result<Response, ApiError> {
    let profile = state.profile_message(name)?;
    Ok(json(StatusCode::OK, &StoredCredential { profile, note: note.map(str::to_owned) }))
}
