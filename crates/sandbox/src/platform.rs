//! The API under `/v1`, which needs an API key and rejects a ChatGPT access token. It has the two
//! endpoints that clients of the daemon use.

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
    response::{self, ErrorResponse, HandlerResult},
    responses_api::{self, LastEvent, Turn},
    tokens,
};

/// The scope of the list of models.
const MODEL_READ: &str = "api.model.read";

/// `POST /v1/responses`, streamed or not; the input is a string or a list
pub(crate) async fn responses(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: String,
) -> HandlerResult {
    let account = authenticate_key(&shared, &headers, "api.responses.write")?;
    let invalid = |code: &str, message: &str| {
        ErrorResponse::from(response::error(StatusCode::BAD_REQUEST, code, message))
    };
    if params::content_type(&headers) != "application/json" {
        return Err(invalid("unsupported_content_type", "Unsupported content type."));
    }
    let Ok(Value::Object(body)) = serde_json::from_str(&body) else {
        return Err(invalid("invalid_json", "We could not parse the JSON body of your request."));
    };
    let turn = turn(&body, &shared.models).map_err(|(code, message)| invalid(code, &message))?;
    let response = match body.get("stream") {
        None | Some(Value::Bool(false)) => Json(turn.completed()).into_response(),
        Some(Value::Bool(true)) => responses_api::stream(&turn),
        Some(_) => return Err(invalid("invalid_type", "Invalid type for 'stream'.")),
    };
    Ok(with_request_id(response, &account))
}

/// `GET /v1/models`
pub(crate) async fn models(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> HandlerResult {
    let account = authenticate_key(&shared, &headers, MODEL_READ)?;
    let model =
        |id: &String| json!({"id": id, "object": "model", "created": 1_750_000_000, "owned_by": "openai"});
    let data: Vec<Value> = shared.models.iter().map(model).collect();
    Ok(with_request_id(Json(json!({"object": "list", "data": data})).into_response(), &account))
}

/// The turn for a body, or the code and the message of its error.
pub(crate) fn turn(body: &Map<String, Value>, models: &[String]) -> Result<Turn, (&'static str, String)> {
    let missing = |name| ("missing_required_parameter", format!("Missing required parameter: '{name}'."));
    let model = body.get("model").and_then(Value::as_str).ok_or_else(|| missing("model"))?;
    if !models.iter().any(|known| known == model) {
        let message = format!("The model '{model}' does not exist or you do not have access to it.");
        return Err(("model_not_found", message));
    }
    match body.get("input") {
        Some(Value::String(_) | Value::Array(_)) => Ok(Turn::new(body, LastEvent::WithOutput)),
        Some(_) => Err(("invalid_type", "Invalid type for 'input'.".to_owned())),
        None => Err(missing("input")),
    }
}

/// The account of a request with a valid API key. Headers for organisation and project must match
/// the account.
pub(crate) fn authenticate_key(
    shared: &Shared,
    headers: &HeaderMap,
    scope: &str,
) -> Result<Arc<Account>, ErrorResponse> {
    let unauthorized = |code: &str, message: &str| {
        ErrorResponse::from(response::error(StatusCode::UNAUTHORIZED, code, message))
    };
    let bearer = backend::bearer(headers);
    let ledger = shared.ledger();
    let missing = format!("You have insufficient permissions for this operation. Missing scopes: {scope}.");
    if ledger.is_access_token(bearer) {
        return Err(unauthorized("missing_scope", &missing));
    }
    let account = match ledger.api_key(bearer) {
        None => return Err(unauthorized("invalid_api_key", "Incorrect API key provided.")),
        Some((_, true)) if scope == MODEL_READ => return Err(unauthorized("missing_scope", &missing)),
        Some((account, _)) => account,
    };
    let mismatches = |name: &str, own: Option<&str>| {
        let sent = headers.get(name).map(HeaderValue::as_bytes);
        matches!((sent, own), (Some(sent), Some(own)) if sent != own.as_bytes())
    };
    if mismatches("openai-organization", account.organization_id.as_deref()) {
        return Err(unauthorized(
            "mismatched_organization",
            "OpenAI-Organization header should match organization for API key",
        ));
    }
    if mismatches("openai-project", account.project_id.as_deref()) {
        return Err(unauthorized(
            "mismatched_project",
            "OpenAI-Project header should match project for API key",
        ));
    }
    Ok(account)
}

pub(crate) fn with_request_id(mut response: Response, account: &Account) -> Response {
    let mut insert = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    };
    insert("x-request-id", &tokens::secret("req_", 24));
    insert("openai-version", "2020-10-01");
    if let Some(organization) = &account.organization_id {
        insert("openai-organization", organization);
    }
    response
}
