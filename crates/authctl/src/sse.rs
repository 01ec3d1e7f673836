//! A parser of the server-sent events that the Responses API streams: takes bytes in chunks of any
//! size, and returns events.

use serde_json::Value;

/// The longest line and the longest event, in bytes. The last event repeats the whole answer, and
/// no model writes an answer of a megabyte.
const MAX_LENGTH: usize = 16 << 20;

/// An event, by the `type` in its JSON: not every server sends the `event` field.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The next part of the answer.
    Delta(String),
    /// A complete message.
    Message(String),
    /// The answer is complete. A stream that ends without this event was cut short.
    Completed {
        /// The id of the response.
        id: Option<String>,
        /// The model that answered.
        model: Option<String>,
        /// The number of tokens used.
        usage: Option<Value>,
    },
    /// The provider reports an error.
    Failed {
        /// The error code of the provider.
        code: Option<String>,
        /// The error message of the provider.
        message: Option<String>,
    },
    /// The model stopped before the end of the answer.
    Incomplete {
        /// The reason of the provider.
        reason: Option<String>,
    },
}

/// A line or an event is longer than 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Parses a stream into events.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    data: Vec<u8>,
    /// The last byte was the CR of a line end: an LF that follows belongs to it.
    after_cr: bool,
    /// The first line has ended: from now on a byte order mark is text.
    has_first_line: bool,
}

impl Reader {
    /// Returns the events that these bytes complete, without unknown ones and those that are not
    /// JSON.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let is_lf_of_crlf = std::mem::take(&mut self.after_cr) && byte == b'\n';
            match byte {
                _ if is_lf_of_crlf => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    events.extend(self.end_line()?);
                }
                _ if self.line.len() == MAX_LENGTH => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<Event>, TooLong> {
        let line = std::mem::take(&mut self.line);
        let is_first = !std::mem::replace(&mut self.has_first_line, true);
        let line = if is_first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if line.is_empty() {
            return Ok(parse(&std::mem::take(&mut self.data)));
        }
        // Ignores comments and the fields `event`, `id` and `retry`.
        if let Some(data) = line.strip_prefix(b"data:") {
            let data = data.strip_prefix(b" ").unwrap_or(data);
            if self.data.len() + data.len() >= MAX_LENGTH {
                return Err(TooLong);
            }
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data);
        }
        Ok(None)
    }
}

fn parse(data: &[u8]) -> Option<Event> {
    let payload: Value = serde_json::from_slice(data).ok()?;
    let value = |pointer: &str| payload.pointer(pointer).filter(|value| !value.is_null());
    let text = |pointer: &str| value(pointer).and_then(Value::as_str).map(str::to_owned);
    let failed = |parent: &str| Event::Failed {
        code: text(&format!("{parent}/code")),
        message: text(&format!("{parent}/message")),
    };
    Some(match payload.get("type")?.as_str()? {
        "response.output_text.delta" => Event::Delta(text("/delta")?),
        "response.output_item.done" => Event::Message(message(payload.get("item")?)?),
        "response.completed" => Event::Completed {
            id: text("/response/id"),
            model: text("/response/model"),
            usage: value("/response/usage").cloned(),
        },
        "response.failed" => failed("/response/error"),
        // The error is an object, or its fields are at the top level.
        "error" if value("/error").is_some() => failed("/error"),
        "error" => failed(""),
        "response.incomplete" => Event::Incomplete { reason: text("/response/incomplete_details/reason") },
        // The provider has dozens of other events.
        _ => return None,
    })
}

/// The text of a complete message; `None` for items of other types.
fn message(item: &Value) -> Option<String> {
    let parts = item["content"].as_array().into_iter().flatten();
    let texts = parts.filter(|part| part["type"] == "output_text").filter_map(|part| part["text"].as_str());
    (item["type"] == "message").then(|| texts.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parse_all(bytes: &[u8]) -> Vec<Event> {
        Reader::default().push(bytes).unwrap()
    }

    fn delta(text: &str) -> Event {
        Event::Delta(text.to_owned())
    }

    /// An answer as the provider sends it, with every kind of line end.
    fn stream() -> Vec<u8> {
        let events = [
            (json!({"type": "response.created", "response": {"id": "resp_1"}}), "\n"),
            (json!({"type": "response.output_text.delta", "delta": "2+2 is "}), "\r\n"),
            (json!({"type": "response.output_text.delta", "delta": "vier — 4"}), "\r"),
            (
                json!({"type": "response.output_item.done", "item": {"type": "message",
                "content": [{"type": "output_text", "text": "2+2 is vier — 4"}]}}),
                "\n",
            ),
            (
                json!({"type": "response.completed", "response": {"id": "resp_1", "model": "gpt-5.5",
                "usage": {"total_tokens": 9}}}),
                "\n",
            ),
        ];
        let mut stream = "\u{feff}: a comment\n\n".to_owned();
        for (event, end) in events {
            stream += &format!("event: ignored{end}data: {event}{end}id: 1{end}{end}");
        }
        stream.into_bytes()
    }

    #[test]
    fn answer_has_deltas_and_a_completion() {
        let text = "2+2 is vier — 4";
        let completed = Event::Completed {
            id: Some("resp_1".into()),
            model: Some("gpt-5.5".into()),
            usage: Some(json!({"total_tokens": 9})),
        };
        let expected = [delta("2+2 is "), delta("vier — 4"), Event::Message(text.into()), completed];
        assert_eq!(parse_all(&stream()), expected);
    }

    #[test]
    fn data_lines_are_joined_and_unfinished_events_are_ignored() {
        let split =
            b"data: {\"type\":\ndata:\"response.output_text.delta\",\"delta\":\"x\"}\n\ndata: {\"type\"";
        assert_eq!(parse_all(split), [delta("x")]);
    }

    #[test]
    fn each_kind_of_error_event_is_recognized() {
        let failed = json!({"type": "response.failed",
            "response": {"error": {"code": "server_is_overloaded", "message": "try later"}}});
        let error =
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": null});
        let nested = json!({"type": "error", "error": {"code": "c", "message": "m"}});
        let incomplete = json!({"type": "response.incomplete",
            "response": {"incomplete_details": {"reason": "max_output_tokens"}}});
        let some = |text: &str| Some(text.to_owned());
        let parsed = |event: &Value| parse_all(format!("data: {event}\n\n").as_bytes());
        let failure = |code, message| [Event::Failed { code: some(code), message: some(message) }];
        assert_eq!(parsed(&failed), failure("server_is_overloaded", "try later"));
        assert_eq!(parsed(&error), failure("rate_limit_exceeded", "slow down"));
        assert_eq!(parsed(&nested), failure("c", "m"));
        assert_eq!(parsed(&incomplete), [Event::Incomplete { reason: some("max_output_tokens") }]);
    }

    #[test]
    fn endless_lines_and_events_are_errors() {
        let mut reader = Reader::default();
        let chunk = vec![b'x'; 1 << 20];
        let error = (0..17).find_map(|_| reader.push(&chunk).err());
        assert_eq!(error, Some(TooLong));
        let mut reader = Reader::default();
        let line = [b"data: ".as_slice(), &chunk, b"\n"].concat();
        let error = (0..17).find_map(|_| reader.push(&line).err());
        assert_eq!(error, Some(TooLong));
    }

    proptest! {
        #[test]
        fn chunking_does_not_change_the_events(cuts in prop::collection::vec(0usize..2000, 0..40)) {
            let stream = stream();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % stream.len()).collect();
            cuts.sort_unstable();
            let mut reader = Reader::default();
            let mut events = Vec::new();
            let mut start = 0;
            for cut in cuts.into_iter().chain([stream.len()]) {
                events.extend(reader.push(&stream[start..cut]).unwrap());
                start = cut;
            }
            prop_assert_eq!(events, parse_all(&stream));
        }

        #[test]
        fn arbitrary_bytes_parse_the_same_in_two_chunks(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cut in 0usize..400,
        ) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut reader = Reader::default();
            let mut events = reader.push(head).unwrap();
            events.extend(reader.push(tail).unwrap());
            prop_assert_eq!(events, parse_all(&bytes));
        }
    }
}
