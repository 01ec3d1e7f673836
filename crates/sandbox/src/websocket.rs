//! The Responses API over a WebSocket, as the Codex CLI
//! (`codex-api/src/endpoint/responses_websocket.rs`) uses it. The handshake has the errors of the
//! HTTP endpoints. A client sends `response.create` messages and receives a message for each event.
//! `generate: false` is not supported.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, Method, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::server, protocol::Role},
};

use crate::{
    Account, Shared, backend,
    network::ClosedSignal,
    platform,
    response::{self, HandlerResult},
    responses_api::Turn,
};

/// The value of `OpenAI-Beta` that the ChatGPT backend requires.
const BETA: &str = "responses_websockets=2026-02-06";

/// An error: status, code and message.
type MessageError = (StatusCode, &'static str, String);

/// Parses a `response.create` of an endpoint, without its `type`.
type ParseTurn = fn(&Map<String, Value>, &[String]) -> Result<Turn, MessageError>;

/// `GET /codex/responses`
pub(crate) async fn codex(State(shared): State<Arc<Shared>>, request: Request) -> HandlerResult {
    let account = backend::authenticate_workspace(&shared, request.headers())?;
    if request.headers().get("openai-beta").is_none_or(|beta| beta != BETA) {
        let detail = format!("OpenAI-Beta must be {BETA}");
        return Ok(response::detail(StatusCode::BAD_REQUEST, &detail));
    }
    Ok(upgrade(shared, request, &account, backend::with_rate_limits, |body, models| match backend::validate(
        body, models,
    ) {
        Some(detail) => Err((StatusCode::BAD_REQUEST, "invalid_request_error", detail)),
        None => Ok(backend::turn(body)),
    }))
}

/// `GET /v1/responses`
pub(crate) async fn api(State(shared): State<Arc<Shared>>, request: Request) -> HandlerResult {
    let account = platform::authenticate_key(&shared, request.headers(), "api.responses.write")?;
    Ok(upgrade(shared, request, &account, platform::with_request_id, |body, models| {
        platform::turn(body, models).map_err(|(code, message)| (StatusCode::BAD_REQUEST, code, message))
    }))
}

/// The response 101, whose connection a task serves, or an error response.
fn upgrade(
    shared: Arc<Shared>,
    mut request: Request,
    account: &Account,
    add_headers: fn(Response, &Account) -> Response,
    parse: ParseTurn,
) -> Response {
    let closed = request.extensions_mut().remove::<ClosedSignal>();
    let (Some(on_upgrade), Some(mut closed)) = (request.extensions_mut().remove::<OnUpgrade>(), closed)
    else {
        let mut response = response::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        let allowed = HeaderValue::from_static(Method::POST.as_str());
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    };
    let response = match server::create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => return response::detail(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = serve(&shared, on_upgrade, parse) => {}
            () = closed.closed() => {}
        }
    });
    add_headers(response, account)
}

/// Responds to every message until the client disconnects.
async fn serve(shared: &Shared, upgrade: OnUpgrade, parse: ParseTurn) {
    let Ok(upgraded) = upgrade.await else { return };
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut last = None;
    while let Some(Ok(message)) = socket.next().await {
        let events = match message {
            Message::Text(text) => match parse_create(&text, last.as_deref(), &shared.models, parse) {
                Ok(turn) => {
                    last = Some(turn.id().to_owned());
                    turn.events()
                }
                Err(error) => vec![error_event(&error)],
            },
            Message::Binary(_) => {
                let error = (StatusCode::BAD_REQUEST, "invalid_message", "Messages are text".to_owned());
                vec![error_event(&error)]
            }
            // The library responds to pings and to the closing handshake.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
        };
        for event in events {
            if socket.feed(Message::text(event.to_string())).await.is_err() {
                return;
            }
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Parses `{"type": "response.create", …}`.
fn parse_create(
    text: &str,
    last: Option<&str>,
    models: &[String],
    parse: ParseTurn,
) -> Result<Turn, MessageError> {
    let invalid = |code, message: &str| Err((StatusCode::BAD_REQUEST, code, message.to_owned()));
    let Ok(Value::Object(mut body)) = serde_json::from_str(text) else {
        return invalid("invalid_json", "A message must be a JSON object");
    };
    if body.remove("type") != Some(json!("response.create")) {
        return invalid("invalid_type", "Only response.create is supported");
    }
    match body.remove("previous_response_id") {
        None | Some(Value::Null) => {}
        Some(Value::String(id)) if Some(id.as_str()) == last => {}
        Some(_) => {
            let message = "Previous response with this id was not found.";
            return invalid("previous_response_not_found", message);
        }
    }
    parse(&body, models)
}

/// The event of an error.
fn error_event((status, code, message): &MessageError) -> Value {
    let error = json!({"type": "invalid_request_error", "code": code, "message": message, "param": null});
    json!({"type": "error", "status": status.as_u16(), "error": error})
}
