//! `authctl ask`: one question through the relay, its answer printed as it comes. What the events mean
//! stands in `sse`, what a refusal means in `refusal`.

use std::{
    io::{self, IsTerminal, Read},
    time::{Duration, Instant},
};

use authd_api::{ClientError, ErrorCode, Headers, Mode, Problem, ProfileName, Streamed, route};
use http::{HeaderMap, HeaderValue, Method, header};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Ctl, within};
use crate::{
    cli::{AskArgs, CredentialArgs, One},
    failure::Failure,
    out::Out,
    refusal,
    sse::{Event, Reader},
    time,
};

/// What the model is told about itself. The ChatGPT backend refuses a request without it.
const INSTRUCTIONS: &str = "You are a helpful assistant. Answer briefly and in plain text.";

/// What the names of models say that do something other than chat.
const OTHER_KINDS: [&str; 7] = ["audio", "image", "realtime", "search", "transcribe", "tts", "instruct"];

/// The largest question from stdin, in bytes: more than any model reads.
const MAX_QUESTION: u64 = 4 << 20;

/// How long the provider may be silent within an answer: models think for minutes. The Codex CLI waits as
/// long (`stream_idle_timeout_ms`).
const SILENCE: Duration = Duration::from_secs(300);

/// Asks, and prints.
pub(super) async fn ask(ctl: &Ctl, args: AskArgs) -> Result<(), Failure> {
    let question = question(&args.question)?;
    let headers = ctl.credential(CredentialArgs { one: One { name: None }, min_ttl: None })?;
    let model = match args.model {
        Some(model) => model,
        None => model(ctl, &headers).await?,
    };
    let body = request(&model, &question);
    show_request(ctl.out, &headers, &body);
    let started = Instant::now();
    let stream = post(ctl, &headers.profile, &body).await?;
    show_response(ctl.out, &stream, started);
    let answer = read(ctl.out, stream, started).await?;
    if ctl.out.wants_json() {
        return ctl.out.json(&json!({
            "profile": headers.profile, "mode": headers.mode, "model": answer.model.unwrap_or(model),
            "response_id": answer.id, "answer": answer.text, "usage": answer.usage,
        }));
    }
    Ok(())
}

/// The words on the command line, else those on stdin.
fn question(words: &[String]) -> Result<String, Failure> {
    let mut question = words.join(" ");
    if words.is_empty() {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let problem = Problem::new(ErrorCode::BadRequest, "there is no question");
            return Err(problem.hint("authctl ask \"What is 2+2?\"").into());
        }
        stdin.lock().take(MAX_QUESTION + 1).read_to_string(&mut question).map_err(|error| {
            Failure::new(ErrorCode::BadRequest, format!("the question on stdin cannot be read: {error}"))
        })?;
        if question.len() as u64 > MAX_QUESTION {
            return Err(Failure::new(ErrorCode::TooLarge, "the question on stdin is over 4 MiB"));
        }
    }
    match question.trim() {
        "" => Err(Failure::new(ErrorCode::BadRequest, "the question is empty")),
        question => Ok(question.to_owned()),
    }
}

/// The body that both modes take.
fn request(model: &str, question: &str) -> Value {
    json!({
        "model": model,
        "instructions": INSTRUCTIONS,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": question}]}],
        "store": false,
        "stream": true,
    })
}

/// The model of the daemon's configuration, else the first that the account offers.
async fn model(ctl: &Ctl, headers: &Headers) -> Result<String, Failure> {
    if let Some(model) = within(ctl.client.status()).await?.model {
        return Ok(model);
    }
    let answer = ctl.get(&headers.profile, &models_path(headers)).await?;
    if !answer.status.is_success() {
        return Err(refused(answer.status, &answer.headers, &answer.body).into());
    }
    let list = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    preferred(&list).ok_or_else(|| {
        Problem::new(ErrorCode::ProviderRefused, "the account offers no model that answers questions")
            .hint("name one: authctl ask --model NAME …")
            .into()
    })
}

/// Where the models are listed, below the base URL.
pub(super) fn models_path(headers: &Headers) -> String {
    match (headers.mode, headers.value("version")) {
        (Mode::ChatGpt, Some(version)) => format!("relay/models?client_version={version}"),
        _ => "relay/models".to_owned(),
    }
}

/// The first model of a list, in either of its two forms. The public API lists models of every kind, so
/// there one that chats goes first.
fn preferred(list: &Value) -> Option<String> {
    let names = |key: &str, name: &str| -> Vec<String> {
        let entries = list[key].as_array().into_iter().flatten();
        let offered = entries.filter(|entry| entry["visibility"].as_str().is_none_or(|seen| seen == "list"));
        offered.filter_map(|entry| entry[name].as_str().map(str::to_owned)).collect()
    };
    let chats =
        |name: &String| name.starts_with("gpt-") && !OTHER_KINDS.iter().any(|kind| name.contains(kind));
    let public = names("data", "id");
    names("models", "slug").into_iter().next().or_else(|| {
        let chatting = public.iter().find(|name| chats(name)).cloned();
        chatting.or_else(|| public.first().cloned())
    })
}

async fn post(ctl: &Ctl, profile: &ProfileName, body: &Value) -> Result<Streamed, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    let path = route::below_profile(Some(profile), "relay/responses");
    let stream = within(ctl.client.stream(Method::POST, &path, &headers, body.to_string().into())).await?;
    if stream.status.is_success() {
        return Ok(stream);
    }
    let answer = within(stream.whole()).await?;
    Err(refused(answer.status, &answer.headers, &answer.body).into())
}

fn refused(status: http::StatusCode, headers: &HeaderMap, body: &[u8]) -> Problem {
    refusal::problem(status, headers, body, time::now(), &TimeZone::system())
}

/// What came of the question.
#[derive(Default)]
struct Answer {
    text: String,
    id: Option<String>,
    model: Option<String>,
    usage: Option<Value>,
}

/// Prints the answer as it comes; the stream must end in its completion.
async fn read(out: Out, mut stream: Streamed, started: Instant) -> Result<Answer, Failure> {
    let mut reader = Reader::default();
    let mut answer = Answer::default();
    loop {
        let chunk = match tokio::time::timeout(SILENCE, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(cut_short(out, &answer, "the stream ended before its completion")),
            Ok(Err(ClientError::Broken { .. })) => {
                return Err(cut_short(out, &answer, "the connection broke"));
            }
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(cut_short(out, &answer, "nothing came for five minutes")),
        };
        let events = reader.push(&chunk).map_err(|_| cut_short(out, &answer, "an event is over 16 MiB"))?;
        for event in events {
            match event {
                Event::Delta(text) => answer.say(out, &text, started)?,
                // Some providers send a message in one piece, without deltas before it.
                Event::Message(text) if answer.text.is_empty() => answer.say(out, &text, started)?,
                Event::Message(_) => {}
                Event::Completed { id, model, usage } => {
                    answer.end_line(out)?;
                    let spent = usage.as_ref().map(|usage| format!(", usage {usage}")).unwrap_or_default();
                    out.explain(&format!("< completed after {} ms{spent}", started.elapsed().as_millis()));
                    return Ok(Answer { id, model, usage, ..answer });
                }
                Event::Failed { code, message } => {
                    answer.end_line(out)?;
                    return Err(refusal::stream_failed(code.as_deref(), message.as_deref()).into());
                }
                Event::Incomplete { reason } => {
                    answer.end_line(out)?;
                    let why = reason
                        .map_or_else(|| "no reason was given".to_owned(), |reason| refusal::quote(&reason));
                    let detail = format!("the model stopped before the end of its answer: {why}");
                    return Err(Problem::new(ErrorCode::ProviderRefused, detail).into());
                }
            }
        }
    }
}

impl Answer {
    fn say(&mut self, out: Out, text: &str, started: Instant) -> Result<(), Failure> {
        if self.text.is_empty() {
            out.explain(&format!("< first words after {} ms", started.elapsed().as_millis()));
        }
        self.text.push_str(text);
        if out.wants_json() { Ok(()) } else { out.answer(text) }
    }

    /// A prompt that follows begins on a line of its own.
    fn end_line(&self, out: Out) -> Result<(), Failure> {
        if out.wants_json() || self.text.is_empty() || self.text.ends_with('\n') {
            Ok(())
        } else {
            out.answer("\n")
        }
    }
}

fn cut_short(out: Out, answer: &Answer, why: &str) -> Failure {
    match answer.end_line(out) {
        Ok(()) => Problem::new(ErrorCode::ProviderUnreachable, format!("the answer was cut short: {why}"))
            .hint("ask again")
            .into(),
        Err(failure) => failure,
    }
}

/// The request as the provider gets it, without the secret.
fn show_request(out: Out, headers: &Headers, body: &Value) {
    out.explain(&format!("> POST {}", headers.responses_url));
    for (name, value) in &headers.headers {
        let secret = name.eq_ignore_ascii_case("authorization");
        out.explain(&format!("> {name}: {}", if secret { "Bearer [redacted]" } else { value }));
    }
    out.explain(&format!("> \n> {body}"));
}

/// The answer's head, without what could be a secret.
fn show_response(out: Out, stream: &Streamed, started: Instant) {
    out.explain(&format!("< {} after {} ms", stream.status, started.elapsed().as_millis()));
    for (name, value) in &stream.headers {
        let secret = name == header::SET_COOKIE;
        let shown = if secret {
            "[redacted]".to_owned()
        } else {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        };
        out.explain(&format!("< {name}: {shown}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_model_is_the_first_that_chats() {
        let codex = json!({"models": [{"slug": "hidden", "visibility": "hide"}, {"slug": "gpt-5.5"}, {"slug": "gpt-5.2"}]});
        assert_eq!(preferred(&codex).as_deref(), Some("gpt-5.5"));
        let public = json!({"data": [{"id": "whisper-1"}, {"id": "gpt-4o-audio-preview"}, {"id": "gpt-5"}, {"id": "gpt-4o"}]});
        assert_eq!(preferred(&public).as_deref(), Some("gpt-5"));
        assert_eq!(preferred(&json!({"data": [{"id": "o4"}]})).as_deref(), Some("o4"));
        assert_eq!(preferred(&json!({"models": []})), None);
        assert_eq!(preferred(&Value::Null), None);
    }

    #[test]
    fn the_words_of_a_question_are_joined() {
        assert_eq!(question(&["What".into(), "is 2+2?".into()]).unwrap(), "What is 2+2?");
        assert!(question(&[" ".into()]).is_err());
    }
}
