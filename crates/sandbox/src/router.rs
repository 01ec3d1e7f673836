//! The routes and their handlers. Only this file and [`crate::Route`] contain paths.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::from_fn_with_state,
    response::Response,
    routing::{get, post},
};
use http::StatusCode;

use crate::{
    Shared, authorize, backend, control, device, middleware, platform, response, token, websocket, whoami,
};

/// The router of the sandbox.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(auth())
        .nest("/backend-api", chatgpt())
        .nest(
            "/v1",
            Router::new()
                .route("/responses", post(platform::responses).get(websocket::api))
                .route("/models", get(platform::models)),
        )
        .merge(control::routes())
        .fallback(not_found)
        // The middleware has its own limit for the body.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(&shared), middleware::handle))
        .with_state(shared)
}

fn auth() -> Router<Arc<Shared>> {
    Router::new()
        .route("/oauth/authorize", get(authorize::authorize))
        .route("/oauth/token", post(token::token))
        .route("/oauth/revoke", post(token::revoke))
        .route("/api/accounts/deviceauth/usercode", post(device::user_code))
        .route("/api/accounts/deviceauth/token", post(device::poll))
        .route("/api/accounts/v1/user-auth-credential/whoami", get(whoami::whoami))
        .route("/codex/device", get(device::page).post(device::decide))
}

fn chatgpt() -> Router<Arc<Shared>> {
    Router::new()
        .route("/codex/responses", post(backend::codex_responses).get(websocket::codex))
        .route("/codex/models", get(backend::codex_models))
        .route("/me", get(backend::me))
        .route("/accounts/check", get(backend::accounts_check))
        .route("/wham/accounts/check", get(backend::wham_accounts_check))
        .route("/wham/usage", get(backend::wham_usage))
        .route("/conversations", get(backend::conversations))
        .route("/conversation", post(backend::conversation))
}

async fn not_found() -> Response {
    response::error(StatusCode::NOT_FOUND, "not_found", "The sandbox has no such endpoint.")
}
