//! Adapts the body of a request. docs/shares.md has the same table for users.

use serde_json::{Map, Value, json};

/// The instructions of a request without any: the backend requires them.
const INSTRUCTIONS: &str = "You are a helpful assistant.";

/// Parameters that the backend refuses and that only tune or label a response.
const DROPPED: [&str; 11] = [
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "prompt_cache_retention",
    "safety_identifier",
    "stream_options",
    "temperature",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

/// Parameters that the backend refuses and without which the response would be another one.
const REFUSED: [(&str, &str); 4] = [
    ("background", "the ChatGPT backend runs no request in the background"),
    ("conversation", "the ChatGPT backend stores no conversation; send it as input"),
    ("previous_response_id", "the ChatGPT backend stores no response; send the conversation as input"),
    ("prompt", "the ChatGPT backend has no prompt templates; send the text as instructions"),
];

/// An adapted request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CompatRequest {
    /// The body for the backend.
    pub(crate) body: Vec<u8>,
    /// The parameters that were dropped, sorted.
    pub(crate) dropped: Vec<&'static str>,
    /// Whether the client expects a stream. The backend always sends one.
    pub(crate) stream: bool,
}

/// Why a request cannot be adapted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompatError {
    /// The body is not a JSON object.
    #[error("the request body is not a JSON object")]
    NotAnObject,
    /// The backend cannot do what a parameter asks for.
    #[error("{name}: {reason}")]
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// Why the backend refuses it.
        reason: &'static str,
    },
}

/// Adapts the body of a request to `responses`.
pub(crate) fn adapt(body: &[u8]) -> Result<CompatRequest, CompatError> {
    let mut request: Map<String, Value> =
        serde_json::from_slice(body).map_err(|_| CompatError::NotAnObject)?;
    for (name, reason) in REFUSED {
        if request.remove(name).is_some_and(|value| !is_unset(&value)) {
            return Err(CompatError::Unsupported { name, reason });
        }
    }
    let dropped = DROPPED
        .into_iter()
        .filter(|name| request.remove(*name).is_some_and(|value| !value.is_null()))
        .collect();
    if let Some(Value::String(text)) = request.get("input") {
        let content = json!([{"type": "input_text", "text": text}]);
        request.insert("input".into(), json!([{"type": "message", "role": "user", "content": content}]));
    }
    for item in request.get_mut("input").and_then(Value::as_array_mut).into_iter().flatten() {
        if item["role"] == "system" {
            item["role"] = "developer".into();
        }
    }
    if request.get("instructions").is_none_or(is_blank) {
        request.insert("instructions".into(), INSTRUCTIONS.into());
    }
    request.insert("store".into(), false.into());
    let stream = request.insert("stream".into(), true.into()) == Some(Value::Bool(true));
    let body = serde_json::to_vec(&request).expect("a JSON value has a text");
    Ok(CompatRequest { body, dropped, stream })
}

/// Whether a value is the same as an absent one.
fn is_unset(value: &Value) -> bool {
    matches!(value, Value::Null | Value::Bool(false))
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(body: &Value) -> (Value, CompatRequest) {
        let request = adapt(body.to_string().as_bytes()).unwrap();
        (serde_json::from_slice(&request.body).unwrap(), request)
    }

    fn message(role: &str, text: &str) -> Value {
        json!({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]})
    }

    #[test]
    fn minimal_request_gets_what_the_backend_requires() {
        let (body, request) = adapted(&json!({"model": "m", "input": "What is 2+2?"}));
        let expected = json!({
            "model": "m", "input": [message("user", "What is 2+2?")], "instructions": INSTRUCTIONS,
            "store": false, "stream": true,
        });
        assert_eq!((body, request.dropped, request.stream), (expected, vec![], false));
    }

    #[test]
    fn request_that_the_backend_accepts_is_not_changed() {
        let complete = json!({
            "model": "m", "instructions": "Be brief.", "input": [message("user", "hello")], "store": false,
            "stream": true, "tools": [{"type": "function", "name": "f"}], "tool_choice": "auto",
            "parallel_tool_calls": true, "reasoning": {"effort": "low"}, "text": {"verbosity": "low"},
            "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "service_tier": "auto",
        });
        let (body, request) = adapted(&complete);
        assert_eq!((body, request.dropped, request.stream), (complete, vec![], true));
    }

    #[test]
    fn every_dropped_parameter_is_named() {
        let mut body = json!({"input": [], "instructions": "x", "store": true, "stream": false});
        for name in DROPPED {
            body[name] = json!(1);
        }
        let (body, request) = adapted(&body);
        assert_eq!(request.dropped, DROPPED);
        assert_eq!(body, json!({"input": [], "instructions": "x", "store": false, "stream": true}));
        // A parameter without a value has no effect, so that it is not named.
        assert!(adapted(&json!({"temperature": null})).1.dropped.is_empty());
    }

    #[test]
    fn system_message_becomes_a_developer_message() {
        let (body, _) =
            adapted(&json!({"input": [message("system", "a"), message("user", "b"), {"type": "x"}]}));
        assert_eq!(body["input"], json!([message("developer", "a"), message("user", "b"), {"type": "x"}]));
    }

    #[test]
    fn parameter_that_would_change_the_response_is_refused() {
        for (name, _) in REFUSED {
            let error = adapt(json!({ name: "x" }).to_string().as_bytes()).unwrap_err();
            assert!(matches!(error, CompatError::Unsupported { name: refused, .. } if refused == name));
            assert!(adapt(json!({ name: null }).to_string().as_bytes()).is_ok(), "{name}");
        }
        assert!(adapt(b"{\"background\":false}").is_ok());
    }

    #[test]
    fn other_bodies_are_refused() {
        for body in ["", "[]", "1", "null", "{", "{\"a\":1}x", "\u{feff}{}"] {
            assert_eq!(adapt(body.as_bytes()), Err(CompatError::NotAnObject), "{body}");
        }
    }
}
