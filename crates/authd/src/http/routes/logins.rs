//! Logins.

use std::{sync::Arc, time::Duration};

use authd_api::{AuditAction, CallbackBody, LoginBody, Logins, route};
use authd_broker::{LoginError, LoginSnapshot, now};
use axum::{Extension, extract::State, response::Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

#[cfg(test)]
use super::openapi::responses::{BodyErrors, ConflictErrors, LoginErrors, LoginResponse, StartErrors};
use crate::{
    audit::Usage,
    http::{
        convert,
        extract::{Json, PathParam, QueryParams},
        peer::Peer,
        problem,
        respond::{ApiError, json, no_store},
        state::SharedState,
    },
};

/// Longest long poll, in seconds.
const LONGEST_WAIT: u64 = 60;

/// Start a login
///
/// A browser login has an `authorize_url`. It also has an `open_url`, which redirects there once,
/// if the callback server listens and `paste` is not set. A device login has a `verification_url`
/// and a `user_code`. At most 256 logins are pending at once. Beyond that the error is
/// `too_many_requests`, and `Retry-After` says when the first of them expires.
#[cfg_attr(test, utoipa::path(
    post, path = route::LOGINS, operation_id = "start_login", tag = "logins", request_body = LoginBody,
    responses(
        (status = 201, description = "The login, pending.", body = authd_api::Login,
            headers(("location"), ("cache-control"))),
        BodyErrors, StartErrors,
    ),
))]
pub(super) async fn start(
    State(state): SharedState,
    Extension(peer): Extension<Arc<Peer>>,
    Json(body): Json<LoginBody>,
) -> Result<Response, ApiError> {
    let profile = authd_broker::Logins::profile_of(&body);
    state.check_sign_in(&profile).await?;
    let usage = Usage::new(AuditAction::LoginStarted).of(&profile);
    let with_id = |usage, login: &LoginSnapshot| Usage { login: Some(login.id.as_str().into()), ..usage };
    let login =
        state.recorded(&peer, usage, state.broker.logins.start(body), with_id).await.map_err(failed)?;
    state.remember_login(&peer, &login.id);
    let location = HeaderValue::from_str(&route::login(&login.id));
    let mut response = no_store(json(StatusCode::CREATED, &convert::login(login, now())));
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Pending logins
///
/// Those that have not ended, in the order in which they started.
#[cfg_attr(test, utoipa::path(
    get, path = route::LOGINS, operation_id = "logins", tag = "logins",
    responses((status = 200, description = "The logins.", body = Logins, headers(("cache-control")))),
))]
pub(super) async fn list(State(state): SharedState) -> Response {
    let (logins, now) = (state.broker.logins.list(), now());
    let logins = logins.into_iter().map(|login| convert::login(login, now)).collect();
    no_store(json(StatusCode::OK, &Logins { logins }))
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(utoipa::IntoParams), into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub(super) struct WaitQuery {
    /// Seconds to wait for a change of its state; more than 60 count as 60.
    #[serde(default)]
    #[cfg_attr(test, param(default = 0, example = 1))]
    wait: u64,
}

/// A login, or its next state
#[cfg_attr(test, utoipa::path(
    get, path = route::LOGIN, operation_id = "login", tag = "logins", params(WaitQuery),
    responses(LoginResponse, LoginErrors),
))]
pub(super) async fn get(
    State(state): SharedState,
    PathParam(id): PathParam<String>,
    QueryParams(WaitQuery { wait }): QueryParams<WaitQuery>,
) -> Result<Response, ApiError> {
    let logins = &state.broker.logins;
    logins.wait_until_known(&id).await.map_err(failed)?;
    respond(logins.wait(&id, Duration::from_secs(wait.min(LONGEST_WAIT))).await)
}

/// Finish a login with its redirect URL
///
/// For a browser on another machine.
#[cfg_attr(test, utoipa::path(
    post, path = route::LOGIN_CALLBACK, operation_id = "paste", tag = "logins", request_body = CallbackBody,
    responses(LoginResponse, BodyErrors, LoginErrors, ConflictErrors),
))]
pub(super) async fn callback(
    State(state): SharedState,
    PathParam(id): PathParam<String>,
    Json(CallbackBody { url }): Json<CallbackBody>,
) -> Result<Response, ApiError> {
    let logins = &state.broker.logins;
    logins.wait_until_known(&id).await.map_err(failed)?;
    respond(logins.finish_with_pasted(&id, &url).await)
}

/// Cancel a login
///
/// A login whose code is being exchanged is not interrupted.
#[cfg_attr(test, utoipa::path(
    delete, path = route::LOGIN, operation_id = "cancel_login", tag = "logins",
    responses((status = 204, description = "Done."), LoginErrors),
))]
pub(super) async fn cancel(
    State(state): SharedState,
    PathParam(id): PathParam<String>,
) -> Result<StatusCode, ApiError> {
    let logins = &state.broker.logins;
    logins.wait_until_known(&id).await.map_err(failed)?;
    logins.cancel(&id).await.map_err(failed)?;
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
