//! `GET /api/accounts/v1/user-auth-credential/whoami`: whose personal access token it is.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::{Shared, backend, response};

/// The endpoint. It accepts no other kind of token.
pub(crate) async fn whoami(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Response {
    let (token, ledger) = (backend::bearer(&headers), shared.ledger());
    let account = ledger.is_personal_access_token(token).then(|| ledger.access(token, SystemTime::now()));
    let Some(Ok(account)) = account else {
        return response::error(StatusCode::UNAUTHORIZED, "invalid_token", "The access token is not valid.");
    };
    Json(json!({
        "email": account.email,
        "chatgpt_user_id": account.user_id,
        "chatgpt_account_id": account.account_id,
        "chatgpt_plan_type": account.plan.as_deref().unwrap_or("unknown"),
        "chatgpt_account_is_fedramp": account.fedramp,
    }))
    .into_response()
}
