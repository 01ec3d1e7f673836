//! Extracts the parts of a request: JSON body, query, path. Everything is bounded in size and time.

use std::{convert::Infallible, time::Duration};

use authd_api::{ErrorCode, Problem, ProfileName};
use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, RawPathParams, Request},
};
use http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::respond::ApiError;
use crate::request_head::content_length;

/// Longest body of a request that is not relayed, in bytes. The largest legitimate one is a pasted
/// URL.
const MAX_BODY: usize = 1 << 20;

/// Longest time that such a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// Whether the headers contain one of these names. Comparing the few names of a request is faster
/// than hashing each one that is looked for.
pub(super) fn contains_any(headers: &HeaderMap, names: &[HeaderName]) -> bool {
    headers.keys().any(|name| names.contains(name))
}

/// The JSON body; an empty one counts as `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let body = read_body(request, MAX_BODY).await?;
        let text: &[u8] = if body.is_empty() { b"{}" } else { &body };
        // serde would accept an array of the field values.
        if text.trim_ascii_start().first().is_some_and(|first| *first == b'[') {
            let detail = "invalid request body: it is an array";
            return Err(Problem::new(ErrorCode::BadRequest, detail).hint("send an object").into());
        }
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let detail = format!("invalid request body: {}", describe_json_error(&error));
            Problem::new(ErrorCode::BadRequest, detail).hint("GET /v1/openapi.json describes it").into()
        })
    }
}

/// Longest quotation of a field's name, in characters. All names of the API are shorter.
const LONGEST_QUOTATION: usize = 64;

/// Describes an error without serde's message, which quotes the invalid value: it may be a secret
/// in the wrong field. Only a field's name is taken from the message.
fn describe_json_error(error: &serde_json::Error) -> String {
    let (line, column, message) = (error.line(), error.column(), error.to_string());
    let field_error = message
        .split_once(" field `")
        .filter(|(how, _)| matches!(*how, "unknown" | "missing" | "duplicate"))
        .and_then(|(how, rest)| Some((how, rest.split_once('`')?.0)));
    let what = match field_error {
        Some((how, name)) => {
            let printable =
                |letter: char| if letter == ' ' || letter.is_ascii_graphic() { letter } else { '?' };
            let name: String = name.chars().take(LONGEST_QUOTATION).map(printable).collect();
            format!("{how} field \"{name}\"")
        }
        None if error.is_data() => "a value has the wrong type".to_owned(),
        None => "malformed JSON".to_owned(),
    };
    format!("{what} (line {line}, column {column})")
}

/// Reads a body of at most `max` bytes.
pub(super) async fn read_body(request: Request, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the request body is larger than {} MiB", max >> 20);
        Problem::new(ErrorCode::TooLarge, detail)
    };
    if content_length(request.headers()).is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let read = Limited::new(request.into_body(), max).collect();
    match tokio::time::timeout(BODY_DEADLINE, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(ErrorCode::BadRequest, "the request body ended early")),
        Err(_) => Err(Problem::new(ErrorCode::Timeout, "the request body did not arrive in time")),
    }
}

/// The query.
pub(super) struct QueryParams<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri).map(|Query(query)| Self(query)).map_err(|error| {
            Problem::new(ErrorCode::BadRequest, format!("invalid query: {}", error.body_text())).into()
        })
    }
}

/// The parameters of the path. They must be UTF-8 once they are decoded.
pub(super) struct PathParam<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParam<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::from_request_parts(parts, state).await.map(|Path(part)| Self(part)).map_err(|error| {
            Problem::new(ErrorCode::BadRequest, format!("invalid path: {}", error.body_text())).into()
        })
    }
}

/// The profile of the path, whatever other parameters the path has.
pub(super) struct ProfileParam(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ProfileParam {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|error| {
            Problem::new(ErrorCode::BadRequest, format!("invalid path: {}", error.body_text()))
        })?;
        let profile = params.iter().find(|(name, _)| *name == "profile");
        Ok(Self(profile.map_or_else(String::new, |(_, value)| value.to_owned())))
    }
}

/// The `If-None-Match` header (RFC 9110, section 13.1.2).
pub(super) struct IfNoneMatch(pub(super) Option<HeaderValue>);

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.get(header::IF_NONE_MATCH).cloned()))
    }
}

/// Parses the profile of a path: a name, or `-` for the default.
pub(super) fn profile_name(param: &str) -> Result<Option<ProfileName>, Problem> {
    if param == authd_api::route::DEFAULT_PROFILE {
        return Ok(None);
    }
    param.parse().map(Some).map_err(|error| Problem::new(ErrorCode::BadRequest, format!("{error}")))
}
