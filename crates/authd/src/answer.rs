//! How an answer looks on the wire, and how a request is read: JSON in and out, problems with their
//! status, everything bounded. What the answers say is decided elsewhere.

use std::{
    array,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use authd_api::{ErrorCode, PROBLEM_TYPE, Problem, ProfileName, VERSION_HEADER};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Serialize, de::DeserializeOwned};

/// The largest body of a request that is not relayed: the largest honest one is a pasted URL.
const MAX_BODY: usize = 1 << 20;

/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// A problem as an answer.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Problem);

impl<T: Into<Problem>> From<T> for ApiError {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self(problem) = self;
        let mut response = json(problem.code.status(), &problem);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        if let Some(seconds) = problem.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // For the log, which tells what it was and not only its status.
        response.extensions_mut().insert(problem);
        response
    }
}

/// A message as an answer.
pub(crate) fn json(status: StatusCode, message: &impl Serialize) -> Response {
    let body = serde_json::to_vec(message).expect("the contract's messages have a JSON form");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body of pieces, each of which stays where it is.
pub(crate) struct Pieces<const N: usize>(array::IntoIter<Bytes, N>);

impl<const N: usize> From<[Bytes; N]> for Pieces<N> {
    fn from(pieces: [Bytes; N]) -> Self {
        Self(pieces.into_iter())
    }
}

impl<const N: usize> http_body::Body for Pieces<N> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_slice().iter().map(|piece| piece.len() as u64).sum())
    }
}

/// The header that every answer carries.
pub(crate) fn stamp(response: &mut Response) {
    const NAME: HeaderName = HeaderName::from_static(VERSION_HEADER);
    response.headers_mut().insert(NAME, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
}

/// Whether one of these headers is there. The few that a message has are looked at sooner than a name is hashed.
pub(crate) fn carries(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|name| names.contains(name))
}

/// A request's JSON body; an empty one is `{}`.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = whole(request).await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        // serde would take the values of an array for the fields, in their order.
        if text.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
            let detail = "the request's body does not fit: it is an array";
            return Err(Problem::new(ErrorCode::BadRequest, detail).hint("send an object").into());
        }
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let detail = format!("the request's body does not fit: {}", misfit(&error));
            Problem::new(ErrorCode::BadRequest, detail).hint("GET /v1/openapi.json tells what fits").into()
        })
    }
}

/// The most that is quoted of a field's name: ours are shorter.
const MOST_QUOTED: usize = 64;

/// What is wrong with a body, and where. serde quotes the value that it stumbled over, which may be a secret in
/// the wrong place; all that is taken from its words is a field's name, made plain and short.
fn misfit(error: &serde_json::Error) -> String {
    let (line, column, told) = (error.line(), error.column(), error.to_string());
    let about_a_field = told
        .split_once(" field `")
        .filter(|(how, _)| matches!(*how, "unknown" | "missing" | "duplicate"))
        .and_then(|(how, rest)| Some((how, rest.split_once('`')?.0)));
    let what = match about_a_field {
        Some((how, name)) => {
            let plain = |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
            let name: String = name.chars().take(MOST_QUOTED).map(plain).collect();
            format!("{how} field \"{name}\"")
        }
        None if error.is_data() => "a value is not of the kind that belongs there".to_owned(),
        None => "it is not whole JSON".to_owned(),
    };
    format!("{what} (line {line}, column {column})")
}

/// A request's whole body.
async fn whole(request: Request) -> Result<Bytes, Problem> {
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    let too_large = || Problem::new(ErrorCode::TooLarge, "the request's body is larger than 1 MiB");
    if length.is_some_and(|length: usize| length > MAX_BODY) {
        return Err(too_large());
    }
    let read = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(BODY_DEADLINE, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(ErrorCode::BadRequest, "the request's body broke off")),
        Err(_) => Err(Problem::new(ErrorCode::Timeout, "the request's body did not arrive in time")),
    }
}

/// A request's query.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(|error| {
            Problem::new(ErrorCode::BadRequest, format!("the query does not fit: {}", error.body_text()))
                .into()
        })
    }
}

/// What stands in a path's places. What is not text there, once decoded, names nothing.
pub(crate) struct Part<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Part<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state).await.map(|Path(part)| Self(part)).map_err(|error| {
            Problem::new(ErrorCode::BadRequest, format!("the path does not fit: {}", error.body_text()))
                .into()
        })
    }
}

/// The entity tag of the answer that a client holds already, as `If-None-Match` says it.
pub(crate) struct Held(pub(crate) Option<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for Held {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get(header::IF_NONE_MATCH).cloned()))
    }
}

/// The profile that a path names: a name, or `-` for the default one.
pub(crate) fn named(part: &str) -> Result<Option<ProfileName>, Problem> {
    if part == authd_api::route::DEFAULT_PROFILE {
        return Ok(None);
    }
    part.parse().map(Some).map_err(|error| Problem::new(ErrorCode::BadRequest, format!("{error}")))
}
