//! Strict parsing of request parameters: no unknown, missing, repeated or empty ones.

use std::collections::BTreeMap;

use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use crate::response;

/// Parsed parameters.
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Parses `a=b&c=d`, a query or a form body.
    pub(crate) fn from_form(text: &str) -> Result<Self, String> {
        collect(
            url::form_urlencoded::parse(text.as_bytes()).map(|(k, v)| (k.into_owned(), Ok(v.into_owned()))),
        )
    }

    /// Parses a flat JSON object of strings.
    pub(crate) fn from_json(text: &str) -> Result<Self, String> {
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err("the body is not a JSON object".into());
        };
        collect(object.into_iter().map(|(name, value)| match value {
            Value::String(text) => (name, Ok(text)),
            other => (name.clone(), Err(format!("{name} must be a string, not {other}"))),
        }))
    }

    /// Parses a body by its content type, which must be a form or JSON.
    pub(crate) fn from_body(headers: &HeaderMap, text: &str) -> Result<Self, String> {
        match content_type(headers) {
            "application/x-www-form-urlencoded" => Self::from_form(text),
            "application/json" => Self::from_json(text),
            other => Err(format!("unsupported content type {other:?}")),
        }
    }

    /// Requires all names of `required`, allows those of `optional`, and rejects others.
    pub(crate) fn exactly(self, required: &[&str], optional: &[&str]) -> Result<Self, String> {
        if let Some(missing) = required.iter().find(|name| self.get(name).is_empty()) {
            return Err(format!("missing required parameter: {missing}"));
        }
        let known = |name: &str| required.contains(&name) || optional.contains(&name);
        match self.0.keys().find(|name| !known(name)) {
            Some(unknown) => Err(format!("unknown parameter: {unknown}")),
            None => Ok(self),
        }
    }

    /// The value; empty if the parameter was not sent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// The media type of a body, without its parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim()
}

/// The response to a request with invalid parameters.
pub(crate) fn invalid_request(reason: &str) -> Response {
    response::error(StatusCode::BAD_REQUEST, "invalid_request", reason)
}

fn collect(pairs: impl Iterator<Item = (String, Result<String, String>)>) -> Result<Params, String> {
    let mut params = BTreeMap::new();
    for (name, value) in pairs {
        if params.insert(name.clone(), value?).is_some() {
            return Err(format!("duplicate parameter: {name}"));
        }
    }
    Ok(Params(params))
}
