//! The Responses API over a WebSocket: the refusals of the HTTP endpoints at the handshake, then a message for each
//! `response.create` and one for each event, as the Codex CLI (`codex-api/src/endpoint/responses_websocket.rs`) sends
//! and reads them. It remembers the last response's id and nothing else, and knows no `generate: false`.

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
    network::Door,
    platform,
    reply::{self, Answer},
    responses::Turn,
};

/// What the ChatGPT backend wants to hear in `OpenAI-Beta`.
const BETA: &str = "responses_websockets=2026-02-06";

/// Why a message was refused: status, code, and words.
type Refused = (StatusCode, &'static str, String);

/// How an endpoint reads a `response.create`, without its `type`.
type Read = fn(&Map<String, Value>, &[String]) -> Result<Turn, Refused>;

/// `GET /codex/responses`
pub(crate) async fn codex(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let account = backend::in_workspace(&shared, request.headers())?;
    if request.headers().get("openai-beta").is_none_or(|beta| beta != BETA) {
        let detail = format!("OpenAI-Beta must be {BETA}");
        return Ok(reply::detail(StatusCode::BAD_REQUEST, &detail));
    }
    Ok(switch(shared, request, &account, backend::with_limits, |body, models| {
        match backend::refused(body, models) {
            Some(detail) => Err((StatusCode::BAD_REQUEST, "invalid_request_error", detail)),
            None => Ok(Turn::new(body["model"].as_str(), &body["input"])),
        }
    }))
}

/// `GET /v1/responses`
pub(crate) async fn api(State(shared): State<Arc<Shared>>, request: Request) -> Answer {
    let account = platform::key_holder(&shared, request.headers(), "api.responses.write")?;
    Ok(switch(shared, request, &account, platform::with_ids, |body, models| {
        platform::turn(body, models).map_err(|(code, message)| (StatusCode::BAD_REQUEST, code, message))
    }))
}

/// The 101, with the conversation in a task of its own; or why there is none.
fn switch(
    shared: Arc<Shared>,
    mut request: Request,
    account: &Account,
    mark: fn(Response, &Account) -> Response,
    read: Read,
) -> Response {
    let door = request.extensions_mut().remove::<Door>();
    let (Some(upgrade), Some(mut door)) = (request.extensions_mut().remove::<OnUpgrade>(), door) else {
        let mut response = reply::detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        let allowed = HeaderValue::from_static(Method::POST.as_str());
        response.headers_mut().insert(header::ALLOW, allowed);
        return response;
    };
    let response = match server::create_response_with_body(&request, Body::empty) {
        Ok(response) => response,
        Err(error) => return reply::detail(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    tokio::spawn(async move {
        tokio::select! {
            () = converse(&shared, upgrade, read) => {}
            () = door.closed() => {}
        }
    });
    mark(response, account)
}

/// Answers every message until the client goes.
async fn converse(shared: &Shared, upgrade: OnUpgrade, read: Read) {
    let Ok(upgraded) = upgrade.await else { return };
    let stream = TokioIo::new(upgraded);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
    let mut last = None;
    while let Some(Ok(message)) = socket.next().await {
        let events = match message {
            Message::Text(text) => match create(&text, last.as_deref(), &shared.models, read) {
                Ok(turn) => {
                    last = Some(turn.id().to_owned());
                    turn.events()
                }
                Err(refused) => vec![error(&refused)],
            },
            Message::Binary(_) => {
                let refused = (StatusCode::BAD_REQUEST, "invalid_message", "Messages are text".to_owned());
                vec![error(&refused)]
            }
            // Pings and the closing handshake are answered below.
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

/// Reads `{"type": "response.create", …}`.
fn create(text: &str, last: Option<&str>, models: &[String], read: Read) -> Result<Turn, Refused> {
    let bad = |code, message: &str| Err((StatusCode::BAD_REQUEST, code, message.to_owned()));
    let Ok(Value::Object(mut body)) = serde_json::from_str(text) else {
        return bad("invalid_json", "A message must be a JSON object");
    };
    if body.remove("type") != Some(json!("response.create")) {
        return bad("invalid_type", "Only response.create is known here");
    }
    match body.remove("previous_response_id") {
        None | Some(Value::Null) => {}
        Some(Value::String(id)) if Some(id.as_str()) == last => {}
        Some(_) => {
            let message = "Previous response with this id was not found.";
            return bad("previous_response_not_found", message);
        }
    }
    read(&body, models)
}

/// A refusal as an event.
fn error((status, code, message): &Refused) -> Value {
    let error = json!({"type": "invalid_request_error", "code": code, "message": message, "param": null});
    json!({"type": "error", "status": status.as_u16(), "error": error})
}
