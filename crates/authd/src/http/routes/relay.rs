//! The relay.

use std::sync::{Arc, OnceLock};

use authd_api::{AuditAction, ErrorCode, Problem};
use authd_broker::{ProfileSnapshot, now};
use authd_oauth::Mode;
use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, header};

#[cfg(test)]
use super::openapi::responses::{CredentialErrors, ProfileErrors, StoreErrors, UpstreamResponse};
use crate::{
    audit::{Usage, path_segment},
    http::{
        extract::ProfileParam,
        peer::Peer,
        problem,
        respond::ApiError,
        state::{AppState, ResolvedProfile, SharedState},
    },
    relay::{Destination, Target, is_oauth_metadata, missing_scopes},
};

/// Refuses CONNECT, which asks for a tunnel to another host, and TRACE, whose response would
/// contain the credential (RFC 9110, sections 9.3.6 and 9.3.8).
pub(super) async fn refuse(method: Method) -> Response {
    let detail = format!("the relay does not forward {method}");
    let mut response = ApiError(Problem::new(ErrorCode::MethodNotAllowed, detail)).into_response();
    let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(header::ALLOW, allowed);
    response
}

/// Relay to the profile's base URL itself
///
/// The same as the relay to a path below it, without a path: for an MCP server, whose base URL is
/// the server's own. A slash at the end means the same.
#[cfg_attr(test, utoipa::path(
    method(get, put, post, delete, options, head, patch),
    path = authd_api::route::RELAY_BASE, operation_id = "relay_base", tag = "credentials",
    responses(UpstreamResponse, ProfileErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn to_base(
    state: SharedState,
    profile: ProfileParam,
    request: Request,
) -> Result<Response, ApiError> {
    relay(state, profile, Target::Model, request).await
}

/// Relay to a path below the profile's base URL
///
/// Forwards any method, header, query and body. The client's own credential is replaced by the
/// profile's. The profile's other headers are added if the client has none of that name. After a
/// 401 the credential is refreshed once, and the request sent again if its body is still buffered.
/// The response is streamed. A 403 that demands scopes which the profile lacks makes it require a
/// sign-in. The responses of an MCP server have no `WWW-Authenticate`, and its OAuth metadata is
/// 404: clients would begin a sign-in of their own.
#[cfg_attr(test, utoipa::path(
    method(get, put, post, delete, options, head, patch),
    path = authd_api::route::RELAY, operation_id = "relay", tag = "credentials",
    responses(UpstreamResponse, ProfileErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn to_model(
    state: SharedState,
    profile: ProfileParam,
    request: Request,
) -> Result<Response, ApiError> {
    relay(state, profile, Target::Model, request).await
}

/// Relay to the ChatGPT backend
///
/// The same as the relay to the profile's base URL, with another target.
#[cfg_attr(test, utoipa::path(
    method(get, put, post, delete, options, head, patch),
    path = authd_api::route::RELAY_BACKEND, operation_id = "relay_backend", tag = "credentials",
    responses(UpstreamResponse, ProfileErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn to_backend(
    state: SharedState,
    profile: ProfileParam,
    request: Request,
) -> Result<Response, ApiError> {
    relay(state, profile, Target::Backend, request).await
}

async fn relay(
    State(state): SharedState,
    ProfileParam(param): ProfileParam,
    target: Target,
    request: Request,
) -> Result<Response, ApiError> {
    let profile = state.resolve(&param).await?;
    // The path of the route has five parts before that of the upstream.
    let path = request.uri().path().splitn(6, '/').nth(5).unwrap_or_default().to_owned();
    Ok(relay_to(&state, &profile, target, &path, request, |_| Ok(())).await?)
}

/// Forwards a request to a path below the target, or to the target itself if the path is empty.
/// `is_allowed` checks each credential before its use.
pub(in crate::http) async fn relay_to(
    state: &AppState,
    profile: &ResolvedProfile,
    target: Target,
    path: &str,
    request: Request,
    is_allowed: impl Fn(&ProfileSnapshot) -> Result<(), Problem>,
) -> Result<Response, Problem> {
    if is_oauth_metadata(path) && is_mcp(&*state.loaded(profile).await?) {
        return Err(problem::no_oauth_metadata());
    }
    let snapshot = state.get_or_refresh(profile, None).await?;
    is_allowed(&snapshot)?;
    let refreshed = OnceLock::new();
    let refresh = async |rejected| match state.refresh(profile, Some(rejected)).await {
        Ok((_, after)) if is_allowed(&after).is_err() => None,
        Ok((_, after)) => Some(refreshed.get_or_init(|| after).clone()),
        Err(problem) => {
            tracing::warn!(code = problem.code.as_str(), "credential not refreshed after the upstream's 401");
            None
        }
    };
    let peer = request.extensions().get::<Arc<Peer>>().cloned();
    let peer = peer.expect("every request has the peer of its connection");
    let record = || {
        state.record(&peer, || Usage {
            generation: Some(snapshot.credential.generation),
            path: path_segment(path).map(Into::into),
            ..Usage::new(AuditAction::Relay).of(&profile.name)
        });
    };
    let to = Destination { target, path };
    let response = state.relay.forward(to, request, snapshot.clone(), record, refresh).await;
    let mut response = response.map_err(|error| problem::relay(&error, &profile.name, now()))?;
    let used = refreshed.get().unwrap_or(&snapshot);
    state.broker.quotas.observe(&profile.handle, used, response.headers());
    if is_unconfirmed(profile) && (response.status().is_success() || response.status().is_informational()) {
        profile.handle.report_accepted(used.credential.generation);
    }
    if used.mode() == Mode::Bearer {
        let scopes = missing_scopes(response.status(), response.headers());
        if !scopes.is_empty() {
            // The upstream's response says what failed; the status of the profile says what helps.
            let grant_id = Some((*used.credential.grant_id).into());
            state.report_missing_scopes(profile, grant_id, scopes).await.ok();
        }
    }
    if is_mcp(used) {
        response.headers_mut().remove(header::WWW_AUTHENTICATE);
    }
    Ok(response)
}

fn is_unconfirmed(profile: &ResolvedProfile) -> bool {
    let is_unconfirmed = |snapshot: &std::sync::Arc<ProfileSnapshot>| snapshot.is_unconfirmed;
    profile.handle.view().snapshot().is_some_and(is_unconfirmed)
}

fn is_mcp(snapshot: &ProfileSnapshot) -> bool {
    snapshot.credential.authority.as_ref().is_some_and(|authority| authority.is_mcp)
}
