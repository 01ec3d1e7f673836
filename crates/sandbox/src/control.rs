//! The control endpoints under `/_sandbox`, for users and for programs that do not use this
//! library. Each does what the method of the same name in [`crate::Sandbox`] does.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Fault, Recorded, Route, Shared, Usage, response};

/// A new fault: `{"route": "refresh", "times": 2, "fault": "delay", "milliseconds": 100}`.
#[derive(Deserialize)]
struct FaultRequest {
    route: Route,
    #[serde(default = "once")]
    times: usize,
    #[serde(flatten)]
    fault: Fault,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NextAccountRequest {
    /// The account that signs in without the sign-in page; none shows the page.
    account: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceRequest {
    user_code: String,
    /// The account that approves the login; none denies it.
    account: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    account: String,
    /// Whether the key may not list the models.
    #[serde(default)]
    restricted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenRequest {
    account: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevocationRequest {
    token: String,
}

/// The usage of an account:
/// `{"account": "plus", "windows": [{"used_percent": 95, "seconds": 604800}]}`.
#[derive(Deserialize)]
struct UsageRequest {
    account: String,
    #[serde(flatten)]
    usage: Usage,
}

/// The routes below `/_sandbox`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sandbox/faults", post(push_fault).delete(clear_faults))
        .route("/_sandbox/release", post(release))
        .route("/_sandbox/requests", get(requests).delete(clear_requests))
        .route("/_sandbox/expire", post(expire))
        .route("/_sandbox/expire-refresh-tokens", post(expire_refresh_tokens))
        .route("/_sandbox/next-account", post(next_account))
        .route("/_sandbox/device", post(device))
        .route("/_sandbox/api-key", post(api_key))
        .route("/_sandbox/personal-access-token", post(issue_token).delete(revoke_token))
        .route("/_sandbox/usage", post(usage))
        .layer(middleware::from_fn(reject_web_page))
}

/// Rejects requests of web pages, which could otherwise control a sandbox on the machine of a
/// visitor.
async fn reject_web_page(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return response::detail(StatusCode::FORBIDDEN, "Web pages must not use the control endpoints");
    }
    next.run(request).await
}

async fn push_fault(State(shared): State<Arc<Shared>>, Json(request): Json<FaultRequest>) -> StatusCode {
    shared.faults.push_times(request.route, request.fault, request.times);
    StatusCode::NO_CONTENT
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn release(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.release();
    StatusCode::NO_CONTENT
}

async fn requests(State(shared): State<Arc<Shared>>) -> Json<Vec<Recorded>> {
    Json(shared.log.all())
}

async fn clear_requests(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.log.clear();
    StatusCode::NO_CONTENT
}

async fn expire(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.expire_access_tokens();
    StatusCode::NO_CONTENT
}

async fn expire_refresh_tokens(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.ledger().expire_refresh_tokens();
    StatusCode::NO_CONTENT
}

async fn next_account(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<NextAccountRequest>,
) -> Json<Value> {
    shared.set_next_account(request.account.clone());
    Json(json!({"account": request.account}))
}

async fn device(State(shared): State<Arc<Shared>>, Json(request): Json<DeviceRequest>) -> Response {
    if shared.decide_device(&request.user_code, request.account.as_deref()) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        response::detail(StatusCode::NOT_FOUND, "The code is not pending or the account is unknown")
    }
}

async fn api_key(State(shared): State<Arc<Shared>>, Json(request): Json<KeyRequest>) -> Response {
    let mut ledger = shared.ledger();
    if ledger.account(&request.account).is_none() {
        return unknown_account();
    }
    let key = ledger.issue_api_key(&request.account, request.restricted);
    Json(json!({"api_key": key})).into_response()
}

async fn issue_token(State(shared): State<Arc<Shared>>, Json(request): Json<TokenRequest>) -> Response {
    let mut ledger = shared.ledger();
    if ledger.account(&request.account).is_none() {
        return unknown_account();
    }
    Json(json!({"token": ledger.issue_personal_access_token(&request.account)})).into_response()
}

async fn revoke_token(
    State(shared): State<Arc<Shared>>,
    Json(request): Json<RevocationRequest>,
) -> StatusCode {
    shared.ledger().revoke_personal_access_token(&request.token);
    StatusCode::NO_CONTENT
}

fn unknown_account() -> Response {
    response::detail(StatusCode::NOT_FOUND, "The account is unknown")
}

async fn usage(State(shared): State<Arc<Shared>>, Json(request): Json<UsageRequest>) -> Response {
    if shared.set_usage(&request.account, request.usage) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        unknown_account()
    }
}

fn once() -> usize {
    1
}
