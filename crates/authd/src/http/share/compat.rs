//! Requests of a share with `compat = "responses"`.

use authd_api::{COMPAT_HEADER, ErrorCode, Problem};
use axum::{
    body::{Body, to_bytes},
    extract::Request,
    response::Response,
};
use futures_util::TryStreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    http::{extract::read_body, respond::JSON},
    relay::compat::{CompatError, StreamAdapter, adapt, collect},
    request_head::content_length,
};

/// The path that is adapted, below the base URL.
const PATH: &str = "responses";

/// The path of the older API, which the ChatGPT backend does not have.
const CHAT_COMPLETIONS: &str = "chat/completions";

/// Longest request that is adapted, in bytes. A prompt with many images fits.
const MAX_REQUEST: usize = 32 << 20;

/// Memory for the bodies of all requests that are adapted at one time, in bytes: a share must not
/// exhaust the memory of the daemon.
static MEMORY: Semaphore = Semaphore::const_new(8 * MAX_REQUEST);

/// Longest stream that is collected, in bytes.
const MAX_RESPONSE: usize = 32 << 20;

/// The media type of the response of the ChatGPT backend.
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// What to do with the response of an adapted request.
pub(super) struct ResponsePlan {
    dropped: Vec<&'static str>,
    stream: bool,
    /// The memory of the request's body, until the response has begun or was collected.
    _memory: SemaphorePermit<'static>,
}

/// Whether a request is one that is adapted or refused.
pub(super) fn applies(method: &Method, path: &str) -> bool {
    method == Method::POST && [PATH, CHAT_COMPLETIONS].contains(&path)
}

/// Adapts a request for the ChatGPT backend. A refusal has the status 400: after a 409 the OpenAI
/// SDKs would send the request twice more.
pub(super) async fn adapt_request(path: &str, request: Request) -> Result<(Request, ResponsePlan), Problem> {
    if path == CHAT_COMPLETIONS {
        let problem = Problem::new(ErrorCode::BadRequest, "the ChatGPT backend has no Chat Completions");
        return Err(problem.hint("let the program use the Responses API; docs/shares.md shows how"));
    }
    if request.headers().contains_key(header::CONTENT_ENCODING) {
        let problem = Problem::new(ErrorCode::BadRequest, "a compressed request body cannot be adapted");
        return Err(problem.hint("send it without Content-Encoding"));
    }
    let (mut parts, body) = request.into_parts();
    let memory = reserve_memory(&parts.headers)?;
    let body = read_body(Request::from_parts(parts.clone(), body), MAX_REQUEST).await?;
    let adapted = adapt(&body).map_err(|error| {
        let problem = Problem::new(ErrorCode::BadRequest, error.to_string());
        match error {
            CompatError::NotAnObject => problem,
            CompatError::Unsupported { .. } => problem.hint("docs/shares.md lists what a share adapts"),
        }
    })?;
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, adapted.body.len().into());
    // The response is read, so that it must not be compressed.
    parts.headers.insert(header::ACCEPT, EVENT_STREAM);
    parts.headers.remove(header::ACCEPT_ENCODING);
    let plan = ResponsePlan { dropped: adapted.dropped, stream: adapted.stream, _memory: memory };
    Ok((Request::from_parts(parts, Body::from(adapted.body)), plan))
}

/// Reserves the memory for a body with these headers.
fn reserve_memory(headers: &HeaderMap) -> Result<SemaphorePermit<'static>, Problem> {
    let size = content_length(headers).map_or(MAX_REQUEST, |length| length.min(MAX_REQUEST));
    MEMORY.try_acquire_many(u32::try_from(size).unwrap_or(u32::MAX)).map_err(|_| {
        let detail = "the requests that are being adapted need too much memory";
        Problem::new(ErrorCode::TooManyRequests, detail).hint("try again").retry_after(1)
    })
}

impl ResponsePlan {
    /// The response as the client expects it: a stream whose last event is complete, or for a
    /// client without streaming the object instead of the stream. An error is not adapted.
    pub(super) async fn apply(self, response: Response) -> Result<Response, Problem> {
        let is_stream = response.headers().get(header::CONTENT_TYPE).is_some_and(is_event_stream);
        let mut response = match (is_stream && response.status().is_success(), self.stream) {
            (false, _) => response,
            (true, true) => adapt_stream(response),
            (true, false) => collect_response(response).await?,
        };
        if !self.dropped.is_empty()
            && let Ok(dropped) = HeaderValue::from_str(&self.dropped.join(", "))
        {
            response.headers_mut().insert(HeaderName::from_static(COMPAT_HEADER), dropped);
        }
        Ok(response)
    }
}

/// The stream as it arrives, with a complete last event.
fn adapt_stream(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    let mut adapter = StreamAdapter::default();
    let stream = body.into_data_stream().map_ok(move |text| adapter.adapt(&text));
    Response::from_parts(parts, Body::from_stream(stream))
}

async fn collect_response(response: Response) -> Result<Response, Problem> {
    let broken = |detail: String| Problem::new(ErrorCode::ProviderUnreachable, detail).hint("try again");
    let (mut parts, body) = response.into_parts();
    let stream = to_bytes(body, MAX_RESPONSE)
        .await
        .map_err(|error| broken(format!("the upstream's stream broke off or is too long: {error}")))?;
    let object = collect(&stream).map_err(|error| broken(error.to_string()))?;
    for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        parts.headers.remove(name);
    }
    parts.headers.insert(header::CONTENT_TYPE, JSON);
    let body = serde_json::to_vec(&object).expect("a JSON value has a text");
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn is_event_stream(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(EVENT_STREAM.as_bytes())
}
