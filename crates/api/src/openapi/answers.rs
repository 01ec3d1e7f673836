//! What an operation can answer: its successes as the table has them, its refusals from the codes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    Schemas,
    shape::{Content, Operation, Success},
};
use crate::{ErrorCode, PROBLEM_TYPE, Problem, REQUEST_HEADER, VERSION_HEADER};

/// What every request can be refused with, before its route is looked at.
const ALWAYS: [ErrorCode; 2] = [ErrorCode::Forbidden, ErrorCode::TooManyRequests];

/// The answers that operations share, each written once.
#[derive(Default)]
pub(super) struct Answers {
    shared: BTreeMap<String, Value>,
}

impl Answers {
    /// The `responses` of an operation.
    pub(super) fn of(&mut self, operation: &Operation, schemas: &mut Schemas) -> Value {
        let mut all = Map::new();
        for success in &operation.successes {
            all.insert(success.status.to_owned(), answer(success, schemas));
        }
        let codes = codes(operation);
        // What a relay answers is the upstream's word: a status does not tell whose it is.
        if let Some(mut answer) = all.remove("default") {
            let words: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
            let about = answer["description"].as_str().unwrap_or_default();
            answer["description"] = format!("{about} Its codes: {}.", words.join(", ")).into();
            answer["content"][PROBLEM_TYPE] = problem(schemas.sent::<Problem>().as_value(), &codes);
            all.insert("default".to_owned(), self.share("upstream".to_owned(), || answer));
            return all.into();
        }
        let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
        for code in codes {
            by_status.entry(code.status().as_u16()).or_default().push(code);
        }
        for (status, codes) in by_status {
            all.insert(status.to_string(), self.refusal(&codes));
        }
        all.into()
    }

    /// A reference to the refusal with one of these codes.
    fn refusal(&mut self, codes: &[ErrorCode]) -> Value {
        let name = codes.iter().map(|code| code.as_str()).collect::<Vec<_>>().join("-or-");
        self.share(name, || refusal(codes))
    }

    /// A reference to the answer of this name, which is written if it is not there yet.
    fn share(&mut self, name: String, answer: impl FnOnce() -> Value) -> Value {
        let reference = json!({"$ref": format!("#/components/responses/{name}")});
        self.shared.entry(name).or_insert_with(answer);
        reference
    }

    pub(super) fn into_components(self) -> BTreeMap<String, Value> {
        self.shared
    }
}

/// The codes that an operation can refuse with, in the order of the contract.
fn codes(operation: &Operation) -> Vec<ErrorCode> {
    let own = operation.refusals.iter().copied().flatten();
    let mine: Vec<_> = own.chain(&ALWAYS).collect();
    ErrorCode::ALL.into_iter().filter(|code| mine.contains(&code)).collect()
}

fn answer(success: &Success, schemas: &mut Schemas) -> Value {
    let mut headers = Map::new();
    for name in success.headers.iter().copied().chain([VERSION_HEADER]) {
        headers.insert(name.to_owned(), header(name));
    }
    let mut answer = json!({"description": success.about, "headers": headers});
    match &success.content {
        Content::None => {}
        Content::Json(message) => {
            let schema = schemas.answered(message);
            answer["content"] =
                json!({"application/json": {"schema": schema, "example": (message.example)()}});
        }
        Content::Events(example) => {
            answer["content"] = json!({"text/event-stream": {"example": example}});
        }
        Content::Text(media, example) => {
            answer["content"] = json!({*media: {"schema": {"type": "string"}, "example": example}});
        }
        Content::Any(example) => {
            answer["content"] = json!({"*/*": {"schema": {}, "example": example}});
        }
        Content::Object(example) => {
            answer["content"] =
                json!({"application/json": {"schema": {"type": "object"}, "example": example()}});
        }
    }
    answer
}

fn refusal(codes: &[ErrorCode]) -> Value {
    let status = codes[0].status().as_u16();
    let words: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
    let titles: Vec<_> = codes.iter().map(|code| format!("{} (`{}`)", code.title(), code.as_str())).collect();
    let schema = json!({
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {"code": {"enum": words}, "status": {"const": status}}},
        ],
    });
    let mut headers = json!({VERSION_HEADER: header(VERSION_HEADER), REQUEST_HEADER: header(REQUEST_HEADER)});
    if matches!(status, 429 | 503) {
        headers["retry-after"] = header("retry-after");
    }
    json!({
        "description": titles.join("; "),
        "headers": headers,
        "content": {PROBLEM_TYPE: problem(&schema, codes)},
    })
}

/// A problem with one of these codes, and an example of each, whatever happened.
fn problem(schema: &Value, codes: &[ErrorCode]) -> Value {
    let example = |code: &ErrorCode| json!({"value": Problem::new(*code, code.title().to_lowercase())});
    let examples: Map<_, _> = codes.iter().map(|code| (code.as_str().to_owned(), example(code))).collect();
    json!({"schema": schema, "examples": examples})
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}
