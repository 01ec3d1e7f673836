//! Builds responses: JSON messages, problems (RFC 9457), and the headers message.

use std::{
    array,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use authd_api::{PROBLEM_TYPE, Problem, RelayProblem, VERSION_HEADER};
use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::{Frame, SizeHint};
use serde::Serialize;

/// The media type of messages.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A problem as a response.
#[derive(Debug)]
pub(super) struct ApiError(pub(super) Problem);

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
        // For the log of the access middleware.
        response.extensions_mut().insert(problem);
        response
    }
}

/// The body of a problem for SDKs.
pub(super) fn relay_problem(problem: Problem) -> Body {
    serde_json::to_vec(&RelayProblem::from(problem)).expect("messages serialize").into()
}

/// A message as a response.
pub(super) fn json(status: StatusCode, message: &impl Serialize) -> Response {
    let body = serde_json::to_vec(message).expect("messages serialize");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Forbids caches to store the response, because it holds a secret or a URL that acts for a user.
pub(super) fn no_store(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    response
}

/// A body of segments that are not copied.
pub(super) struct SegmentedBody<const N: usize>(array::IntoIter<Bytes, N>);

impl<const N: usize> From<[Bytes; N]> for SegmentedBody<N> {
    fn from(segments: [Bytes; N]) -> Self {
        Self(segments.into_iter())
    }
}

impl<const N: usize> http_body::Body for SegmentedBody<N> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|segment| Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_slice().iter().map(|segment| segment.len() as u64).sum())
    }
}

/// Sets the header with the daemon's version.
pub(super) fn set_version_header(response: &mut Response) {
    const NAME: HeaderName = HeaderName::from_static(VERSION_HEADER);
    const VERSION: HeaderValue = HeaderValue::from_static(env!("CARGO_PKG_VERSION"));
    response.headers_mut().insert(NAME, VERSION);
}
