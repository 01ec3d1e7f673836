//! The API under `/v1`, which wants an API key and refuses a ChatGPT access token.
//! Of the API's many endpoints it has the two that clients of the daemon use.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    Account, Shared, backend, params,
    reply::{self, Answer, Refusal},
    responses::{self, Turn},
    tokens,
};

/// `POST /v1/responses`, streamed or not, with a string or a list as input
pub(crate) async fn responses(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: String) -> Answer {
    let account = key_holder(&shared, &headers, "api.responses.write")?;
    let bad = |code: &str, message: &str| Refusal::from(reply::error(StatusCode::BAD_REQUEST, code, message));
    if params::content_type(&headers) != "application/json" {
        return Err(bad("unsupported_content_type", "Unsupported content type."));
    }
    let Ok(Value::Object(body)) = serde_json::from_str(&body) else {
        return Err(bad("invalid_json", "We could not parse the JSON body of your request."));
    };
    let turn = turn(&body, &shared.models).map_err(|(code, message)| bad(code, &message))?;
    let answer = match body.get("stream") {
        None | Some(Value::Bool(false)) => Json(turn.completed()).into_response(),
        Some(Value::Bool(true)) => responses::stream(&turn),
        Some(_) => return Err(bad("invalid_type", "Invalid type for 'stream'.")),
    };
    Ok(with_ids(answer, &account))
}

/// `GET /v1/models`
pub(crate) async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Answer {
    let account = key_holder(&shared, &headers, "api.model.read")?;
    let model =
        |id: &String| json!({"id": id, "object": "model", "created": 1_750_000_000, "owned_by": "openai"});
    let data: Vec<Value> = shared.models.iter().map(model).collect();
    Ok(with_ids(Json(json!({"object": "list", "data": data})).into_response(), &account))
}

/// The model's turn, or the code and the words that refuse this body.
pub(crate) fn turn(body: &Map<String, Value>, models: &[String]) -> Result<Turn, (&'static str, String)> {
    let missing = |name| ("missing_required_parameter", format!("Missing required parameter: '{name}'."));
    let model = body.get("model").and_then(Value::as_str).ok_or_else(|| missing("model"))?;
    if !models.iter().any(|known| known == model) {
        let message = format!("The model '{model}' does not exist or you do not have access to it.");
        return Err(("model_not_found", message));
    }
    match body.get("input") {
        Some(input @ (Value::String(_) | Value::Array(_))) => Ok(Turn::new(Some(model), input)),
        Some(_) => Err(("invalid_type", "Invalid type for 'input'.".to_owned())),
        None => Err(missing("input")),
    }
}

/// The account whose key this is, if organisation and project (where they are named) are its own.
pub(crate) fn key_holder(shared: &Shared, headers: &HeaderMap, scope: &str) -> Result<Arc<Account>, Refusal> {
    let refuse =
        |code: &str, message: &str| Refusal::from(reply::error(StatusCode::UNAUTHORIZED, code, message));
    let bearer = backend::bearer(headers);
    let ledger = shared.ledger();
    if ledger.knows_access_token(bearer) {
        let message =
            format!("You have insufficient permissions for this operation. Missing scopes: {scope}.");
        return Err(refuse("missing_scope", &message));
    }
    let Some(account) = ledger.api_key(bearer) else {
        return Err(refuse("invalid_api_key", "Incorrect API key provided."));
    };
    let foreign = |name: &str, own: Option<&str>| {
        let named = headers.get(name).map(HeaderValue::as_bytes);
        matches!((named, own), (Some(named), Some(own)) if named != own.as_bytes())
    };
    if foreign("openai-organization", account.organization_id.as_deref()) {
        return Err(refuse(
            "mismatched_organization",
            "OpenAI-Organization header should match organization for API key",
        ));
    }
    if foreign("openai-project", account.project_id.as_deref()) {
        return Err(refuse("mismatched_project", "OpenAI-Project header should match project for API key"));
    }
    Ok(account)
}

pub(crate) fn with_ids(mut response: Response, account: &Account) -> Response {
    let mut put = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    put("x-request-id", &tokens::secret("req_", 24));
    put("openai-version", "2020-10-01");
    if let Some(organization) = &account.organization_id {
        put("openai-organization", organization);
    }
    response
}
