//! Logins shared with the Codex CLI.

use std::sync::Arc;

use authd_api::{
    AuditAction, CodexBody, CodexHomes, ExportBody, ImportBody, LoginFile, ProfileName, Program,
};
use authd_broker::CodexHomeError;
use axum::{Extension, extract::State, response::Response};
use http::StatusCode;

#[cfg(test)]
use super::openapi::responses::{
    BodyErrors, ChangedProfile, CodexHomesResponse, CredentialErrors, LoginFileResponse, ProfileErrors,
    StoreErrors,
};
use crate::{
    audit::Usage,
    http::{
        convert,
        extract::{Json, PathParam, profile_name},
        peer::Peer,
        problem,
        respond::{ApiError, json},
        state::{ResolvedProfile, SharedState},
    },
};

/// Import another program's login
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::IMPORT, operation_id = "import", tag = "sharing",
    request_body = ImportBody,
    responses(ChangedProfile, BodyErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn import(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    Json(ImportBody { source: Program::Codex, path, profile }): Json<ImportBody>,
) -> Result<Response, ApiError> {
    let wanted = profile.unwrap_or_else(ProfileName::first);
    let usage = Usage::new(AuditAction::Import).of(&wanted);
    let import = state.broker.codex.import(path, wanted);
    let name = state.recorded(&peer, usage, import, Usage::of).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &state.profile_message(&name)?))
}

/// Move a login to another program
///
/// A login that the file already holds is never overwritten: that is a conflict.
#[cfg_attr(test, utoipa::path(
    post, path = authd_api::route::EXPORT, operation_id = "export", tag = "sharing",
    request_body = ExportBody,
    responses(LoginFileResponse, BodyErrors, ProfileErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn export(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    Json(ExportBody { target: Program::Codex, path }): Json<ExportBody>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    let usage = Usage::new(AuditAction::Export).of(&name);
    let export = state.broker.codex.export(path, name.clone());
    let path = state.recorded(&peer, usage, export, |usage, _| usage).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &LoginFile { profile: name, path, outcome: None }))
}

/// All managed Codex homes
///
/// `state` and `last_error` are what authd found when it last looked. It looks whenever the login
/// file or the profile changes; at a login in the keychain, when the profile changes.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::CODEX_HOMES, operation_id = "list_codex_homes", tag = "sharing",
    responses(CodexHomesResponse, StoreErrors),
))]
pub(super) async fn list(State(state): SharedState) -> Result<Response, ApiError> {
    let homes = state.broker.codex.homes().await.map_err(failed)?;
    let homes = homes.into_iter().map(convert::codex_home).collect();
    Ok(json(StatusCode::OK, &CodexHomes { homes }))
}

/// Keep a Codex home supplied with access tokens
#[cfg_attr(test, utoipa::path(
    put, path = authd_api::route::CODEX, operation_id = "install_codex", tag = "sharing",
    request_body = CodexBody,
    responses(LoginFileResponse, BodyErrors, ProfileErrors, CredentialErrors, StoreErrors),
))]
pub(super) async fn install(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    Json(CodexBody { home }): Json<CodexBody>,
) -> Result<Response, ApiError> {
    let ResolvedProfile { name, .. } = state.resolve(&param).await?;
    let usage = Usage::new(AuditAction::CodexInstalled).of(&name);
    let install = state.broker.codex.install(home, name.clone());
    let path = state.recorded(&peer, usage, install, |usage, _| usage).await.map_err(failed)?;
    Ok(json(StatusCode::OK, &LoginFile { profile: name, path, outcome: None }))
}

/// Restore the previous login of a Codex home
///
/// The home alone determines what is restored: the profile in the path need not exist any more. A
/// login that a user made there meanwhile is left as it is, and `outcome` says so.
#[cfg_attr(test, utoipa::path(
    delete, path = authd_api::route::CODEX, operation_id = "uninstall_codex", tag = "sharing",
    request_body = CodexBody,
    responses(LoginFileResponse, BodyErrors, StoreErrors),
))]
pub(super) async fn uninstall(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    PathParam(param): PathParam<String>,
    Json(CodexBody { home }): Json<CodexBody>,
) -> Result<Response, ApiError> {
    profile_name(&param)?;
    let usage = Usage::new(AuditAction::CodexUninstalled);
    let uninstall = state.broker.codex.uninstall(home);
    let restored = state.recorded(&peer, usage, uninstall, |usage, file| usage.of(&file.profile)).await;
    Ok(json(StatusCode::OK, &restored.map_err(failed)?))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn failed(error: CodexHomeError) -> ApiError {
    ApiError(problem::codex_home(&error))
}
