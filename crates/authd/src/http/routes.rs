//! The routes. Handlers read a snapshot or send a command and wait; none touches the store.

mod audit;
mod codex;
mod credentials;
mod logins;
#[cfg(test)]
mod openapi;
mod own_credentials;
mod profiles;
mod providers;
mod relay;
mod shares;
mod status;
mod store;

use std::sync::Arc;

use authd_api::{ErrorCode, Problem, route};
use axum::{
    Router, middleware,
    routing::{any, delete, get, post, put},
};

use super::{access, event_stream, respond::ApiError, state::AppState};

pub(super) use self::{
    credentials::{HeadersQuery, headers_response},
    relay::relay_to,
    status::metrics,
};

/// The relay of the base URL, as a client of a base URL with a slash at its end names it.
const RELAY_BASE_SLASH: &str = "/v1/profiles/{profile}/relay/";

/// The router of the socket.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    Router::new()
        .route(route::STATUS, get(status::status))
        .route(route::DIAGNOSIS, get(status::diagnosis))
        .route(route::METRICS, get(status::metrics))
        .route(route::OPENAPI, get(status::openapi))
        .route(route::AUDIT, get(audit::read))
        .route(route::EVENTS, get(event_stream::events))
        .route(route::LOGINS, get(logins::list).post(logins::start))
        .route(route::LOGIN, get(logins::get).delete(logins::cancel))
        .route(route::LOGIN_CALLBACK, post(logins::callback))
        .route(route::PROFILES, get(profiles::list))
        .route(route::PROFILE, get(profiles::get).patch(profiles::patch).delete(profiles::delete))
        .route(route::API_KEY, put(own_credentials::put_api_key))
        .route(route::TOKEN, put(own_credentials::put_token))
        .route(route::HEADERS, get(credentials::headers))
        .route(route::REFRESH, post(credentials::refresh))
        .route(route::QUOTA, get(profiles::quota))
        .route(route::SHARES, get(shares::list).post(shares::create))
        .route(route::SHARE, delete(shares::end))
        .route(route::SHARE_HOLD, get(shares::hold))
        .route(route::PROVIDERS, get(providers::list))
        .route(route::PROVIDER, put(providers::put).delete(providers::delete))
        .route(route::PROVIDERS_CHECK, post(providers::check))
        .route(route::STORE_MIGRATE, post(store::migrate))
        .route(route::STORE_REKEY, post(store::rekey))
        .route(route::IMPORT, post(codex::import))
        .route(route::EXPORT, post(codex::export))
        .route(route::CODEX, put(codex::install).delete(codex::uninstall))
        .route(route::CODEX_HOMES, get(codex::list))
        .route(route::RELAY_BASE, any(relay::to_base).connect(relay::refuse).trace(relay::refuse))
        .route(RELAY_BASE_SLASH, any(relay::to_base).connect(relay::refuse).trace(relay::refuse))
        .route(route::RELAY, any(relay::to_model).connect(relay::refuse).trace(relay::refuse))
        .route(route::RELAY_BACKEND, any(relay::to_backend).connect(relay::refuse).trace(relay::refuse))
        .fallback(|| async {
            let problem = Problem::new(ErrorCode::NotFound, "there is no such route");
            ApiError(problem.hint("the base URL of an SDK ends with /v1/profiles/-/relay"))
        })
        .method_not_allowed_fallback(|| async {
            ApiError(Problem::new(ErrorCode::MethodNotAllowed, "this route does not allow that method"))
        })
        .layer(middleware::from_fn_with_state(state.clone(), access::check))
        .with_state(state)
}
