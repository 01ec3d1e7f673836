//! Logins.

use std::time::Duration;

use authd_api::{CallbackBody, LoginBody, route};
use authd_broker::{LoginError, LoginSnapshot, now};
use axum::{extract::State, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::http::{
    convert,
    extract::{Json, PathParam, QueryParams},
    problem,
    respond::{ApiError, json, no_store},
    state::SharedState,
};

/// Longest long poll, in seconds.
const LONGEST_WAIT: u64 = 60;

pub(super) async fn start(
    State(state): SharedState,
    Json(body): Json<LoginBody>,
) -> Result<Response, ApiError> {
    state.check_sign_in(body.profile.as_ref()).await?;
    let login = state.broker.logins.start(body).await.map_err(failed)?;
    let location = HeaderValue::from_str(&route::login(&login.id));
    let mut response = no_store(json(StatusCode::CREATED, &convert::login(login, now())));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    #[serde(default)]
    wait: u64,
}

pub(super) async fn get(
    State(state): SharedState,
    PathParam(id): PathParam<String>,
    QueryParams(WaitQuery { wait }): QueryParams<WaitQuery>,
) -> Result<Response, ApiError> {
    let logins = &state.broker.logins;
    logins.wait_until_known(&id).await.map_err(failed)?;
    respond(logins.wait(&id, Duration::from_secs(wait.min(LONGEST_WAIT))).await)
}

pub(super) async fn callback(
    State(state): SharedState,
    PathParam(id): PathParam<String>,
    Json(CallbackBody { url }): Json<CallbackBody>,
) -> Result<Response, ApiError> {
    let logins = &state.broker.logins;
    logins.wait_until_known(&id).await.map_err(failed)?;
    respond(logins.finish_with_pasted(&id, &url).await)
}

pub(super) async fn cancel(
    State(state): SharedState,
    PathParam(id): PathParam<String>,
) -> Result<StatusCode, ApiError> {
    let logins = &state.broker.logins;
    logins.wait_until_known(&id).await.map_err(failed)?;
    logins.cancel(&id).map_err(failed)?;
    Ok(StatusCode::NO_CONTENT)
}

fn respond(login: Result<LoginSnapshot, LoginError>) -> Result<Response, ApiError> {
    let login = login.map_err(failed)?;
    Ok(no_store(json(StatusCode::OK, &convert::login(login, now()))))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` needs")]
fn failed(error: LoginError) -> ApiError {
    ApiError(problem::login(&error, now()))
}
