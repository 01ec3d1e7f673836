//! The routes that share a login with another program.

use authd_api::{CodexBody, ExportBody, ImportBody, LoginFile, ProfileName, Program};
use axum::{extract::State, response::Response};
use http::StatusCode;

use super::{Found, Seen};
use crate::{
    answer::{ApiError, Json, Part, json, named},
    codex::CodexFailure,
    reply,
};

pub(super) async fn import(
    State(front): Seen,
    Json(ImportBody { source: Program::Codex, path, profile }): Json<ImportBody>,
) -> Result<Response, ApiError> {
    let wanted = profile.unwrap_or_else(ProfileName::first);
    let name = front.codex.import(path, wanted).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &front.message(&name)?))
}

pub(super) async fn export(
    State(front): Seen,
    Part(part): Part<String>,
    Json(ExportBody { target: Program::Codex, path }): Json<ExportBody>,
) -> Result<Response, ApiError> {
    let Found { name, .. } = front.find(&part).await?;
    let path = front.codex.export(path, name.clone()).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &LoginFile { profile: name, path, outcome: None }))
}

pub(super) async fn install(
    State(front): Seen,
    Part(part): Part<String>,
    Json(CodexBody { home }): Json<CodexBody>,
) -> Result<Response, ApiError> {
    let Found { name, .. } = front.find(&part).await?;
    let path = front.codex.install(home, name.clone()).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &LoginFile { profile: name, path, outcome: None }))
}

/// The home alone says whose login was lent to it: that profile may be gone by now.
pub(super) async fn uninstall(
    State(front): Seen,
    Part(part): Part<String>,
    Json(CodexBody { home }): Json<CodexBody>,
) -> Result<Response, ApiError> {
    named(&part)?;
    Ok(json(StatusCode::OK, &front.codex.uninstall(home).await.map_err(failed)?))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` passes")]
fn failed(error: CodexFailure) -> ApiError {
    ApiError(reply::codex_failed(&error))
}
