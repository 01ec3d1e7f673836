//! Adapts the body of a request. docs/shares.md has the same table for users.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};

/// The instructions of a request without any: the backend requires them.
const INSTRUCTIONS: &str = "You are a helpful assistant.";

/// The value of `include` for reasoning that the client can send again. The backend stores none.
const ENCRYPTED_REASONING: &str = "reasoning.encrypted_content";

/// Parameters that the backend refuses and that only tune or label a response.
const DROPPED: [&str; 13] = [
    "context_management",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "prompt_cache_options",
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

/// A reference to an item of an earlier response.
const ITEM_REFERENCE: CompatError = CompatError::Unsupported {
    name: "item_reference",
    reason: "the ChatGPT backend stores no response; send the item itself",
};

/// The members of a JSON object. Their values stay the same to the byte: the order of the names in
/// a schema sets the order in a structured response.
type Members = BTreeMap<String, Box<RawValue>>;

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
    /// The backend cannot do what a parameter requests.
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
    let mut request: Members = serde_json::from_slice(body).map_err(|_| CompatError::NotAnObject)?;
    for (name, reason) in REFUSED {
        if request.remove(name).is_some_and(|value| !is_unset(&value)) {
            return Err(CompatError::Unsupported { name, reason });
        }
    }
    let dropped = DROPPED
        .into_iter()
        .filter(|name| request.remove(*name).is_some_and(|value| value.get() != "null"))
        .collect();
    if let Some(input) = request.get_mut("input") {
        adapt_input(input)?;
    }
    if request.get("instructions").is_none_or(|value| is_blank(value)) {
        set(&mut request, "instructions", INSTRUCTIONS);
    }
    let include = request.get("include").filter(|include| include.get() != "null");
    let include = include.map_or(Some(Vec::new()), |include| parse::<Vec<String>>(include));
    if let Some(mut include) = include
        && !include.iter().any(|name| name == ENCRYPTED_REASONING)
    {
        include.push(ENCRYPTED_REASONING.to_owned());
        set(&mut request, "include", include);
    }
    let stream = request.get("stream").is_some_and(|stream| stream.get() == "true");
    set(&mut request, "store", false);
    set(&mut request, "stream", true);
    let body = serde_json::to_vec(&request).expect("a JSON value has a text");
    Ok(CompatRequest { body, dropped, stream })
}

/// Adapts the input. What is neither a text nor a list is the backend's to refuse.
fn adapt_input(input: &mut Box<RawValue>) -> Result<(), CompatError> {
    if let Some(text) = parse::<String>(input) {
        let content = json!([{"type": "input_text", "text": text}]);
        *input = to_json(&json!([{"type": "message", "role": "user", "content": content}]));
    } else if let Some(mut items) = parse::<Vec<Box<RawValue>>>(input) {
        for item in &mut items {
            adapt_item(item)?;
        }
        *input = to_json(&items);
    }
    Ok(())
}

/// Adapts an item of the input.
fn adapt_item(item: &mut Box<RawValue>) -> Result<(), CompatError> {
    let Some(mut members) = parse::<Members>(item) else { return Ok(()) };
    let text = |name: &str| members.get(name).and_then(|value| parse::<String>(value));
    match (text("type").as_deref(), text("role").as_deref()) {
        (Some("item_reference"), _) => return Err(ITEM_REFERENCE),
        (None, None) if members.contains_key("id") => return Err(ITEM_REFERENCE),
        (_, Some("system")) => set(&mut members, "role", "developer"),
        // The backend would look for the id in its store, which has nothing.
        (Some("reasoning"), _) if text("encrypted_content").is_none() => drop(members.remove("id")),
        _ => return Ok(()),
    }
    *item = to_json(&members);
    Ok(())
}

/// The value, if it has this type.
fn parse<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

fn to_json(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("a JSON value has a text")
}

fn set(members: &mut Members, name: &str, value: impl Serialize) {
    members.insert(name.to_owned(), to_json(&value));
}

/// Whether a value is the same as an absent one.
fn is_unset(value: &RawValue) -> bool {
    matches!(value.get(), "null" | "false")
}

fn is_blank(value: &RawValue) -> bool {
    value.get() == "null" || parse::<String>(value).is_some_and(|text| text.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*, sample::select};
    use serde_json::Value;

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
            "include": [ENCRYPTED_REASONING], "store": false, "stream": true,
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
        let include = json!([ENCRYPTED_REASONING]);
        let mut body =
            json!({"input": [], "instructions": "x", "include": include, "store": true, "stream": false});
        for name in DROPPED {
            body[name] = json!(1);
        }
        let (body, request) = adapted(&body);
        assert_eq!(request.dropped, DROPPED);
        let expected =
            json!({"input": [], "instructions": "x", "include": include, "store": false, "stream": true});
        assert_eq!(body, expected);
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
    fn values_that_are_not_adapted_stay_the_same_to_the_byte() {
        let schema = r#"{"format":{"type":"json_schema","schema":{"properties":{"z": 1.50, "a":1e2}}}}"#;
        let item = r#"{"type":"function_call","id":"fc_1","arguments":"{}" ,"call_id":"c"}"#;
        let body = format!(r#"{{"text": {schema} , "input":[ {item} ]}}"#);
        let adapted = String::from_utf8(adapt(body.as_bytes()).unwrap().body).unwrap();
        assert!(adapted.contains(&format!("\"text\":{schema}")), "{adapted}");
        assert!(adapted.contains(&format!("\"input\":[{item}]")), "{adapted}");
    }

    #[test]
    fn reasoning_is_included_so_that_the_client_can_send_it_again() {
        for (include, expected) in [
            (json!(null), json!([ENCRYPTED_REASONING])),
            (json!([]), json!([ENCRYPTED_REASONING])),
            (json!(["a"]), json!(["a", ENCRYPTED_REASONING])),
            (json!([ENCRYPTED_REASONING, "a"]), json!([ENCRYPTED_REASONING, "a"])),
        ] {
            assert_eq!(adapted(&json!({ "include": include })).0["include"], expected);
        }
    }

    #[test]
    fn item_is_never_looked_up_in_the_store_of_the_backend() {
        let complete = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "x", "summary": []});
        let without = |encrypted: Value| json!({"type": "reasoning", "id": "rs_1", "encrypted_content": encrypted, "summary": []});
        let (body, _) = adapted(&json!({"input": [complete, without(json!(null))]}));
        let stripped = json!({"type": "reasoning", "encrypted_content": null, "summary": []});
        assert_eq!(body["input"], json!([complete, stripped]));
        for reference in [json!({"type": "item_reference", "id": "msg_1"}), json!({"id": "msg_1"})] {
            let body = json!({"input": [message("user", "a"), reference]});
            assert_eq!(adapt(body.to_string().as_bytes()), Err(ITEM_REFERENCE));
        }
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

    /// A value that means something somewhere in a request, or nothing anywhere.
    fn value() -> impl Strategy<Value = Value> {
        const NAMES: [&str; 6] = ["type", "role", "id", "content", "encrypted_content", "summary"];
        let text = || select(vec!["", " ", "system", "user", "reasoning", "item_reference", "x"]);
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        scalar.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::Array),
                vec((select(&NAMES[..]), inner), 0..4).prop_map(|members| members
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect()),
            ]
        })
    }

    fn request() -> impl Strategy<Value = Value> {
        let own = ["model", "input", "instructions", "include", "store", "stream", "tools", "text"];
        let names: Vec<&str> = own.into_iter().chain(DROPPED).chain(REFUSED.map(|(name, _)| name)).collect();
        let members = names.into_iter().map(|name| {
            option::weighted(0.3, value()).prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        });
        members.collect::<Vec<_>>().prop_map(|members| members.into_iter().flatten().collect())
    }

    proptest! {
        #[test]
        fn backend_never_gets_what_it_refuses(request in request()) {
            let Ok(adapted) = adapt(request.to_string().as_bytes()) else { return Ok(()) };
            let body: Value = serde_json::from_slice(&adapted.body).unwrap();
            prop_assert_eq!((&body["store"], &body["stream"]), (&json!(false), &json!(true)));
            prop_assert!(!body["instructions"].as_str().is_some_and(|text| text.trim().is_empty()));
            prop_assert!(!body["instructions"].is_null() && !body["input"].is_string());
            for name in DROPPED.into_iter().chain(REFUSED.map(|(name, _)| name)) {
                prop_assert_eq!(body.get(name), None);
            }
            for item in body["input"].as_array().into_iter().flatten() {
                prop_assert!(item["role"] != "system" && item["type"] != "item_reference", "{}", item);
            }
            // What was adapted is complete: adapting it again changes nothing.
            let again = adapt(&adapted.body).unwrap();
            prop_assert_eq!((&again.body, again.dropped.len(), again.stream), (&adapted.body, 0, true));
        }
    }
}
