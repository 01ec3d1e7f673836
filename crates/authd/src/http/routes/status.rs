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

pub(super) async fn status(State(state): SharedState) -> Response {
    let registry = state.broker.registry.snapshot();
    let message = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: state.started_at,
        callback: convert::callback(&state.callback.borrow()),
        store: convert::store(state.store.borrow().clone()),
        profiles: matches!(registry.names, Names::Known).then_some(registry.profiles.len()),
        pending_logins: state.broker.logins.pending(),
        default_profile: registry.default.clone(),
        model: state.settings.borrow().model.clone(),
    };
    json(StatusCode::OK, &message)
}

pub(super) async fn diagnosis(State(state): SharedState) -> Response {
    json(StatusCode::OK, &diagnose(&state).await)
}

pub(super) async fn metrics(State(state): SharedState) -> Result<Response, ApiError> {
    let broker = &state.broker;
    let text =
        state.metrics.render(&broker.registry.snapshot(), &broker.refreshes, broker.logins.pending(), now());
    let text = text.map_err(|error| Problem::new(ErrorCode::Internal, format!("no metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

/// The OpenAPI document. A test generates the file.
pub(super) async fn openapi() -> Response {
    const DOCUMENT: &str = include_str!("../../../../../docs/openapi.json");
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
