//! The parts that the table of routes is written in.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

use super::examples::Example;
use crate::ErrorCode;

/// A method of a route.
pub(super) struct Operation {
    pub(super) path: &'static str,
    pub(super) method: &'static str,
    pub(super) id: String,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    /// What the summary leaves open.
    pub(super) about: &'static str,
    pub(super) query: &'static [Query],
    /// Whether it knows `If-None-Match`.
    pub(super) conditional: bool,
    pub(super) body: Body,
    pub(super) successes: Vec<Success>,
    /// The codes it refuses with, besides those that every request can meet.
    pub(super) refusals: &'static [&'static [ErrorCode]],
}

/// A parameter in the query.
pub(super) struct Query {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) schema: fn() -> Value,
    pub(super) example: fn() -> Value,
}

/// What a request brings.
pub(super) enum Body {
    None,
    /// A message; where all its fields are optional, so is it.
    Json(Message, bool),
    /// What the upstream wants, and an example.
    Any(fn() -> Value),
}

/// An answer that is none of the refusals.
pub(super) struct Success {
    /// The status, or `default`.
    pub(super) status: &'static str,
    pub(super) about: &'static str,
    pub(super) headers: &'static [&'static str],
    pub(super) content: Content,
}

/// What an answer brings.
pub(super) enum Content {
    None,
    Json(Message),
    /// A JSON object that is described elsewhere, and an example.
    Object(fn() -> Value),
    /// Server-sent events, of which OpenAPI 3.1 cannot say what is in one; and an example.
    Events(&'static str),
    /// Text, with its media type and an example.
    Text(&'static str, &'static str),
    /// The upstream's, and an example.
    Any(&'static str),
}

/// A message of the contract: its schema, and an example.
pub(super) struct Message {
    pub(super) schema: fn(&mut SchemaGenerator) -> Schema,
    pub(super) example: fn() -> Value,
}

impl Message {
    pub(super) const fn of<T: Example + JsonSchema>() -> Self {
        Self { schema: |generator| generator.subschema_for::<T>(), example: T::example }
    }
}

impl Success {
    pub(super) fn new(status: &'static str, about: &'static str, content: Content) -> Self {
        Self { status, about, headers: &[], content }
    }

    /// The same with these headers, besides those that every answer has.
    pub(super) fn headers(self, headers: &'static [&'static str]) -> Self {
        Self { headers, ..self }
    }
}

impl Operation {
    pub(super) fn new(
        method: &'static str,
        path: &'static str,
        id: &str,
        tag: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            path,
            method,
            id: id.to_owned(),
            tag,
            summary,
            about: "",
            query: &[],
            conditional: false,
            body: Body::None,
            successes: Vec::new(),
            refusals: &[],
        }
    }
}
