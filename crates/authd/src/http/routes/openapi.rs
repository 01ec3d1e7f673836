//! The OpenAPI document. The handlers' attributes and the messages' schemas describe most of it.
//! This module adds the error responses, headers and examples that the operations share, and the
//! schema keywords that utoipa lacks. A test compares the document with docs/openapi.json, which
//! the daemon serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use authd_api::{
    CodexHomes, ErrorCode, LoginFile, PROBLEM_TYPE, Problem, RENEWED_HEADER, REQUEST_HEADER, RelayProblem,
    VERSION_HEADER, route,
};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use self::examples::example;
use super::{
    audit, codex, credentials, logins, own_credentials, profiles, providers, relay, shares, status, store,
};
use crate::http::event_stream;

mod examples;
pub(super) mod responses;

const DESCRIPTION: &str = "\
authd owns the OAuth logins of one user on this machine, and gives local programs ready-to-use headers. \
It speaks HTTP/1.1 on a Unix stream socket (`$AUTHD_SOCKET`, else `$XDG_RUNTIME_DIR/authd/authd.sock`), so \
any HTTP library is a client:\n\n\
\x20   curl --unix-socket \"$XDG_RUNTIME_DIR/authd/authd.sock\" http://authd/v1/profiles/-/headers\n\n\
The request's `Host` is `authd` or `localhost`. A request with `Origin`, `Referer` or \
`Sec-Fetch-Site`, or from another user, is refused. Unknown fields in a request are refused. Clients ignore unknown fields and unknown enumeration \
values in a response, because the API grows. Every route with `GET` also has `HEAD`. A method that the route \
does not have gets 405 with `Allow`, an unknown path gets 404, both with a Problem. Status 500 (code \
`internal`) is a bug, so no operation lists it.";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "authd",
        description = DESCRIPTION,
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "http://authd", description = "the Unix socket")),
    tags(
        (name = "daemon", description = "The state of the daemon."),
        (name = "logins", description = "Signing a user in."),
        (name = "profiles", description = "The signed-in identities."),
        (name = "credentials", description = "Ready headers, and requests that need none."),
        (name = "sharing", description = "Logins shared with other programs."),
        (name = "shares", description = "Restricted doors to one profile, for containers, remote shells and SDKs."),
        (name = "providers", description = "OAuth and OpenID Connect providers, and what each offers."),
        (name = "store", description = "The credential store."),
    ),
    paths(
        status::status, status::diagnosis, status::metrics, status::openapi, audit::read,
        event_stream::events,
        logins::list, logins::start, logins::get, logins::callback, logins::cancel,
        profiles::list, profiles::get, profiles::quota, profiles::patch, profiles::delete,
        credentials::headers, credentials::refresh, own_credentials::put_api_key, own_credentials::put_token,
        codex::import, codex::export, codex::list, codex::install, codex::uninstall,
        shares::list, shares::create, shares::end, shares::hold, providers::list, providers::put,
        providers::delete, providers::check, store::migrate, store::rekey,
        relay::to_base, relay::to_model, relay::to_backend,
    ),
    components(schemas(CodexHomes, LoginFile, RelayProblem)),
)]
struct Document;

/// Errors of every operation, which the daemon detects before it looks at the route.
const COMMON_ERRORS: [ErrorCode; 2] = [ErrorCode::Forbidden, ErrorCode::TooManyRequests];

/// An `ETag` of headers.
pub(super) const ETAG: &str = "\"work/Zq3bV1x0QzGm5T2e/7\"";

fn document() -> Value {
    let text = serde_json::to_string(&Document::openapi()).unwrap();
    // The descriptions come from rustdoc, which has links to types.
    let mut document: Value = serde_json::from_str(&text.replace("[`", "`").replace("`]", "`")).unwrap();
    document["openapi"] = "3.1.1".into();
    document["info"]["summary"] = "ready-to-use headers for every local program".into();
    let mut schemas = document["components"]["schemas"].take();
    complete_schema(&mut schemas);
    schemas["MigrateBody"]["properties"]["to"]["enum"] = json!(["keychain", "file", "postgres"]);
    schemas["ProfilePatch"]["properties"]["default"]["enum"] = json!([true, null]);
    schemas["ProfilePatch"]["anyOf"] = ["default", "name"]
        .map(|name| json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}}))
        .into_iter()
        .collect();
    let mut responses = Map::new();
    let mut paths = Map::new();
    for (path, item) in document["paths"].as_object_mut().unwrap() {
        for (method, operation) in item.as_object_mut().unwrap() {
            complete_operation(method, operation, &schemas, &mut responses);
        }
        let parameters = path_parameters(path);
        if !parameters.is_empty() {
            item["parameters"] = parameters.into();
        }
        // OpenAPI has no syntax for a parameter of several segments.
        paths.insert(path.replace("{*", "{"), item.take());
    }
    document["paths"] = paths.into();
    document["components"] = json!({"schemas": schemas, "responses": responses, "headers": headers()});
    document
}

/// Adds keywords to a schema and to those inside it.
fn complete_schema(schema: &mut Value) {
    let fields = match schema {
        Value::Array(items) => return items.iter_mut().for_each(complete_schema),
        Value::Object(fields) => fields,
        _ => return,
    };
    fields.values_mut().for_each(complete_schema);
    // The clients' own values, which the daemon never sends.
    if let Some(Value::Array(values)) = fields.get_mut("enum") {
        let own = ["unknown", ErrorCode::NoDaemon.as_str(), ErrorCode::NoServiceManager.as_str()];
        values.retain(|value| own.iter().all(|own| value != own));
    }
    if let Some(count) = fields.get("prefixItems").and_then(Value::as_array).map(Vec::len) {
        fields.extend(["minItems", "maxItems"].map(|name| (name.to_owned(), count.into())));
        fields.remove("items");
    }
    // A format alone does not bound a number. utoipa misspells the formats, and has none for
    // `usize`.
    let (format, maximum) = match fields.get("format").and_then(Value::as_str) {
        Some("u-int64") => ("uint64", u64::MAX),
        Some("u-int32") => ("uint32", u32::MAX.into()),
        Some("u-int16") => ("uint16", u16::MAX.into()),
        None if fields.contains_key("minimum") => ("uint", u64::MAX),
        _ => return,
    };
    fields.insert("format".to_owned(), format.into());
    fields.entry("maximum").or_insert(maximum.into());
}

/// Adds the errors, headers and examples to an operation.
fn complete_operation(method: &str, operation: &mut Value, schemas: &Value, shared: &mut Map<String, Value>) {
    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
        let schema = &mut parameter["schema"];
        complete_schema(schema);
        schema.as_object_mut().unwrap().remove("format");
        // An optional parameter is absent, not null.
        if schema["type"].is_array() {
            schema["type"] = schema["type"][0].take();
        }
    }
    let body = operation.pointer_mut("/requestBody/content/application~1json");
    if let Some(schema) = body.and_then(|content| add_example(content, schemas)) {
        // An empty body counts as `{}`.
        operation["requestBody"]["required"] =
            (schema.get("required").or(schema.get("anyOf")).is_some()).into();
    }
    let mut responses = operation["responses"].take();
    let responses = responses.as_object_mut().unwrap();
    let has_error =
        |code: &ErrorCode| responses.remove(code.as_str()).is_some() || COMMON_ERRORS.contains(code);
    let codes: Vec<ErrorCode> = ErrorCode::ALL.into_iter().filter(has_error).collect();
    for response in responses.values_mut().filter(|response| response.get("$ref").is_none()) {
        let names = response["headers"].as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        response["headers"] = header_references(names.chain([VERSION_HEADER]));
        if let Some(content) = response.pointer_mut("/content/application~1json") {
            add_example(content, schemas);
        }
    }
    if responses.contains_key("default") {
        complete_relay(method, operation, responses);
        shared.insert("upstream".to_owned(), upstream_response(&codes));
    } else {
        let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
        for code in codes {
            by_status.entry(code.status().as_u16()).or_default().push(code);
        }
        for (status, codes) in by_status {
            let name = codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join("-or-");
            responses.insert(status.to_string(), json!({"$ref": format!("#/components/responses/{name}")}));
            shared.insert(name, error_response(&codes));
        }
    }
    operation["responses"] = responses.clone().into();
}

/// Adds the parts of a relay that depend on the method.
fn complete_relay(method: &str, operation: &mut Value, responses: &mut Map<String, Value>) {
    operation["operationId"] = format!("{}_{method}", operation["operationId"].as_str().unwrap()).into();
    if method == "get" {
        let description = "The upstream accepted the requested upgrade: a WebSocket.";
        let headers = header_references([VERSION_HEADER]);
        responses.insert("101".to_owned(), json!({"description": description, "headers": headers}));
    }
    if !matches!(method, "get" | "head") {
        let message = json!({"type": "message", "role": "user",
            "content": [{"type": "input_text", "text": "What is 2+2?"}]});
        let example = json!({"model": "gpt-5.5", "instructions": "Be brief.", "store": false, "stream": true,
            "input": [message]});
        operation["requestBody"] = json!({
            "description": "Whatever the upstream accepts, of any length; it is streamed.",
            "content": {"*/*": {"schema": {}, "example": example}},
        });
    }
}

fn upstream_response(codes: &[ErrorCode]) -> Value {
    let words: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let example = "event: response.output_text.delta\n\
        data: {\"type\":\"response.output_text.delta\",\"delta\":\"2 + 2 = 4\"}\n\n";
    json!({
        "description": format!(
            "The upstream's response. An error of authd itself is a Problem whose `type` begins with \
             `urn:authd:problem:`, and has the same in `error` for SDKs. Its codes: {}.",
            words.join(", ")
        ),
        "headers": header_references([VERSION_HEADER, RENEWED_HEADER]),
        "content": {
            "*/*": {"schema": {}, "example": example},
            PROBLEM_TYPE: {
                "schema": {"$ref": "#/components/schemas/RelayProblem"},
                "examples": problem_examples(codes, |problem| json!(RelayProblem::from(problem))),
            },
        },
    })
}

/// The response with one of these codes, which have the same status.
fn error_response(codes: &[ErrorCode]) -> Value {
    let status = codes[0].status().as_u16();
    let titles: Vec<_> = codes.iter().map(|code| format!("{} (`{}`)", code.title(), code.as_str())).collect();
    let schema = json!({"allOf": [
        {"$ref": "#/components/schemas/Problem"},
        {"properties": {"code": {"enum": codes}, "status": {"const": status}}},
    ]});
    let retry_after = matches!(status, 429 | 503).then_some("retry-after");
    json!({
        "description": titles.join("; "),
        "headers": header_references([VERSION_HEADER, REQUEST_HEADER].into_iter().chain(retry_after)),
        "content": {PROBLEM_TYPE: {
            "schema": schema,
            "examples": problem_examples(codes, |problem| json!(problem)),
        }},
    })
}

/// A problem for each code, in its form in this response.
fn problem_examples(codes: &[ErrorCode], form: impl Fn(Problem) -> Value) -> Map<String, Value> {
    let example = |code: &ErrorCode| json!({"value": form(Problem::new(*code, code.title().to_lowercase()))});
    codes.iter().map(|code| (code.as_str().to_owned(), example(code))).collect()
}

fn header_references<'a>(names: impl IntoIterator<Item = &'a str>) -> Value {
    let reference = |name| (name, json!({"$ref": format!("#/components/headers/{name}")}));
    names.into_iter().map(reference).collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn header(description: &str, required: bool, schema: &Value, example: impl Into<Value>) -> Value {
    json!({"description": description, "required": required, "schema": schema, "example": example.into()})
}

fn headers() -> Value {
    let number = json!({"type": "integer", "minimum": 0});
    let text =
        |description: &str, example: &str| header(description, true, &json!({"type": "string"}), example);
    json!({
        VERSION_HEADER: text("The daemon's version.", env!("CARGO_PKG_VERSION")),
        REQUEST_HEADER: header(
            "The request's number in the daemon's log: at `debug`, and for a 5xx at every level that shows \
             warnings.",
            true, &number, 42),
        RENEWED_HEADER: header(
            "With an upstream's 401: the credential's new generation. The credential was refreshed, but the \
             request's body was no longer buffered. The client repeats the request.",
            false, &number, 8),
        "retry-after": header("Seconds to wait before another try, if known.", false, &number, 1),
        "cache-control": header("The response has a secret in it, or acts for a user.", true,
            &json!({"type": "string", "const": "no-store"}), "no-store"),
        "etag": text("Changes whenever the headers change.", ETAG),
        "location": text("The path of the login or the share.", "/v1/logins/lg_4fJ2cQ8xTz1uVw0K"),
    })
}

fn path_parameters(path: &str) -> Vec<Value> {
    let name = json!({"type": "string", "pattern": "^(-|[a-z0-9][a-z0-9._-]{0,63})$"});
    let text = json!({"type": "string", "minLength": 1});
    let provider = json!({"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,31}$"});
    let rest = "The rest of the URL after the base URL: one or more segments, with their slashes unescaped.";
    [
        ("{profile}", "profile", "A profile's name, or `-` for the default one.", &name, "-"),
        ("{id}", "id", "The id of the login or the share.", &text, "lg_4fJ2cQ8xTz1uVw0K"),
        ("{name}", "name", "The name of the provider.", &provider, "linear"),
        ("{*path}", "path", rest, &text, "responses"),
    ]
    .into_iter()
    .filter(|(placeholder, ..)| path.contains(placeholder))
    .map(|(_, name, description, schema, example)| {
        json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema,
            "example": example})
    })
    .collect()
}

/// Adds the example of the message that a content's schema refers to, and returns that schema.
fn add_example<'a>(content: &mut Value, schemas: &'a Value) -> Option<&'a Value> {
    let name = content["schema"]["$ref"].as_str()?.rsplit('/').next()?.to_owned();
    content["example"] = example(&name);
    schemas.get(&name)
}

#[test]
fn committed_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("AUTHD_WRITE_OPENAPI").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/openapi.json is out of date; to rewrite it, run this test with AUTHD_WRITE_OPENAPI=1"
    );
}

#[test]
fn document_has_every_route_and_no_other() {
    let document = document();
    let documented: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let known: Vec<String> = route::ALL.map(|path| path.replace("{*", "{")).into();
    assert_eq!(documented, known.iter().map(String::as_str).collect());
}

#[test]
fn references_resolve_and_operation_ids_are_unique() {
    let document = document();
    let mut names = BTreeSet::new();
    visit(&document, &mut |value| {
        if let Some(reference) = value["$ref"].as_str() {
            let target = document.pointer(reference.strip_prefix('#').unwrap());
            assert!(target.is_some(), "{reference} leads nowhere");
        }
        if let Some(name) = value["operationId"].as_str() {
            assert!(names.insert(name.to_owned()), "two operations are called {name}");
        }
    });
    assert!(names.len() > route::ALL.len(), "{names:?}");
}

#[test]
fn every_body_has_an_example() {
    let mut contents = 0;
    visit(&document(), &mut |value| {
        for (media, content) in value["content"].as_object().into_iter().flatten() {
            let has_examples = content["examples"].as_object().is_some_and(|examples| !examples.is_empty());
            assert!(content.get("example").is_some() || has_examples, "{media} without example: {value}");
            contents += 1;
        }
    });
    assert!(contents > route::ALL.len(), "{contents}");
}

fn visit(value: &Value, visitor: &mut impl FnMut(&Value)) {
    visitor(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, visitor)),
        Value::Object(fields) => fields.values().for_each(|field| visit(field, visitor)),
        _ => {}
    }
}
