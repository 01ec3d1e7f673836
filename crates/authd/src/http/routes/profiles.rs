//! Profiles.

use authd_api::{ErrorCode, Problem, ProfileName, ProfilePatch, Profiles};
use authd_broker::{RegistryError, now};
use axum::{extract::State, response::Response};
use http::StatusCode;
use serde::Deserialize;

use crate::http::{
    convert,
    extract::{Json, PathParam, QueryParams},
    problem,
    respond::{ApiError, json},
    state::{ResolvedProfile, SharedState},
};

pub(super) async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let registry = state.registry().await?;
    let now = now();
    let profiles = registry.profiles.keys();
    let profiles = profiles.filter_map(|name| convert::profile_of(&registry, name, now)).collect();
    Ok(json(StatusCode::OK, &Profiles { default: registry.default.clone(), profiles }))
}

pub(super) async fn get(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    Ok(json(StatusCode::OK, &state.profile_message(&name)?))
}

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
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    revoke: bool,
}

pub(super) async fn delete(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
    QueryParams(DeleteQuery { revoke }): QueryParams<DeleteQuery>,
) -> Result<StatusCode, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    let signed_out = state.broker.registry.sign_out(name.clone(), revoke).await;
    signed_out.map_err(|error| problem::registry(&error, &name))?;
    Ok(StatusCode::NO_CONTENT)
}
