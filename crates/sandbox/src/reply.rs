//! The shapes of the provider's answers: errors of the API, details of the ChatGPT backend, pages for people.
//! Which answer is given when is decided elsewhere.

use axum::{
    Json,
    response::{Html, IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

/// An answer that ends a handler early, with `?`. Boxed, since an answer is large and a refusal is rare.
pub(crate) struct Refusal(Box<Response>);

/// What a handler returns that refuses with `?`.
pub(crate) type Answer = Result<Response, Refusal>;

impl From<Response> for Refusal {
    fn from(response: Response) -> Self {
        Self(Box::new(response))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        *self.0
    }
}

/// The error object of the auth server and of the API, its members in the provider's order.
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

/// The ChatGPT backend's short refusal: `{"detail": …}`.
pub(crate) fn detail(status: StatusCode, detail: &str) -> Response {
    json_with(status, &json!({"detail": detail}))
}

/// The ChatGPT backend's refusal of a token.
pub(crate) fn detail_code(code: &str, message: &str) -> Response {
    json_with(StatusCode::UNAUTHORIZED, &json!({"detail": {"code": code, "message": message}}))
}

/// Any JSON with any status.
pub(crate) fn json_with(status: StatusCode, body: &Value) -> Response {
    (status, Json(body)).into_response()
}

/// A small page for a person.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = escape(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{body}</body></html>"
    );
    (status, Html(html)).into_response()
}

/// Text made safe to stand in HTML, in an attribute too.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}
