//! The ChatGPT backend under `/backend-api`: the Codex endpoints with their errors, and the
//! endpoints of the account.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Json,
    extract::{Query, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    Account, Shared, client_version,
    ledger::AccessTokenError,
    params::{self, Params},
    response::{self, ErrorResponse, HandlerResult},
    responses_api::{self, LastEvent, Turn},
    tokens,
};

/// The parameters that Codex sends. All others are unsupported.
const KNOWN: [&str; 15] = [
    "model",
    "instructions",
    "input",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "store",
    "stream",
    "stream_options",
    "include",
    "service_tier",
    "prompt_cache_key",
    "text",
    "client_metadata",
];

/// `POST /codex/responses`
pub(crate) async fn codex_responses(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> HandlerResult {
    let account = authenticate_workspace(&shared, &headers)?;
    if params::content_type(&headers) != "application/json" {
        return Ok(response::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content type"));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(response::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content encoding"));
    }
    let response = match serde_json::from_str(&body) {
        Ok(Value::Object(body)) => match validate(&body, &shared.models) {
            Some(detail) => response::detail(StatusCode::BAD_REQUEST, &detail),
            None if !client_version::may_use(&shared, model(&body), version(&headers)) => {
                response::detail(StatusCode::BAD_REQUEST, &client_version::too_old(model(&body)))
            }
            None => {
                let refusal = account.usage.refusal(account.plan.as_deref());
                refusal.unwrap_or_else(|| responses_api::stream(&turn(&body)))
            }
        },
        _ => response::detail(StatusCode::BAD_REQUEST, "Request body must be a JSON object"),
    };
    Ok(with_rate_limits(response, &account))
}

/// `GET /codex/models?client_version=X.Y.Z`
pub(crate) async fn codex_models(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> HandlerResult {
    let account = authenticate_workspace(&shared, &headers)?;
    let params = Params::from_form(&query.unwrap_or_default());
    let version = params.as_ref().map_or("", |params| params.get("client_version"));
    if version.is_empty() {
        return Ok(response::detail(StatusCode::BAD_REQUEST, "client_version is required"));
    }
    let model = |(priority, slug): (usize, &String)| {
        json!({
            "slug": slug, "display_name": slug, "visibility": "list", "supported_in_api": true, "priority": priority,
            "supported_reasoning_levels": [{"effort": "low", "description": "Fast"}, {"effort": "medium", "description": "Balanced"}],
            "shell_type": "unified_exec", "support_verbosity": true, "experimental_supported_tools": [],
            "truncation_policy": {"mode": "tokens", "limit": 10_000}, "base_instructions": "You are a coding agent.",
        })
    };
    let offered = shared.models.iter().filter(|model| client_version::may_use(&shared, model, Some(version)));
    let models: Vec<Value> = offered.enumerate().map(model).collect();
    let tag = format!("\"sandbox-{}\"", models.len());
    Ok(with_rate_limits(([(header::ETAG, tag)], Json(json!({"models": models}))).into_response(), &account))
}

/// `GET /me`
pub(crate) async fn me(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> HandlerResult {
    account_response(
        &shared,
        &headers,
        |account| json!({"object": "user", "id": account.user_id, "email": account.email, "name": account.name, "picture": null, "created": 1_700_000_000, "mfa_flag_enabled": false}),
    )
}

/// `GET /accounts/check`, as the web application uses it
pub(crate) async fn accounts_check(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> HandlerResult {
    account_response(&shared, &headers, |account| {
        let entry = json!({
            "account": {
                "account_id": account.account_id, "name": account.workspace_name, "structure": account.structure(),
                "plan_type": account.plan, "account_user_role": "account-owner", "is_deactivated": account.deactivated,
            },
            "features": [], "entitlement": {"subscription_plan": account.plan, "has_active_subscription": account.plan.is_some()},
        });
        json!({"accounts": {&account.account_id: entry}, "account_ordering": [account.account_id]})
    })
}

/// `GET /wham/accounts/check`, as Codex uses it
pub(crate) async fn wham_accounts_check(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> HandlerResult {
    account_response(&shared, &headers, |account| {
        let mut entry = json!({
            "id": account.account_id, "name": account.workspace_name, "structure": account.structure(), "plan_type": account.plan,
            "is_deactivated": account.deactivated, "can_access_with_session": !account.deactivated,
        });
        if let Some(routing) = &account.routing {
            entry["workspace_backend_origin"] = json!(routing.backend_origin);
            entry["account_routing_override"] = json!(routing.region);
        }
        json!({"accounts": [entry], "account_ordering": [account.account_id], "default_account_id": account.account_id})
    })
}

/// `GET /wham/usage`
pub(crate) async fn wham_usage(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> HandlerResult {
    account_response(&shared, &headers, |account| account.usage.to_json(account.plan.as_deref()))
}

/// The requested page of conversations.
#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// `GET /conversations?offset=…&limit=…`: every account has the same three.
pub(crate) async fn conversations(
    State(shared): State<Arc<Shared>>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> HandlerResult {
    const TITLES: [&str; 3] = ["Sums for beginners", "A letter to the council", "Soup"];
    let limit = page.limit.unwrap_or(28).min(100);
    let item = |(index, title): (usize, &&str)| json!({"id": format!("00000000-0000-4000-8000-{index:012}"), "title": title, "create_time": "2026-11-01T10:00:00Z", "update_time": "2026-11-01T10:05:00Z"});
    let items: Vec<Value> = TITLES.iter().enumerate().skip(page.offset).take(limit).map(item).collect();
    account_response(
        &shared,
        &headers,
        |_| json!({"items": items, "total": TITLES.len(), "limit": limit, "offset": page.offset}),
    )
}

/// `POST /conversation`, which only the web application may use: always rejected.
pub(crate) async fn conversation(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> HandlerResult {
    authenticate(&shared, &headers)?;
    Ok(response::detail(StatusCode::FORBIDDEN, "Unusual activity has been detected from your device."))
}

fn model(body: &Map<String, Value>) -> &str {
    body.get("model").and_then(Value::as_str).unwrap_or_default()
}

/// The version that the client states. A Codex CLI with a configured provider sends no `version`;
/// its user agent is `codex_exec/0.171.0 (…)`.
fn version(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let product = text("user-agent").filter(|agent| agent.starts_with("codex"));
    text("version").or_else(|| product?.split([' ', '/']).nth(1))
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.strip_prefix("Bearer ").unwrap_or("")
}

fn account_response(
    shared: &Shared,
    headers: &HeaderMap,
    body: impl FnOnce(&Account) -> Value,
) -> HandlerResult {
    let account = authenticate(shared, headers)?;
    Ok(with_request_id(Json(body(&account)).into_response()))
}

/// The account of a request with a valid access token. A workspace in a header must be that of the
/// token.
fn authenticate(shared: &Shared, headers: &HeaderMap) -> Result<Arc<Account>, ErrorResponse> {
    let account = shared.ledger().access(bearer(headers), SystemTime::now()).map_err(|error| {
        let (code, message) = match error {
            AccessTokenError::Expired => {
                ("token_expired", "Provided authentication token is expired. Please try signing in again.")
            }
            AccessTokenError::Revoked => {
                ("token_revoked", "Encountered invalidated oauth token for user, failing request")
            }
            AccessTokenError::Unknown => {
                ("token_invalid", "Could not parse your authentication token. Please try signing in again.")
            }
        };
        response::detail_code(code, message)
    })?;
    match headers.get("chatgpt-account-id") {
        Some(id) if id != account.account_id.as_str() => {
            Err(response::detail(StatusCode::FORBIDDEN, "chatgpt-account-id does not fit the token").into())
        }
        Some(_) | None => Ok(account),
    }
}

/// The account of a request to a Codex endpoint. The workspace header is required if the settings
/// say so, and the FedRAMP header must match the workspace.
pub(crate) fn authenticate_workspace(
    shared: &Shared,
    headers: &HeaderMap,
) -> Result<Arc<Account>, ErrorResponse> {
    let account = authenticate(shared, headers)?;
    if shared.account_id_required && !headers.contains_key("chatgpt-account-id") {
        return Err(response::detail(StatusCode::FORBIDDEN, "chatgpt-account-id is required").into());
    }
    let fedramp = headers.get("x-openai-fedramp").is_some_and(|value| value == "true");
    if fedramp != account.fedramp {
        let detail = "x-openai-fedramp does not fit the workspace";
        return Err(response::detail(StatusCode::FORBIDDEN, detail).into());
    }
    if account.deactivated {
        let body = json!({"detail": {"code": "deactivated_workspace"}});
        return Err(response::json_with(StatusCode::PAYMENT_REQUIRED, &body).into());
    }
    Ok(account)
}

/// The turn for a valid body.
pub(crate) fn turn(body: &Map<String, Value>) -> Turn {
    Turn::new(body, LastEvent::WithoutOutput)
}

/// The error message of the backend for an invalid body; `None` if the body is valid.
pub(crate) fn validate(body: &Map<String, Value>, models: &[String]) -> Option<String> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
    if let Some(unknown) = body.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Some(format!("Unsupported parameter: {unknown}"));
    }
    // Codex sends the instructions of a custom provider in a message with the role `developer`.
    let messages = body.get("input").and_then(Value::as_array);
    if text("instructions").is_empty() && !messages.into_iter().flatten().any(is_developer_message) {
        return Some("Instructions are required".into());
    }
    let Some(input) = body.get("input").and_then(Value::as_array) else {
        return Some("Input must be a list".into());
    };
    if input.iter().any(|item| item["role"] == "system") {
        return Some("System messages are not allowed".into());
    }
    if let Some(id) = input.iter().find_map(stored_id) {
        return Some(format!(
            "Item with id '{id}' not found. Items are not persisted when `store` is set to false. Try again \
             with `store` set to true, or remove this item from your input."
        ));
    }
    if body.get("store") != Some(&Value::Bool(false)) {
        return Some("Store must be set to false".into());
    }
    if body.get("stream") != Some(&Value::Bool(true)) {
        return Some("Stream must be set to true".into());
    }
    let model = text("model");
    if !models.iter().any(|known| known == model) {
        return Some(format!(
            "The '{model}' model is not supported when using Codex with a ChatGPT account."
        ));
    }
    None
}

/// The id of an input item that has no content of its own, so that the backend would look for it in
/// its store.
fn stored_id(item: &Value) -> Option<&str> {
    let is_stored = match item["type"].as_str() {
        Some("item_reference") => true,
        Some("reasoning") => !item["encrypted_content"].is_string(),
        Some(_) | None => false,
    };
    item["id"].as_str().filter(|_| is_stored)
}

/// Whether an input item is a message of the developer with some text.
fn is_developer_message(item: &Value) -> bool {
    let has_text = match &item["content"] {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => {
            parts.iter().any(|part| part["text"].as_str().is_some_and(|text| !text.is_empty()))
        }
        _ => false,
    };
    item["type"] == "message" && item["role"] == "developer" && has_text
}

/// Adds the headers about the usage limits, and a request id.
pub(crate) fn with_rate_limits(response: Response, account: &Account) -> Response {
    let mut response = with_request_id(response);
    let headers = response.headers_mut();
    headers.extend(account.usage.headers());
    if let Some(plan) = account.plan.as_deref().and_then(|plan| HeaderValue::from_str(plan).ok()) {
        headers.insert("x-codex-plan-type", plan);
    }
    response
}

/// Adds a request id.
pub(crate) fn with_request_id(mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::try_from(tokens::secret("req_", 24)) {
        response.headers_mut().insert("x-request-id", id);
    }
    response
}
