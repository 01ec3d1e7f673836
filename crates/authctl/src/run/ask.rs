//! `authctl ask`: sends one question through the relay, and prints the answer as it arrives.

use std::{
    io::{self, IsTerminal, Read},
    time::{Duration, Instant},
};

use authd_api::{ClientError, ErrorCode, Headers, Problem, StreamingResponse, route};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::models;
use crate::context::{Context, require_openai, with_timeout};
use crate::{
    cli::AskArgs,
    error::{CliError, CliResult},
    output::Output,
    sse::{Event, Reader},
    upstream_error,
};

/// The ChatGPT backend rejects a request without instructions.
const INSTRUCTIONS: &str = "You are a helpful assistant. Answer briefly and in plain text.";

/// The longest question from stdin, in bytes: more than any model accepts.
const MAX_QUESTION: u64 = 4 << 20;

/// The longest pause within an answer: models think for minutes. The Codex CLI waits as long
/// (`stream_idle_timeout_ms`).
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

pub(super) async fn ask(ctx: &Context, args: AskArgs) -> CliResult {
    let question = question(&args.question)?;
    let headers = ctx.headers_if_allowed()?;
    let headers = headers.as_ref();
    headers.map_or(Ok(()), require_openai)?;
    let model = match args.model {
        Some(model) => model,
        None => models::default_model(ctx, headers).await?,
    };
    let body = request_body(&model, &question);
    show_request(ctx.out, headers, &body);
    let started = Instant::now();
    let stream = match post(ctx, &body).await {
        Err(CliError::Problem(problem)) if is_rejected(&problem) => {
            return Err(models::not_offered(ctx, headers, &model).await.unwrap_or(*problem).into());
        }
        stream => stream?,
    };
    show_response(ctx.out, &stream, started);
    let answer = print_answer(ctx.out, stream, started).await?;
    if ctx.out.json {
        return ctx.out.print_json(&json!({
            "profile": headers.map(|headers| &headers.profile), "mode": headers.map(|headers| headers.mode), "model": answer.model.unwrap_or(model),
            "response_id": answer.id, "answer": answer.text, "usage": answer.usage,
        }));
    }
    Ok(())
}

/// The arguments joined by spaces, else stdin.
fn question(args: &[String]) -> CliResult<String> {
    let mut question = args.join(" ");
    if args.is_empty() {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let problem = Problem::new(ErrorCode::BadRequest, "there is no question");
            return Err(problem.hint("run: authctl ask \"What is 2+2?\"").into());
        }
        stdin.lock().take(MAX_QUESTION + 1).read_to_string(&mut question).map_err(|error| {
            CliError::new(ErrorCode::BadRequest, format!("cannot read the question from stdin: {error}"))
        })?;
        if question.len() as u64 > MAX_QUESTION {
            return Err(CliError::new(ErrorCode::TooLarge, "the question on stdin is over 4 MiB"));
        }
    }
    match question.trim() {
        "" => Err(CliError::new(ErrorCode::BadRequest, "the question is empty")),
        question => Ok(question.to_owned()),
    }
}

/// Whether the provider rejected the request for a reason that has no remedy yet.
fn is_rejected(problem: &Problem) -> bool {
    problem.code == ErrorCode::BadRequest && problem.hint.is_none()
}

/// A body that both modes accept.
fn request_body(model: &str, question: &str) -> Value {
    json!({
        "model": model,
        "instructions": INSTRUCTIONS,
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": question}]}],
        "store": false,
        "stream": true,
    })
}

async fn post(ctx: &Context, body: &Value) -> CliResult<StreamingResponse> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    let path = route::below_profile(ctx.profile(), "relay/responses");
    let body = body.to_string().into();
    let stream = with_timeout(ctx.client.stream(Method::POST, &path, &headers, body)).await?;
    if stream.status.is_success() {
        return Ok(stream);
    }
    let response = with_timeout(stream.collect()).await?;
    Err(ctx.relay_error(&response).await)
}

#[derive(Default)]
struct Completion {
    text: String,
    id: Option<String>,
    model: Option<String>,
    usage: Option<Value>,
}

/// Prints the answer as it arrives. A stream without a completion event is an error.
async fn print_answer(out: Output, mut stream: StreamingResponse, started: Instant) -> CliResult<Completion> {
    let mut reader = Reader::default();
    let mut answer = Completion::default();
    loop {
        let chunk = match tokio::time::timeout(IDLE_TIMEOUT, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Err(answer.cut_short(out, "the stream ended without a completion event")),
            Ok(Err(ClientError::Broken { .. })) => return Err(answer.cut_short(out, "the connection broke")),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Err(answer.cut_short(out, "no data for five minutes")),
        };
        for event in reader.push(&chunk).map_err(|_| answer.cut_short(out, "an event is over 16 MiB"))? {
            if !matches!(event, Event::Delta(_) | Event::Message(_)) {
                answer.end_line(out)?;
            }
            match event {
                Event::Delta(text) => answer.print(out, &text, started)?,
                // Some providers send the message without deltas.
                Event::Message(text) if answer.text.is_empty() => answer.print(out, &text, started)?,
                Event::Message(_) => {}
                Event::Completed { id, model, usage } => {
                    let tokens = usage.as_ref().map(|usage| format!(", usage {usage}")).unwrap_or_default();
                    out.verbose(&format!("< completed after {} ms{tokens}", started.elapsed().as_millis()));
                    return Ok(Completion { id, model, usage, ..answer });
                }
                Event::Failed { code, message } => {
                    return Err(upstream_error::stream_failed(code.as_deref(), message.as_deref()).into());
                }
                Event::Incomplete { reason } => {
                    let reason =
                        reason.map_or("no reason given".to_owned(), |text| upstream_error::quote(&text));
                    let detail = format!("the model stopped before the end of its answer: {reason}");
                    return Err(CliError::new(ErrorCode::ProviderRefused, detail));
                }
            }
        }
    }
}

impl Completion {
    fn print(&mut self, out: Output, text: &str, started: Instant) -> CliResult {
        if self.text.is_empty() {
            out.verbose(&format!("< first text after {} ms", started.elapsed().as_millis()));
        }
        self.text.push_str(text);
        if out.json { Ok(()) } else { out.print_verbatim(text) }
    }

    /// Ends the line, so that the prompt of the shell begins on its own.
    fn end_line(&self, out: Output) -> CliResult {
        let is_ended = out.json || self.text.is_empty() || self.text.ends_with('\n');
        if is_ended { Ok(()) } else { out.print("\n") }
    }

    fn cut_short(&self, out: Output, reason: &str) -> CliError {
        match self.end_line(out) {
            Ok(()) => {
                Problem::new(ErrorCode::ProviderUnreachable, format!("the answer was cut short: {reason}"))
                    .hint("run the command again")
                    .into()
            }
            Err(error) => error,
        }
    }
}

/// The request as the provider receives it, without the secret. A share may hide the headers that
/// the relay adds.
fn show_request(out: Output, headers: Option<&Headers>, body: &Value) {
    let url = headers.map_or("(through the relay of a share)", |headers| &headers.responses_url);
    out.verbose(&format!("> POST {url}"));
    for (name, value) in headers.into_iter().flat_map(|headers| &headers.headers) {
        let is_secret = name.eq_ignore_ascii_case("authorization");
        out.verbose(&format!("> {name}: {}", if is_secret { "Bearer [redacted]" } else { value }));
    }
    out.verbose(&format!("> \n> {body}"));
}

/// The head of the response, without values that may be secret.
fn show_response(out: Output, stream: &StreamingResponse, started: Instant) {
    out.verbose(&format!("< {} after {} ms", stream.status, started.elapsed().as_millis()));
    for (name, value) in &stream.headers {
        let is_secret = name == header::SET_COOKIE;
        let value = if is_secret { "[redacted]".into() } else { String::from_utf8_lossy(value.as_bytes()) };
        out.verbose(&format!("< {name}: {value}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_the_question_are_joined() {
        assert_eq!(question(&["What".into(), "is 2+2?".into()]).unwrap(), "What is 2+2?");
        assert!(question(&[" ".into()]).is_err());
    }
}
