//! The answers of the simulated model in the formats of the Responses API: a JSON object, or a
//! stream of server-sent events. The model adds, subtracts and multiplies two small integers.

use std::time::SystemTime;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::header;
use serde_json::{Value, json};

use crate::tokens;

/// What the last event of a stream says about the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastEvent {
    /// It repeats the output, as in the public API.
    WithOutput,
    /// Its output is empty, as in the ChatGPT backend (docs/protocol.md, section 11.4).
    WithoutOutput,
}

/// A question with its answer, and the ids that the events share.
pub(crate) struct Turn {
    id: String,
    item_id: String,
    model: String,
    created_at: u64,
    answer: String,
    input_tokens: usize,
    last_event: LastEvent,
}

impl Turn {
    /// Answers the last message of the user in an input, which is a string or a list of items.
    pub(crate) fn new(model: Option<&str>, input: &Value, last_event: LastEvent) -> Self {
        let question = last_user_text(input);
        Self {
            id: tokens::secret("resp_", 32),
            item_id: tokens::secret("msg_", 32),
            model: model.unwrap_or_default().to_owned(),
            created_at: tokens::unix(SystemTime::now()),
            input_tokens: question.split_whitespace().count().max(1),
            answer: answer(&question),
            last_event,
        }
    }

    /// The finished response object.
    pub(crate) fn completed(&self) -> Value {
        let output_tokens = self.answer.split_whitespace().count();
        let mut response =
            self.response("completed", &json!([self.item("completed", &json!([part(&self.answer)]))]));
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

    /// The events of a streamed answer, in order.
    pub(crate) fn events(&self) -> Vec<Value> {
        let location = json!({"item_id": self.item_id, "output_index": 0, "content_index": 0});
        let in_part = |kind: &str, name: &str, value: Value| {
            let mut event = location.clone();
            event["type"] = json!(kind);
            event[name] = value;
            event
        };
        let started = self.response("in_progress", &json!([]));
        let mut events = vec![
            json!({"type": "response.created", "response": started}),
            json!({"type": "response.in_progress", "response": started}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": self.item("in_progress", &json!([]))}),
            in_part("response.content_part.added", "part", part("")),
        ];
        events.extend(
            self.answer
                .split_inclusive(' ')
                .map(|word| in_part("response.output_text.delta", "delta", json!(word))),
        );
        let item = self.item("completed", &json!([part(&self.answer)]));
        let mut response = self.completed();
        if self.last_event == LastEvent::WithoutOutput {
            response["output"] = json!([]);
        }
        events.extend([
            in_part("response.output_text.done", "text", json!(self.answer)),
            in_part("response.content_part.done", "part", part(&self.answer)),
            json!({"type": "response.output_item.done", "output_index": 0, "item": item}),
            json!({"type": "response.completed", "response": response}),
        ]);
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = json!(number);
        }
        events
    }

    fn response(&self, status: &str, output: &Value) -> Value {
        json!({
            "id": self.id, "object": "response", "created_at": self.created_at, "status": status, "error": null,
            "incomplete_details": null, "model": self.model, "output": output, "usage": null,
        })
    }

    fn item(&self, status: &str, content: &Value) -> Value {
        json!({"id": self.item_id, "type": "message", "status": status, "role": "assistant", "content": content})
    }
}

/// The answer as server-sent events, each in its own chunk.
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

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn last_user_text(input: &Value) -> String {
    let content = match input {
        Value::Array(items) => {
            items.iter().rev().find(|item| item["role"] == "user").map(|item| &item["content"])
        }
        other => Some(other),
    };
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}

fn answer(question: &str) -> String {
    match sum(question) {
        Some((left, sign, right, result)) => format!("{left} {sign} {right} = {result}. Anything else?"),
        None => "I am a small stand-in: I can add, subtract and multiply two small numbers.".to_owned(),
    }
}

/// The first `a+b`, `a-b` or `a*b` in a text, with its result.
fn sum(text: &str) -> Option<(i64, char, i64, i64)> {
    for (at, sign) in text.char_indices().filter(|(_, c)| "+-−*×·x".contains(*c)) {
        let left = text[..at].trim_end();
        let digits = left.chars().rev().take_while(char::is_ascii_digit).count();
        let right = text[at + sign.len_utf8()..].trim_start();
        let end = right.find(|c: char| !c.is_ascii_digit()).unwrap_or(right.len());
        // Long numbers are skipped, so that no operation overflows.
        if digits > 9 || end > 9 {
            continue;
        }
        let (Ok(a), Ok(b)) = (left[left.len() - digits..].parse::<i64>(), right[..end].parse::<i64>()) else {
            continue;
        };
        return Some(match sign {
            '+' => (a, '+', b, a + b),
            '-' | '−' => (a, '-', b, a - b),
            _ => (a, '×', b, a * b),
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_calculates_with_two_small_integers() {
        for (question, result) in [
            ("What is 2+2?", Some(4)),
            ("17+25", Some(42)),
            ("12 - 20 please", Some(-8)),
            ("an extra x, then 6 × 7", Some(42)),
            ("999999999999999999+1", None),
            ("What is love?", None),
            ("+", None),
        ] {
            assert_eq!(sum(question).map(|(.., result)| result), result, "{question}");
        }
    }

    #[test]
    fn last_message_of_the_user_is_the_question() {
        let message = |role: &str, text: &str| json!({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]});
        let input = json!([message("user", "1+1"), message("assistant", "2"), message("user", "2+3")]);
        assert_eq!(last_user_text(&input), "2+3");
        assert_eq!(last_user_text(&json!("4+4")), "4+4");
    }
}
