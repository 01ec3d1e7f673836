//! The responses of the simulated model in the formats of the Responses API: a JSON object, or a
//! stream of server-sent events.

use std::time::SystemTime;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::{Map, Value, json};

use crate::{
    simulated_model::{self, Item},
    tokens,
};

/// What the last event of a stream says about the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastEvent {
    /// It repeats the output, as in the public API.
    WithOutput,
    /// Its output is empty, as in the ChatGPT backend (docs/protocol.md, section 11.4).
    WithoutOutput,
}

/// A response of the model.
pub(crate) struct Turn {
    id: String,
    model: String,
    created_at: u64,
    output: Vec<Item>,
    input_tokens: usize,
    last_event: LastEvent,
}

impl Turn {
    /// The response to a request.
    pub(crate) fn new(body: &Map<String, Value>, last_event: LastEvent) -> Self {
        let question = simulated_model::last_user_text(&body["input"]);
        Self {
            id: tokens::secret("resp_", 32),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            created_at: tokens::unix(SystemTime::now()),
            output: simulated_model::respond(body),
            input_tokens: question.split_whitespace().count().max(1),
            last_event,
        }
    }

    /// The finished response object.
    pub(crate) fn completed(&self) -> Value {
        let words = |item: &Item| item.text().split_whitespace().count();
        let output_tokens: usize = self.output.iter().map(words).sum();
        let output = self.output.iter().map(|item| item.to_json(true)).collect::<Vec<_>>();
        let mut response = self.response("completed", &output);
        response["usage"] = json!({
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + output_tokens,
        });
        response
    }

    /// The id of the response.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The events of a streamed response, in order.
    pub(crate) fn events(&self) -> Vec<Value> {
        let started = self.response("in_progress", &[]);
        let mut events = vec![
            json!({"type": "response.created", "response": started}),
            json!({"type": "response.in_progress", "response": started}),
        ];
        for (index, item) in self.output.iter().enumerate() {
            let event = |kind: &str, finished| json!({"type": kind, "output_index": index, "item": item.to_json(finished)});
            events.push(event("response.output_item.added", false));
            events.extend(item.events(index));
            events.push(event("response.output_item.done", true));
        }
        let mut response = self.completed();
        if self.last_event == LastEvent::WithoutOutput {
            response["output"] = json!([]);
        }
        events.push(json!({"type": "response.completed", "response": response}));
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = json!(number);
        }
        events
    }

    fn response(&self, status: &str, output: &[Value]) -> Value {
        json!({
            "id": self.id, "object": "response", "created_at": self.created_at, "status": status, "error": null,
            "incomplete_details": null, "model": self.model, "output": output, "usage": null,
        })
    }
}

/// The response as server-sent events, each in its own chunk.
pub(crate) fn stream(turn: &Turn) -> Response {
    let chunk = |event: Value| {
        let name = event["type"].as_str().unwrap_or_default();
        Ok::<_, std::io::Error>(Bytes::from(format!("event: {name}\ndata: {event}\n\n")))
    };
    let chunks: Vec<_> = turn.events().into_iter().map(chunk).collect();
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::HeaderName::from_static("openai-model"), turn.model.as_str()),
    ];
    (headers, Body::from_stream(stream::iter(chunks))).into_response()
}
