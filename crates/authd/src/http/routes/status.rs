//! The daemon itself: status, diagnosis, metrics, and the OpenAPI document.

use authd_api::{ErrorCode, Problem, Status};
use authd_broker::{Names, now};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

use crate::http::{
    convert,
    diagnosis::diagnose,
    metrics,
    respond::{ApiError, json},
    state::SharedState,
};

/// Daemon state
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::STATUS, operation_id = "status", tag = "daemon",
    responses((status = 200, description = "The state.", body = Status)),
))]
pub(super) async fn status(State(state): SharedState) -> Response {
    let registry = state.broker.registry.snapshot();
    let message = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: state.started_at,
        callback: convert::callback(&state.callback.borrow()),
        store: convert::store(&state.stores),
        profiles: matches!(registry.names, Names::Known).then_some(registry.profiles.len()),
        pending_logins: state.broker.logins.pending(),
        shares: state.broker.shares.snapshot().map(|shares| shares.len()),
        default_profile: registry.default.clone(),
        audit: Some(state.audit.status()),
        model: state.settings.borrow().model.clone(),
    };
    json(StatusCode::OK, &message)
}

/// Problems of the installation, with remedies
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::DIAGNOSIS, operation_id = "diagnosis", tag = "daemon",
    responses((status = 200, description = "The checks and their results.", body = authd_api::Diagnosis)),
))]
pub(super) async fn diagnosis(State(state): SharedState) -> Response {
    json(StatusCode::OK, &diagnose(&state).await)
}

/// Metrics, as text
///
/// No label names a user, a profile or a workspace.
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::METRICS, operation_id = "metrics", tag = "daemon",
    responses((status = 200, description = "OpenMetrics 1.0.", body = String,
        content_type = metrics::CONTENT_TYPE,
        example = "# HELP authd_pending_logins Pending logins.\n\
            # TYPE authd_pending_logins gauge\nauthd_pending_logins 0\n# EOF\n")),
))]
pub(in crate::http) async fn metrics(State(state): SharedState) -> Result<Response, ApiError> {
    let broker = &state.broker;
    let text = state.metrics.render(broker, &state.audit.status(), now());
    let text = text.map_err(|error| Problem::new(ErrorCode::Internal, format!("no metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// This document
#[cfg_attr(test, utoipa::path(
    get, path = authd_api::route::OPENAPI, operation_id = "openapi", tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json",
        example = json!({"openapi": "3.1.1", "paths": {},
            "info": {"title": "authd", "version": env!("CARGO_PKG_VERSION")}}))),
))]
pub(super) async fn openapi() -> Response {
    // A test in routes/openapi.rs generates the file.
    const DOCUMENT: &str = include_str!("../../../../../docs/openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
