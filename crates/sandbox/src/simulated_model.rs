//! The simulated model. It adds, subtracts and multiplies two small integers, or has a function of
//! the client do it.

use serde_json::{Map, Value, json};

use crate::tokens;

/// The name of the function that the model calls instead of calculating itself.
const FUNCTION: &str = "calculate";

/// An item of the output.
pub(crate) enum Item {
    /// A message.
    Message {
        /// The id of the item.
        id: String,
        /// The whole text.
        text: String,
    },
    /// The reasoning before a call.
    Reasoning {
        /// The id of the item.
        id: String,
        /// The reasoning itself, if the client has asked for it.
        encrypted_content: Option<String>,
    },
    /// A call of the function, with an expression like `2 + 2`.
    FunctionCall {
        /// The id of the item.
        id: String,
        /// The id that the result of the call names.
        call_id: String,
        /// The arguments, a JSON text.
        arguments: String,
    },
}

/// The output for a request: a call of the client's function, if it has one, else the answer to the
/// last message of the user.
pub(crate) fn respond(body: &Map<String, Value>) -> Vec<Item> {
    let input = &body["input"];
    if let Some(result) = function_result(input) {
        return vec![Item::message(format!("{result}. Anything else?"))];
    }
    let question = last_user_text(input);
    let has_function = list(body, "tools").any(|tool| tool["type"] == "function" && tool["name"] == FUNCTION);
    match sum(&question) {
        Some((left, sign, right, _)) if has_function => {
            let asked = list(body, "include").any(|name| name == "reasoning.encrypted_content");
            vec![
                Item::Reasoning {
                    id: tokens::secret("rs_", 32),
                    encrypted_content: asked.then(|| tokens::secret("gAAAAA", 64)),
                },
                Item::FunctionCall {
                    id: tokens::secret("fc_", 32),
                    call_id: tokens::secret("call_", 24),
                    arguments: json!({"expression": format!("{left} {sign} {right}")}).to_string(),
                },
            ]
        }
        _ => vec![Item::message(answer(&question))],
    }
}

impl Item {
    fn message(text: String) -> Self {
        Self::Message { id: tokens::secret("msg_", 32), text }
    }

    /// The text that the model has written.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Message { text, .. } => text,
            Self::Reasoning { .. } => "",
            Self::FunctionCall { arguments, .. } => arguments,
        }
    }

    /// The item as it starts, or as it is in the end.
    pub(crate) fn to_json(&self, finished: bool) -> Value {
        let status = if finished { "completed" } else { "in_progress" };
        match self {
            Self::Message { id, text } => {
                let content = if finished { json!([part(text)]) } else { json!([]) };
                json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
            }
            Self::Reasoning { id, encrypted_content } => {
                let mut item = json!({"id": id, "type": "reasoning", "summary": []});
                if let Some(content) = encrypted_content {
                    item["encrypted_content"] = json!(content);
                }
                item
            }
            Self::FunctionCall { id, call_id, arguments } => {
                let arguments = if finished { arguments } else { "" };
                json!({
                    "id": id, "type": "function_call", "status": status, "name": FUNCTION, "call_id": call_id,
                    "arguments": arguments,
                })
            }
        }
    }

    /// The events between the start and the end of the item.
    pub(crate) fn events(&self, output_index: usize) -> Vec<Value> {
        match self {
            Self::Message { id, text } => {
                let event = |kind: &str, name: &str, value: Value| json!({"type": kind, "item_id": id, "output_index": output_index, "content_index": 0, name: value});
                let mut events = vec![event("response.content_part.added", "part", part(""))];
                events.extend(
                    text.split_inclusive(' ')
                        .map(|word| event("response.output_text.delta", "delta", json!(word))),
                );
                events.extend([
                    event("response.output_text.done", "text", json!(text)),
                    event("response.content_part.done", "part", part(text)),
                ]);
                events
            }
            Self::Reasoning { .. } => Vec::new(),
            Self::FunctionCall { id, arguments, .. } => [("delta", "delta"), ("done", "arguments")]
                .map(|(kind, name)| {
                    let kind = format!("response.function_call_arguments.{kind}");
                    json!({"type": kind, "item_id": id, "output_index": output_index, name: arguments})
                })
                .into(),
        }
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn list<'a>(body: &'a Map<String, Value>, name: &str) -> impl Iterator<Item = &'a Value> {
    body.get(name).and_then(Value::as_array).into_iter().flatten()
}

/// The result of the model's call, if it is the end of an input.
fn function_result(input: &Value) -> Option<&str> {
    let last = input.as_array()?.last()?;
    last["output"].as_str().filter(|_| last["type"] == "function_call_output")
}

/// The last message of the user in an input, which is a string or a list of items.
pub(crate) fn last_user_text(input: &Value) -> String {
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
