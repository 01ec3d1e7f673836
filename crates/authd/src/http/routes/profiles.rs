//! Profiles.

use std::{sync::Arc, time::Duration};

use authd_api::{AuditAction, ErrorCode, Problem, ProfileName, ProfilePatch, Profiles, Quota};
use authd_broker::{RegistryError, now};
use axum::{Extension, extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;

#[cfg(test)]
use super::openapi::responses::{
    BodyErrors, ChangedProfile, LoginRequiredErrors, ProfileErrors, ProviderErrors, StoreErrors,
};
use crate::{
    audit::Usage,
    http::{
        convert,
        extract::{Json, PathParam, QueryParams},
        peer::Peer,
        problem,
        respond::{ApiError, json},
        state::{ResolvedProfile, SharedState},
    },
};

/// All profiles
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::PROFILES, operation_id = "profiles", tag = "profiles",
    responses((status = 200, description = "All of them, by name.", body = Profiles)),
))]
pub(super) async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let registry = state.registry().await?;
    let now = now();
    let profiles = registry.profiles.keys();
    let profiles = profiles.filter_map(|name| convert::profile_of(&registry, name, now)).collect();
    Ok(json(StatusCode::OK, &Profiles { default: registry.default.clone(), profiles }))
}

/// One profile
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::PROFILE, operation_id = "profile", tag = "profiles",
    responses((status = 200, description = "The profile.", body = authd_api::Profile), ProfileErrors),
))]
pub(super) async fn get(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    Ok(json(StatusCode::OK, &state.profile_message(&name)?))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct QuotaQuery {
    /// How old the figures may be, in seconds. The daemon asks the provider only if it knows
    /// nothing as new: at most every 30 seconds, and after a failure later. Figures that are
    /// younger than 30 seconds are never stale.
    #[cfg_attr(test, param(default = 300, example = 300))]
    max_age: Option<u64>,
}

/// How much of the usage limits is used
///
/// From what the provider said in responses that passed through the relay, else from its usage
/// endpoint. It never causes a refresh. If newer figures cannot be obtained, the response has the
/// last ones, marked as stale, and the reason. Without any, it has no windows, and the reason.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::QUOTA, operation_id = "quota", tag = "profiles",
    params(QuotaQuery),
    responses(
        (status = 200, description = "What is known.", body = authd_api::Quota), ProfileErrors, StoreErrors,
    ),
))]
pub(super) async fn quota(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
    QueryParams(QuotaQuery { max_age }): QueryParams<QuotaQuery>,
) -> Result<Response, ApiError> {
    let profile = state.resolve(&param).await?;
    state.loaded(&profile).await?;
    let max_age = Duration::from_secs(max_age.unwrap_or(Quota::DEFAULT_MAX_AGE));
    let view = state.broker.quotas.get(&profile.handle, max_age).await;
    let snapshot = state.loaded(&profile).await?;
    Ok(json(StatusCode::OK, &convert::requested_quota(&snapshot.name, &snapshot, &view, now())))
}

/// Rename a profile, or make it the default
#[cfg_attr(test, utoipa::path(
    patch, path = authd_api::route::PROFILE, operation_id = "patch_profile", tag = "profiles",
    request_body = ProfilePatch,
    responses(ChangedProfile, BodyErrors, ProfileErrors, StoreErrors),
))]
pub(super) async fn patch(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
    Json(patch): Json<ProfilePatch>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { mut name, .. } = state.resolve(&param).await?;
    let failed = |name: ProfileName| move |error: RegistryError| ApiError(problem::registry(&error, &name));
    let invalid = |detail: &str| Problem::new(ErrorCode::BadRequest, detail);
    match patch {
        ProfilePatch { default: None, name: None } => {
            return Err(invalid("nothing to change: give \"default\" or \"name\"").into());
        }
        ProfilePatch { default: Some(false), .. } => {
            let problem = invalid("a profile stops being the default when another one becomes it");
            return Err(problem.hint("set \"default\" on the other profile").into());
        }
        ProfilePatch { default, name: new_name } => {
            let registry = &state.broker.registry;
            if let Some(new_name) = new_name {
                registry.rename(name, new_name.clone()).await.map_err(failed(new_name.clone()))?;
                name = new_name;
            }
            if default == Some(true) {
                registry.make_default(name.clone()).await.map_err(failed(name.clone()))?;
            }
        }
    }
    Ok(json(StatusCode::OK, &state.profile_message(&name)?))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// Whether to revoke the login at the provider first. If the revocation fails, or the record
    /// cannot be read, the profile stays.
    #[serde(default)]
    #[cfg_attr(test, param(default = false, example = true))]
    revoke: bool,
}

/// Sign out
#[cfg_attr(test, utoipa::path(
    delete, path = authd_api::route::PROFILE, operation_id = "sign_out", tag = "profiles",
    params(DeleteQuery),
    responses(
        (status = 204, description = "Done."),
        ProfileErrors, StoreErrors, ProviderErrors, LoginRequiredErrors,
    ),
))]
pub(super) async fn delete(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    QueryParams(DeleteQuery { revoke }): QueryParams<DeleteQuery>,
) -> Result<StatusCode, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    let usage = Usage::new(AuditAction::SignOut).of(&name);
    let sign_out = state.broker.registry.sign_out(name.clone(), revoke);
    let signed_out = state.recorded(&peer, usage, sign_out, |usage, ()| usage).await;
    signed_out.map_err(|error| problem::registry(&error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}
