//! Logins shared with the Codex CLI.

use authd_api::{CodexBody, ExportBody, ImportBody, LoginFile, ProfileName, Program};
use authd_broker::CodexHomeError;
use axum::{extract::State, response::Response};
use http::StatusCode;

use crate::http::{
    extract::{Json, PathParam, profile_name},
    problem,
    respond::{ApiError, json},
    state::{ResolvedProfile, SharedState},
};

pub(super) async fn import(
    State(state): SharedState,
    Json(ImportBody { source: Program::Codex, path, profile }): Json<ImportBody>,
) -> Result<Response, ApiError> {
    let wanted = profile.unwrap_or_else(ProfileName::first);
    let name = state.broker.codex.import(path, wanted).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &state.profile_message(&name)?))
}

pub(super) async fn export(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
    Json(ExportBody { target: Program::Codex, path }): Json<ExportBody>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    let path = state.broker.codex.export(path, name.clone()).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &LoginFile { profile: name, path, outcome: None }))
}

pub(super) async fn install(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
    Json(CodexBody { home }): Json<CodexBody>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    let path = state.broker.codex.install(home, name.clone()).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &LoginFile { profile: name, path, outcome: None }))
}

/// The home determines the profile, which may not exist any more.
pub(super) async fn uninstall(
    State(state): SharedState,
    PathParam(param): PathParam<String>,
    Json(CodexBody { home }): Json<CodexBody>,
) -> Result<Response, ApiError> {
    profile_name(&param)?;
    Ok(json(StatusCode::OK, &state.broker.codex.uninstall(home).await.map_err(failed)?))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn failed(error: CodexHomeError) -> ApiError {
    ApiError(problem::codex_home(&error))
}
