//! The formats of responses: errors of the API, errors of the ChatGPT backend, and web pages.

use axum::{
    Json,
    response::{Html, IntoResponse, Response},
};
use html_escape::encode_quoted_attribute;
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// An error of a handler, which is its response. Boxed because a response is large.
pub(crate) struct ErrorResponse(Box<Response>);

/// The result of a handler that returns errors with `?`.
pub(crate) type HandlerResult = Result<Response, ErrorResponse>;

impl From<Response> for ErrorResponse {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The error object of the auth server and of the API, with its members in the order of the
/// provider.
pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        message: &'a str,
        r#type: &'a str,
        param: (),
        code: &'a str,
    }
    let error = Error { message, r#type: "invalid_request_error", param: (), code };
    (status, Json(Body { error })).into_response()
}

/// An error of the ChatGPT backend: `{"detail": …}`.
pub(crate) fn detail(status: StatusCode, detail: &str) -> Response {
    json_with(status, &json!({"detail": detail}))
}

/// The error of the ChatGPT backend for an invalid token.
pub(crate) fn detail_code(code: &str, message: &str) -> Response {
    json_with(StatusCode::UNAUTHORIZED, &json!({"detail": {"code": code, "message": message}}))
}

/// A JSON response.
pub(crate) fn json_with(status: StatusCode, body: &Value) -> Response {
    (status, Json(body)).into_response()
}

/// A web page.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = encode_quoted_attribute(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    );
    (status, Html(html)).into_response()
}
