//! The ChatGPT backend under `/backend-api`: the Codex endpoints with their refusals, and the account's own pages.
//! What a model answers is made in `responses`.

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
    Account, Shared,
    ledger::AccessRefused,
    params::{self, Params},
    reply::{self, Answer, Refusal},
    responses::{self, Turn},
    tokens,
};

/// What Codex sends; anything else is an unsupported parameter.
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
) -> Answer {
    let account = in_workspace(&shared, &headers)?;
    if params::content_type(&headers) != "application/json" {
        return Ok(reply::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content type"));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(reply::detail(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content encoding"));
    }
    let answer = match serde_json::from_str(&body) {
        Ok(Value::Object(body)) => match refused(&body, &shared.models) {
            Some(detail) => reply::detail(StatusCode::BAD_REQUEST, &detail),
            None => responses::stream(&Turn::new(body["model"].as_str(), &body["input"])),
        },
        _ => reply::detail(StatusCode::BAD_REQUEST, "Request body must be a JSON object"),
    };
    Ok(with_limits(answer, &account))
}

/// `GET /codex/models?client_version=X.Y.Z`
pub(crate) async fn codex_models(
    State(shared): State<Arc<Shared>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let account = in_workspace(&shared, &headers)?;
    let params = Params::from_form(&query.unwrap_or_default());
    if params.map_or(true, |params| params.get("client_version").is_empty()) {
        return Ok(reply::detail(StatusCode::BAD_REQUEST, "client_version is required"));
    }
    let model = |(priority, slug): (usize, &String)| {
        json!({
            "slug": slug, "display_name": slug, "visibility": "list", "supported_in_api": true, "priority": priority,
            "supported_reasoning_levels": [{"effort": "low", "description": "Fast"}, {"effort": "medium", "description": "Balanced"}],
            "shell_type": "unified_exec", "support_verbosity": true, "experimental_supported_tools": [],
            "truncation_policy": {"mode": "tokens", "limit": 10_000}, "base_instructions": "You are a coding agent.",
        })
    };
    let models: Vec<Value> = shared.models.iter().enumerate().map(model).collect();
    let tag = format!("\"sandbox-{}\"", models.len());
    Ok(with_limits(([(header::ETAG, tag)], Json(json!({"models": models}))).into_response(), &account))
}

/// `GET /me`
pub(crate) async fn me(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    for_account(
        &shared,
        &headers,
        |account| json!({"object": "user", "id": account.user_id, "email": account.email, "name": account.name, "picture": null, "created": 1_700_000_000, "mfa_flag_enabled": false}),
    )
}

/// `GET /accounts/check`, the form of the web application
pub(crate) async fn accounts_check(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    for_account(&shared, &headers, |account| {
        let entry = json!({
            "account": {
                "account_id": account.account_id, "name": account.workspace_name, "structure": account.structure(),
                "plan_type": account.plan, "account_user_role": "account-owner", "is_deactivated": false,
            },
            "features": [], "entitlement": {"subscription_plan": account.plan, "has_active_subscription": account.plan.is_some()},
        });
        json!({"accounts": {&account.account_id: entry}, "account_ordering": [account.account_id]})
    })
}

/// `GET /wham/accounts/check`, the form that Codex reads
pub(crate) async fn wham_accounts_check(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    for_account(&shared, &headers, |account| {
        let mut entry = json!({
            "id": account.account_id, "name": account.workspace_name, "structure": account.structure(), "plan_type": account.plan,
        });
        if let Some(routing) = &account.routing {
            entry["workspace_backend_origin"] = json!(routing.backend_origin);
            entry["account_routing_override"] = json!(routing.region);
        }
        json!({"accounts": [entry], "account_ordering": [account.account_id], "default_account_id": account.account_id})
    })
}

/// `GET /wham/usage`
pub(crate) async fn wham_usage(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    let now = tokens::unix(SystemTime::now());
    let window = |percent: u64, seconds: u64| json!({"used_percent": percent, "limit_window_seconds": seconds, "reset_after_seconds": seconds / 2, "reset_at": now + seconds / 2});
    for_account(&shared, &headers, |account| {
        json!({
            "plan_type": account.plan,
            "rate_limit": {"allowed": true, "limit_reached": false, "primary_window": window(12, 18_000), "secondary_window": window(34, 604_800)},
            "credits": {"has_credits": false, "unlimited": false, "balance": null}, "additional_rate_limits": [], "rate_limit_reached_type": null,
        })
    })
}

/// Which page of the conversations is asked for.
#[derive(Deserialize)]
pub(crate) struct Page {
    #[serde(default)]
    offset: usize,
    limit: Option<usize>,
}

/// `GET /conversations?offset=…&limit=…`: everybody has had the same three.
pub(crate) async fn conversations(
    State(shared): State<Arc<Shared>>,
    Query(page): Query<Page>,
    headers: HeaderMap,
) -> Answer {
    const TITLES: [&str; 3] = ["Sums for beginners", "A letter to the council", "Soup"];
    let limit = page.limit.unwrap_or(28).min(100);
    let item = |(index, title): (usize, &&str)| json!({"id": format!("00000000-0000-4000-8000-{index:012}"), "title": title, "create_time": "2026-11-01T10:00:00Z", "update_time": "2026-11-01T10:05:00Z"});
    let items: Vec<Value> = TITLES.iter().enumerate().skip(page.offset).take(limit).map(item).collect();
    for_account(
        &shared,
        &headers,
        |_| json!({"items": items, "total": TITLES.len(), "limit": limit, "offset": page.offset}),
    )
}

/// `POST /conversation`: the web application's own door, closed to everyone else.
pub(crate) async fn conversation(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    signed_in(&shared, &headers)?;
    Ok(reply::detail(StatusCode::FORBIDDEN, "Unusual activity has been detected from your device."))
}

/// The bearer token of a request.
pub(crate) fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.strip_prefix("Bearer ").unwrap_or("")
}

fn for_account(shared: &Shared, headers: &HeaderMap, body: impl FnOnce(&Account) -> Value) -> Answer {
    let account = signed_in(shared, headers)?;
    Ok(with_limits(Json(body(&account)).into_response(), &account))
}

/// The account of a request with a live access token; a workspace that is named must be the token's.
fn signed_in(shared: &Shared, headers: &HeaderMap) -> Result<Arc<Account>, Refusal> {
    let account = shared.ledger().access(bearer(headers), SystemTime::now()).map_err(|refused| {
        let (code, message) = match refused {
            AccessRefused::Expired => {
                ("token_expired", "Provided authentication token is expired. Please try signing in again.")
            }
            AccessRefused::Revoked => {
                ("token_revoked", "Encountered invalidated oauth token for user, failing request")
            }
            AccessRefused::Unknown => {
                ("token_invalid", "Could not parse your authentication token. Please try signing in again.")
            }
        };
        reply::detail_code(code, message)
    })?;
    match headers.get("chatgpt-account-id") {
        Some(id) if id != account.account_id.as_str() => {
            Err(reply::detail(StatusCode::FORBIDDEN, "chatgpt-account-id does not fit the token").into())
        }
        Some(_) | None => Ok(account),
    }
}

/// On the Codex endpoints the workspace must be named, unless the sandbox is told to be as lenient as the
/// provider was measured to be; and a FedRAMP workspace must say that it is one.
pub(crate) fn in_workspace(shared: &Shared, headers: &HeaderMap) -> Result<Arc<Account>, Refusal> {
    let account = signed_in(shared, headers)?;
    if shared.account_id_required && !headers.contains_key("chatgpt-account-id") {
        return Err(reply::detail(StatusCode::FORBIDDEN, "chatgpt-account-id is required").into());
    }
    let fedramp = headers.get("x-openai-fedramp").is_some_and(|value| value == "true");
    if fedramp != account.fedramp {
        let detail = "x-openai-fedramp does not fit the workspace";
        return Err(reply::detail(StatusCode::FORBIDDEN, detail).into());
    }
    Ok(account)
}

/// Why the backend refuses this body, in its own words.
pub(crate) fn refused(body: &Map<String, Value>, models: &[String]) -> Option<String> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
    if let Some(unknown) = body.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        return Some(format!("Unsupported parameter: {unknown}"));
    }
    // Codex 0.169.0 with a token command puts its instructions into a message of the developer's.
    let developer = body.get("input").is_some_and(|input| input[0]["role"] == "developer");
    if text("instructions").is_empty() && !developer {
        return Some("Instructions are required".into());
    }
    let Some(input) = body.get("input").and_then(Value::as_array) else {
        return Some("Input must be a list".into());
    };
    if input.iter().any(|item| item["role"] == "system") {
        return Some("System messages are not allowed".into());
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

/// Puts the rate-limit headers on an answer, and an id to quote.
pub(crate) fn with_limits(mut response: Response, account: &Account) -> Response {
    let now = tokens::unix(SystemTime::now());
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    };
    put("x-request-id", tokens::secret("req_", 24));
    put("x-codex-plan-type", account.plan.clone().unwrap_or_default());
    put("x-codex-primary-used-percent", "12.0".into());
    put("x-codex-primary-window-minutes", "300".into());
    put("x-codex-primary-reset-at", (now + 9_000).to_string());
    put("x-codex-secondary-used-percent", "34.0".into());
    put("x-codex-secondary-window-minutes", "10080".into());
    put("x-codex-secondary-reset-at", (now + 302_400).to_string());
    response
}
