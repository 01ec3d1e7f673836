//! The contract as an OpenAPI document, made of the messages' own types and one table of all routes.
//! It is written to `docs/openapi.json`, where a test keeps it true; the daemon serves that file.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::{Map, Value, json};

pub use self::words::{Lasting, Moment, RootedPath, True, one_at_least};
use self::{
    answers::Answers,
    shape::{Body, Message, Operation, Query},
};
use crate::{Problem, VERSION_HEADER, route};

mod answers;
mod examples;
mod shape;
mod table;
mod words;

const ABOUT: &str = "\
authd is the only owner of your OpenAI login on this machine, and answers local programs with ready-to-use \
headers. It speaks HTTP/1.1 on a Unix stream socket (`$AUTHD_SOCKET`, else \
`$XDG_RUNTIME_DIR/authd/authd.sock`), so that any HTTP library is a client:\n\n\
    curl --unix-socket \"$XDG_RUNTIME_DIR/authd/authd.sock\" http://authd/v1/profiles/-/headers\n\n\
The request's `Host` is `authd` or `localhost`; one with `Origin` or `Referer`, or from another user, is \
refused. Unknown fields in a request are refused; in an answer they are to be ignored, and so are unknown \
values of an enumeration, because the contract grows. Where there is `GET` there is `HEAD`. A method that \
a route does not know answers 405 with `Allow`, a path that there is not answers 404, both with a Problem. \
Status 500 (code `internal`) is a bug, and therefore nowhere in here.";

/// The document.
///
/// # Panics
///
/// When the table and the types contradict each other, which the test finds.
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut answers = Answers::default();
    let mut paths: Map<String, Value> = Map::new();
    for operation in table::all() {
        let described = described(&operation, &mut schemas, &mut answers);
        let path = paths.entry(shown(operation.path)).or_insert_with(|| path_item(operation.path));
        path[operation.method] = described;
    }
    // Every problem has the same form; the answers say which codes it may have.
    schemas.sent::<Problem>();
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "authd",
            "summary": "ready-to-use headers for every local program",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": format!("http://{}", route::HOST), "description": "the Unix socket"}],
        "tags": table::TAGS.map(|(name, description)| json!({"name": name, "description": description})),
        "paths": paths,
        "components": {
            "schemas": schemas.into_definitions(),
            "responses": answers.into_components(),
            "headers": headers(),
        },
    })
}

/// One operation, as the document has it.
fn described(operation: &Operation, schemas: &mut Schemas, answers: &mut Answers) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "responses": answers.of(operation, schemas),
    });
    if !operation.about.is_empty() {
        described["description"] = operation.about.into();
    }
    let mut parameters: Vec<Value> = operation.query.iter().map(query).collect();
    parameters.extend(operation.conditional.then(|| {
        json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "The `ETag` of the headers that the client has: 304 if they are still the same.",
            "schema": {"type": "string"},
            "example": ETAG,
        })
    }));
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    match &operation.body {
        Body::None => {}
        Body::Json(message, required) => {
            let schema = schemas.asked(message);
            let content = json!({"application/json": {"schema": schema, "example": (message.example)()}});
            described["requestBody"] = json!({"required": required, "content": content});
        }
        Body::Any(example) => {
            described["requestBody"] = json!({
                "description": "Whatever the upstream wants, of any length; it is streamed.",
                "content": {"*/*": {"schema": {}, "example": example()}},
            });
        }
    }
    described
}

fn query(query: &Query) -> Value {
    let Query { name, about, schema, example } = query;
    json!({
        "name": name,
        "in": "query",
        "description": about,
        "schema": schema(),
        "example": example(),
    })
}

/// A path's parameters, which all its methods share.
fn path_item(path: &str) -> Value {
    let parameter = |name: &str, about: &str, schema: Value, example: &str| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "description": about,
            "schema": schema,
            "example": example,
        })
    };
    let mut parameters = Vec::new();
    if path.contains("{profile}") {
        let about = "A profile's name, or `-` for the default one.";
        let schema = json!({"type": "string", "pattern": "^(-|[a-z0-9][a-z0-9._-]{0,63})$"});
        parameters.push(parameter("profile", about, schema, "-"));
    }
    if path.contains("{id}") {
        let schema = json!({"type": "string", "minLength": 1});
        parameters.push(parameter("id", "A login's id.", schema, "lg_4fJ2cQ8xTz1uVw0K"));
    }
    if path.contains("{*path}") {
        let about = "What follows the base URL: one segment or more, with their slashes as they are.";
        parameters.push(parameter("path", about, json!({"type": "string", "minLength": 1}), "responses"));
    }
    if parameters.is_empty() { json!({}) } else { json!({"parameters": parameters}) }
}

/// A route's path as OpenAPI writes it, which has no word for a rest of several segments.
fn shown(path: &str) -> String {
    path.replace("{*", "{")
}

/// A tag as the headers have one.
const ETAG: &str = "\"7-1f0c6b9d2e83a457\"";

/// The headers that the answers refer to.
fn headers() -> Value {
    let header = |about: &str, required: bool, schema: Value, example: Value| json!({"description": about, "required": required, "schema": schema, "example": example});
    let text = || json!({"type": "string"});
    json!({
        VERSION_HEADER: header("The daemon's version.", true, text(), env!("CARGO_PKG_VERSION").into()),
        crate::REQUEST_HEADER: header(
            "The number by which the daemon's log names this request: at `debug`, and a 5xx at every level that shows warnings.",
            true,
            json!({"type": "integer", "minimum": 0}),
            42.into(),
        ),
        crate::RENEWED_HEADER: header(
            "With an upstream's 401: the credential's new generation. It was renewed, but the request's body was \
             not at hand to be sent again; whoever sends the request again is served.",
            false,
            json!({"type": "integer", "minimum": 0}),
            8.into(),
        ),
        "retry-after": header(
            "Seconds after which trying again makes sense, where that can be said.",
            false,
            json!({"type": "integer", "minimum": 0}),
            1.into(),
        ),
        "cache-control": header(
            "The answer has a secret in it, or acts for a person.",
            true,
            json!({"type": "string", "const": "no-store"}),
            "no-store".into(),
        ),
        "etag": header("Another one whenever the headers are others.", true, text(), ETAG.into()),
        "location": header("Where the login is to be asked for.", true, text(), "/v1/logins/lg_4fJ2cQ8xTz1uVw0K".into()),
    })
}

/// The schemas that the operations refer to, those of requests and those of answers.
struct Schemas {
    asked: SchemaGenerator,
    sent: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12()
                .with(|settings| {
                    settings.definitions_path = "/components/schemas".into();
                    settings.meta_schema = None;
                })
                .with_transform(RecursiveTransform(plain_and_bounded))
        };
        Self {
            asked: settings().for_deserialize().into_generator(),
            sent: settings().for_serialize().into_generator(),
        }
    }

    fn asked(&mut self, message: &Message) -> Schema {
        (message.schema)(&mut self.asked)
    }

    fn answered(&mut self, message: &Message) -> Schema {
        (message.schema)(&mut self.sent)
    }

    fn sent<T: schemars::JsonSchema>(&mut self) -> Schema {
        self.sent.subschema_for::<T>()
    }

    fn into_definitions(mut self) -> BTreeMap<String, Value> {
        let mut all: BTreeMap<String, Value> = self.sent.take_definitions(true).into_iter().collect();
        for (name, schema) in self.asked.take_definitions(true) {
            let other = all.insert(name.clone(), schema.clone());
            assert!(
                other.is_none_or(|other| other == schema),
                "{name} is another thing in a request than in an answer"
            );
        }
        all
    }
}

/// Makes of rustdoc's links plain names, and says of every whole number what its type says of it:
/// OpenAPI's formats bind nobody.
fn plain_and_bounded(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace("[`", "`").replace("`]", "`");
    }
    let most = match schema.get("format").and_then(Value::as_str) {
        Some("uint64" | "uint") => json!(u64::MAX),
        Some("uint32") => json!(u32::MAX),
        Some("uint16") => json!(u16::MAX),
        _ => return,
    };
    schema.insert("maximum".to_owned(), most);
}
