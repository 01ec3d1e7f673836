//! The sandbox's switches over HTTP, under `/_sandbox`: for people and for programs that are not this library.
//! Each does what the method of the same name does in [`crate::Sandbox`].

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

use crate::{Fault, Recorded, Route, Shared, reply};

/// A fault as it is ordered: `{"route": "refresh", "times": 2, "fault": "delay", "milliseconds": 100}`.
#[derive(Deserialize)]
struct Order {
    route: Route,
    #[serde(default = "once")]
    times: usize,
    #[serde(flatten)]
    fault: Fault,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// The account that signs in without being asked; none brings the page back.
    account: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceChoice {
    user_code: String,
    /// The account that approves; none denies.
    account: Option<String>,
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
        .layer(middleware::from_fn(no_web_page))
}

/// A page on the web could otherwise turn the switches of a sandbox that runs on its visitor's machine.
async fn no_web_page(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return reply::detail(StatusCode::FORBIDDEN, "Not for web pages");
    }
    next.run(request).await
}

async fn push_fault(State(shared): State<Arc<Shared>>, Json(order): Json<Order>) -> StatusCode {
    shared.faults.push_times(order.route, order.fault, order.times);
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

async fn next_account(State(shared): State<Arc<Shared>>, Json(choice): Json<Choice>) -> Json<Value> {
    shared.set_next_account(choice.account.clone());
    Json(json!({"account": choice.account}))
}

async fn device(State(shared): State<Arc<Shared>>, Json(choice): Json<DeviceChoice>) -> Response {
    if shared.decide_device(&choice.user_code, choice.account.as_deref()) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        reply::detail(StatusCode::NOT_FOUND, "No such code is pending, or no such account")
    }
}

fn once() -> usize {
    1
}
