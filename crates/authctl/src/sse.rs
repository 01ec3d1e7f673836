//! Server-sent events as the Responses API streams them: bytes in, in whatever pieces they come, events
//! out. It reads no socket, and decides nothing about an event's meaning.

use serde::Deserialize;
use serde_json::Value;

/// The longest line and the longest event, in bytes. The last event repeats the whole answer, which is
/// below a megabyte for the longest one a model gives.
const MAX: usize = 16 << 20;

/// An event, by the `type` in its JSON. The event's own name is not trusted: not every server sends it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The next piece of the answer.
    Delta(String),
    /// One finished message, whole.
    Message(String),
    /// The answer is complete; the stream ends here and nowhere else.
    Completed {
        /// The response's id.
        id: Option<String>,
        /// The model that answered.
        model: Option<String>,
        /// What it cost in tokens.
        usage: Option<Value>,
    },
    /// The provider gave up.
    Failed {
        /// The provider's code.
        code: Option<String>,
        /// The provider's words.
        message: Option<String>,
    },
    /// The model stopped before its end.
    Incomplete {
        /// Why.
        reason: Option<String>,
    },
}

/// The stream has a line or an event longer than any honest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Reads events out of a stream.
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    data: Vec<u8>,
    /// A line ended with CR as the last byte so far: an LF that follows belongs to it.
    after_cr: bool,
    /// A first line has begun: from now on a byte order mark is just text.
    begun: bool,
}

impl Reader {
    /// The events that these bytes complete. Events of no interest, and those that are no JSON, are left out.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for &byte in bytes {
            let second_half = std::mem::take(&mut self.after_cr) && byte == b'\n';
            match byte {
                _ if second_half => {}
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    events.extend(self.end_line()?);
                }
                _ if self.line.len() == MAX => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<Event>, TooLong> {
        let line = std::mem::take(&mut self.line);
        let first = !std::mem::replace(&mut self.begun, true);
        let line = if first { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if line.is_empty() {
            return Ok(parse(&std::mem::take(&mut self.data)));
        }
        // Comments, names, ids and retry times are of no use here.
        if let Some(data) = field(line, b"data") {
            if self.data.len() + data.len() >= MAX {
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

/// The value of a line with this field's name; the one space after the colon is not part of it.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

/// What an event's JSON may hold, as sent.
#[derive(Deserialize)]
struct Sent {
    r#type: String,
    delta: Option<Value>,
    item: Option<Item>,
    response: Option<Response>,
    /// A bare `error` event has these at the top.
    code: Option<Value>,
    message: Option<Value>,
    error: Option<Error>,
}

#[derive(Deserialize)]
struct Item {
    r#type: Option<String>,
    #[serde(default)]
    content: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    r#type: Option<String>,
    text: Option<String>,
}

#[derive(Default, Deserialize)]
struct Response {
    id: Option<String>,
    model: Option<String>,
    usage: Option<Value>,
    error: Option<Error>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Deserialize)]
struct Error {
    code: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

fn parse(data: &[u8]) -> Option<Event> {
    let sent: Sent = serde_json::from_slice(data).ok()?;
    match sent.r#type.as_str() {
        "response.output_text.delta" => sent.delta.and_then(text).map(Event::Delta),
        "response.output_item.done" => sent.item.and_then(message).map(Event::Message),
        "response.completed" => {
            let Response { id, model, usage, .. } = sent.response.unwrap_or_default();
            Some(Event::Completed { id, model, usage })
        }
        "response.failed" => {
            let error = sent.response.and_then(|response| response.error);
            let (code, message) = error.map_or((None, None), |error| (error.code, error.message));
            Some(Event::Failed { code, message })
        }
        "error" => {
            let (code, message) = match sent.error {
                Some(error) => (error.code, error.message),
                None => (sent.code.and_then(text), sent.message.and_then(text)),
            };
            Some(Event::Failed { code, message })
        }
        "response.incomplete" => {
            let details = sent.response.and_then(|response| response.incomplete_details);
            Some(Event::Incomplete { reason: details.and_then(|details| details.reason) })
        }
        // The provider has dozens of other events, and coins new ones.
        _ => None,
    }
}

fn text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// The text of a finished message; `None` for items of another kind.
fn message(item: Item) -> Option<String> {
    if item.r#type.as_deref() != Some("message") {
        return None;
    }
    let is_text = |part: &Part| part.r#type.as_deref() == Some("output_text");
    Some(item.content.into_iter().filter(is_text).filter_map(|part| part.text).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(bytes: &[u8]) -> Vec<Event> {
        Reader::default().push(bytes).unwrap()
    }

    fn delta(text: &str) -> Event {
        Event::Delta(text.to_owned())
    }

    /// An answer as the provider sends it, with all line endings there are.
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
    fn an_answer_is_its_pieces_and_its_end() {
        let whole = "2+2 is vier — 4";
        let completed = Event::Completed {
            id: Some("resp_1".into()),
            model: Some("gpt-5.5".into()),
            usage: Some(json!({"total_tokens": 9})),
        };
        let expected = [delta("2+2 is "), delta("vier — 4"), Event::Message(whole.into()), completed];
        assert_eq!(read(&stream()), expected);
    }

    #[test]
    fn data_lines_are_joined_and_an_unfinished_event_is_none() {
        let split =
            b"data: {\"type\":\ndata:\"response.output_text.delta\",\"delta\":\"x\"}\n\ndata: {\"type\"";
        assert_eq!(read(split), [delta("x")]);
    }

    #[test]
    fn the_ways_to_end_badly_are_told_apart() {
        let failed = json!({"type": "response.failed",
            "response": {"error": {"code": "server_is_overloaded", "message": "try later"}}});
        let error =
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": null});
        let nested = json!({"type": "error", "error": {"code": "c", "message": "m"}});
        let incomplete = json!({"type": "response.incomplete",
            "response": {"incomplete_details": {"reason": "max_output_tokens"}}});
        let some = |text: &str| Some(text.to_owned());
        let told = |event: &Value| read(format!("data: {event}\n\n").as_bytes());
        let failure = |code, message| [Event::Failed { code: some(code), message: some(message) }];
        assert_eq!(told(&failed), failure("server_is_overloaded", "try later"));
        assert_eq!(told(&error), failure("rate_limit_exceeded", "slow down"));
        assert_eq!(told(&nested), failure("c", "m"));
        assert_eq!(told(&incomplete), [Event::Incomplete { reason: some("max_output_tokens") }]);
    }

    #[test]
    fn what_never_ends_is_refused() {
        let mut reader = Reader::default();
        let piece = vec![b'x'; 1 << 20];
        let refused = (0..17).find_map(|_| reader.push(&piece).err());
        assert_eq!(refused, Some(TooLong));
        let mut reader = Reader::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        let refused = (0..17).find_map(|_| reader.push(&line).err());
        assert_eq!(refused, Some(TooLong));
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_events(cuts in prop::collection::vec(0usize..2000, 0..40)) {
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
            prop_assert_eq!(events, read(&stream));
        }

        #[test]
        fn any_bytes_are_survived_however_they_come(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0usize..400) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            let mut reader = Reader::default();
            let mut events = reader.push(head).unwrap();
            events.extend(reader.push(tail).unwrap());
            prop_assert_eq!(events, read(&bytes));
        }
    }
}
