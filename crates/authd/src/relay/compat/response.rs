//! Adapts the response. The ChatGPT backend always sends a stream of events. The response object in
//! its last event has no output: the items are in events of their own.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Longest line that is adapted, in bytes. A longer one passes unchanged.
const MAX_LINE: usize = 32 << 20;

/// Why a stream has no response object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CollectError {
    /// The stream ended before the response did.
    #[error("the upstream's stream ended before the response was complete")]
    Incomplete,
}

/// The response object in the text of a whole stream, for a client without streaming.
pub(crate) fn collect(stream: &[u8]) -> Result<Value, CollectError> {
    let mut output = Output::default();
    let last = stream.split(|byte| *byte == b'\n').find_map(|line| output.complete(line));
    let response = last.and_then(|mut event| event.get_mut("response").map(Value::take));
    response.filter(Value::is_object).ok_or(CollectError::Incomplete)
}

/// Completes the last event of a stream that passes through.
#[derive(Default)]
pub(crate) struct StreamAdapter {
    output: Output,
    /// The start of a line whose end has not arrived.
    line: Vec<u8>,
}

impl StreamAdapter {
    /// The text for the client, for the next text of the upstream. A line is passed on when its end
    /// has arrived: clients discard an event without its end.
    pub(crate) fn adapt(&mut self, text: &[u8]) -> Bytes {
        let mut adapted = Vec::with_capacity(self.line.len() + text.len());
        for part in text.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if self.line.ends_with(b"\n") || self.line.len() > MAX_LINE {
                match self.output.complete(&self.line) {
                    Some(event) => adapted.extend_from_slice(format!("data: {event}\n").as_bytes()),
                    None => adapted.extend_from_slice(&self.line),
                }
                self.line.clear();
            }
        }
        adapted.into()
    }
}

/// The finished items of a stream.
#[derive(Default)]
struct Output(Vec<Value>);

impl Output {
    /// Reads a line of the stream. If it is the last event, returns it with its output. The
    /// Responses API writes the data of each event on one line.
    fn complete(&mut self, line: &[u8]) -> Option<Value> {
        /// The kind of an event.
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
        }
        let data = line.strip_prefix(b"data:")?;
        let Kind { r#type } = serde_json::from_slice(data).ok()?;
        match &*r#type {
            "response.output_item.done" => {
                let mut event: Value = serde_json::from_slice(data).ok()?;
                self.0.extend(event.get_mut("item").map(Value::take));
                None
            }
            "response.completed" | "response.incomplete" | "response.failed" => {
                let mut event: Value = serde_json::from_slice(data).ok()?;
                if let Some(Value::Object(response)) = event.get_mut("response")
                    && response.get("output").and_then(Value::as_array).is_none_or(Vec::is_empty)
                {
                    response.insert("output".into(), Value::Array(std::mem::take(&mut self.0)));
                }
                Some(event)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stream(events: &[Value]) -> Vec<u8> {
        let event = |event: &Value| format!("event: x\r\ndata: {event}\r\n\r\n");
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
    fn only_the_last_event_of_a_stream_is_completed_wherever_the_text_is_cut() {
        let item = json!({"id": "i"});
        let start = stream(&[
            json!({"type": "response.created", "response": {"output": []}}),
            json!({"type": "response.output_item.done", "item": item}),
        ]);
        let last =
            |output: Value| stream(&[json!({"type": "response.completed", "response": {"output": output}})]);
        let sent = [&b": comment\n"[..], &start, &last(json!([]))].concat();
        // The line of an adapted event ends without the carriage return.
        let end = String::from_utf8(last(json!([item]))).unwrap().replace("}\r\n", "}\n");
        let expected = [&b": comment\n"[..], &start, end.as_bytes()].concat();
        for size in [1, 2, 7, sent.len()] {
            let mut adapter = StreamAdapter::default();
            let received: Vec<u8> = sent.chunks(size).flat_map(|text| adapter.adapt(text)).collect();
            assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(&expected), "{size}");
        }
    }

    #[test]
    fn event_without_a_line_end_is_held_back() {
        let mut adapter = StreamAdapter::default();
        assert_eq!(adapter.adapt(b"data: {\"type\":\"a\"}\n\ndata: {"), "data: {\"type\":\"a\"}\n\n");
        assert_eq!(adapter.adapt(b"}\n"), "data: {}\n");
    }

    #[test]
    fn stream_without_an_end_is_an_error() {
        let done = json!({"type": "response.output_item.done", "item": {}});
        let no_response = json!({"type": "response.completed"});
        let no_object = json!(["response.completed"]);
        for events in [&[][..], &[done], &[no_response], &[no_object]] {
            assert_eq!(collect(&stream(events)), Err(CollectError::Incomplete));
        }
        assert_eq!(collect(b"data: {\"type\":\"response.comple"), Err(CollectError::Incomplete));
    }
}
