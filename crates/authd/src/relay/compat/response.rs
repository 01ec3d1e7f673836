//! Collects a stream of events into the response object that a client without streaming expects.

use serde_json::Value;

/// Why a stream has no response object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CollectError {
    /// The stream ended before the response did.
    #[error("the upstream's stream ended before the response was complete")]
    Incomplete,
}

/// The response object in the text of a whole stream. The last event holds it, but its `output` may
/// be empty; then the finished items are taken from their own events.
pub(crate) fn collect(stream: &[u8]) -> Result<Value, CollectError> {
    let mut items = Vec::new();
    for mut event in events(stream) {
        match event["type"].as_str() {
            Some("response.output_item.done") => items.push(event["item"].take()),
            Some("response.completed" | "response.incomplete" | "response.failed") => {
                let mut response = event["response"].take();
                if !response.is_object() {
                    return Err(CollectError::Incomplete);
                }
                if response["output"].as_array().is_none_or(Vec::is_empty) {
                    response["output"] = Value::Array(items);
                }
                return Ok(response);
            }
            Some(_) | None => {}
        }
    }
    Err(CollectError::Incomplete)
}

/// The events whose data is JSON. The Responses API writes each on one `data` line.
fn events(stream: &[u8]) -> impl Iterator<Item = Value> {
    let lines = stream.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
    lines.filter_map(|data| serde_json::from_slice(data.trim_ascii()).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(events: &[Value]) -> Vec<u8> {
        let event = |event: &Value| format!("event: {}\r\ndata: {event}\r\n\r\n", event["type"]);
        events.iter().map(event).collect::<String>().into_bytes()
    }

    #[test]
    fn response_is_that_of_the_last_event() {
        let response = json!({"id": "r", "status": "completed", "output": [{"id": "i"}]});
        for kind in ["response.completed", "response.incomplete", "response.failed"] {
            let events = [json!({"type": "response.created"}), json!({"type": kind, "response": response})];
            assert_eq!(collect(&stream(&events)), Ok(response.clone()));
        }
    }

    #[test]
    fn empty_output_is_filled_from_the_finished_items() {
        let done = |id: &str| json!({"type": "response.output_item.done", "item": {"id": id}});
        for output in [json!([]), json!(null)] {
            let last = json!({"type": "response.completed", "response": {"id": "r", "output": output}});
            let collected = collect(&stream(&[done("a"), done("b"), last])).unwrap();
            assert_eq!(collected["output"], json!([{"id": "a"}, {"id": "b"}]));
        }
    }

    #[test]
    fn stream_without_an_end_is_an_error() {
        let done = json!({"type": "response.output_item.done", "item": {}});
        let no_response = json!({"type": "response.completed"});
        for events in [&[][..], &[done], &[no_response]] {
            assert_eq!(collect(&stream(events)), Err(CollectError::Incomplete));
        }
        assert_eq!(collect(b"data: {\"type\":\"response.comple"), Err(CollectError::Incomplete));
    }
}
