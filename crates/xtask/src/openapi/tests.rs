use serde_json::{Value, json};

use super::{judge, operations::breaking_changes};

/// A document with one operation that has every part that the comparison looks at.
fn document() -> Value {
    json!({
        "paths": {
            "/v1/profiles/{profile}": {
                "parameters": [
                    {"in": "path", "name": "profile", "required": true, "schema": {"type": "string"}},
                    {"in": "query", "name": "min_ttl", "schema": {"type": "integer", "maximum": 300}}
                ],
                "put": {
                    "requestBody": {"content": {"application/json": {
                        "schema": {"$ref": "#/components/schemas/Body"}
                    }}},
                    "responses": {
                        "200": {
                            "headers": {"etag": {"schema": {"type": "string"}}},
                            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}
                        },
                        "404": {"$ref": "#/components/responses/NotFound"}
                    }
                }
            },
            "/v1/status": {"get": {"responses": {"200": {"description": "The status."}}}}
        },
        "components": {
            "responses": {"NotFound": {"description": "No such profile."}},
            "schemas": {
                "Body": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "maxLength": 100},
                        "mode": {"type": "string", "enum": ["auto", "chatgpt"], "default": "auto"},
                        "limit": {"type": ["integer", "null"], "minimum": 1},
                        "target": {"oneOf": [
                            {"$ref": "#/components/schemas/Directory"},
                            {"type": "object", "properties": {"kind": {"const": "socket"}}}
                        ]}
                    }
                },
                "Directory": {"type": "object", "properties": {"kind": {"const": "directory"}}},
                "Answer": {
                    "allOf": [
                        {"$ref": "#/components/schemas/Base"},
                        {
                            "type": "object",
                            "required": ["state"],
                            "properties": {
                                "state": {"type": "string", "enum": ["valid", "expired"]},
                                "pair": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "string"}]},
                                "child": {"oneOf": [{"type": "string"}, {"$ref": "#/components/schemas/Answer"}]}
                            }
                        }
                    ]
                },
                "Base": {
                    "type": "object",
                    "required": ["id"],
                    "properties": {
                        "id": {"type": "string", "format": "uuid"},
                        "times": {"type": "array", "items": {"type": "integer"}}
                    }
                }
            }
        }
    })
}

const OPERATION: &str = "/paths/~1v1~1profiles~1{profile}/put";
const PARAMETERS: &str = "/paths/~1v1~1profiles~1{profile}/parameters";
const BODY: &str = "/components/schemas/Body";
const ANSWER: &str = "/components/schemas/Answer/allOf/1";
const BASE: &str = "/components/schemas/Base";

/// The breaking changes after a member of the document gets another value; `null` removes it.
fn after(place: &str, member: &str, value: Value) -> Vec<String> {
    let mut new = document();
    let target = new.pointer_mut(place).expect(place);
    match target {
        Value::Array(list) if member == "-" => list.push(value),
        Value::Array(list) => list[member.parse::<usize>().unwrap()] = value,
        _ if value.is_null() => drop(target.as_object_mut().unwrap().remove(member).expect(member)),
        _ => target[member] = value,
    }
    breaking_changes(&document(), &new)
}

#[track_caller]
fn breaks(place: &str, member: &str, value: Value, change: &str) {
    let changes = after(place, member, value);
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!(changes[0].ends_with(change), "{changes:?}");
}

#[track_caller]
fn breaks_nothing(place: &str, member: &str, value: Value) {
    assert_eq!(after(place, member, value), [""; 0]);
}

#[test]
fn equal_documents_have_no_breaking_change() {
    assert_eq!(breaking_changes(&document(), &document()), [""; 0]);
}

#[test]
fn removed_path_or_method_breaks() {
    breaks("/paths", "/v1/status", Value::Null, "/v1/status: path removed");
    let status = "/paths/~1v1~1status";
    breaks(status, "get", Value::Null, "GET /v1/status: method removed");
    breaks_nothing("/paths", "/v1/new", json!({"get": {"responses": {}}}));
}

#[test]
fn path_parameter_can_get_another_name() {
    let (old, text) = (document(), document().to_string());
    let new = serde_json::from_str(&text.replace("{profile}", "{name}")).unwrap();
    assert_eq!(breaking_changes(&old, &new), [""; 0]);
}

#[test]
fn parameter_that_is_removed_or_required_breaks() {
    let other = json!({"in": "query", "name": "other", "schema": {"type": "string"}});
    breaks(PARAMETERS, "1", other.clone(), "query parameter min_ttl: removed");
    breaks_nothing(PARAMETERS, "-", other);
    let required = json!({"in": "query", "name": "other", "required": true, "schema": {}});
    breaks(PARAMETERS, "-", required, "query parameter other: required parameter added");
    breaks(&format!("{PARAMETERS}/1"), "required", json!(true), "query parameter min_ttl: required now");
    let schema = format!("{PARAMETERS}/1/schema");
    breaks(&schema, "maximum", json!(200), "maximum is 200 now");
    breaks_nothing(&schema, "maximum", json!(400));
}

#[test]
fn body_that_is_removed_or_required_breaks() {
    breaks(OPERATION, "requestBody", Value::Null, "request: body removed");
    let body = format!("{OPERATION}/requestBody");
    breaks(&body, "required", json!(true), "body required now");
    breaks(&format!("{body}/content"), "application/json", Value::Null, "application/json: removed");
    let get = "/paths/~1v1~1status/get";
    breaks(get, "requestBody", json!({"required": true, "content": {}}), "required body added");
    breaks_nothing(get, "requestBody", json!({"content": {}}));
}

#[test]
fn property_of_a_request_that_is_removed_or_required_breaks() {
    let properties = format!("{BODY}/properties");
    breaks(&properties, "limit", Value::Null, "request: limit: removed");
    breaks(BODY, "required", json!(["name", "mode"]), "request: mode: required now");
    breaks_nothing(BODY, "required", json!([]));
    breaks_nothing(&properties, "other", json!({"type": "string"}));
    breaks_nothing(BODY, "additionalProperties", Value::Null);
}

#[test]
fn unknown_properties_that_are_refused_break() {
    let mut old = document();
    old.pointer_mut(BODY).unwrap()["additionalProperties"] = json!(true);
    let changes = breaking_changes(&old, &document());
    assert_eq!(changes, ["PUT /v1/profiles/{profile}: request: unknown properties refused now"]);
}

#[test]
fn value_of_a_request_that_is_refused_breaks() {
    let property = |name: &str| format!("{BODY}/properties/{name}");
    breaks(&property("limit"), "type", json!("integer"), "type null no longer accepted");
    breaks(&property("limit"), "minimum", json!(2), "minimum is 2 now");
    breaks(&property("name"), "maxLength", json!(99), "maxLength is 99 now");
    breaks(&property("name"), "pattern", json!("^a"), "pattern changed");
    breaks(&property("name"), "enum", json!(["a"]), "only some values accepted now");
    breaks(&property("mode"), "enum", json!(["auto"]), "value \"chatgpt\" removed");
    breaks(&property("mode"), "default", json!("chatgpt"), "default changed");
    breaks(&property("mode"), "default", Value::Null, "default changed");
    breaks_nothing(&property("mode"), "enum", json!(["auto", "chatgpt", "api_key"]));
    breaks_nothing(&property("limit"), "type", json!(["number", "null", "string"]));
    breaks_nothing(&property("limit"), "minimum", Value::Null);
}

#[test]
fn variant_of_a_request_that_is_removed_breaks() {
    let variants = format!("{BODY}/properties/target/oneOf");
    let directory = json!({"$ref": "#/components/schemas/Directory"});
    breaks(&variants, "1", directory, "target: variant \"socket\": removed or narrowed");
    breaks_nothing(&variants, "-", json!({"type": "string"}));
    let socket = json!({"type": "object", "required": ["path"], "properties": {"kind": {"const": "socket"}}});
    breaks(&variants, "1", socket, "target: variant \"socket\": path: required now");
}

#[test]
fn response_that_lacks_a_part_breaks() {
    let responses = format!("{OPERATION}/responses");
    breaks(&responses, "200", Value::Null, "response 200: removed");
    breaks_nothing(&responses, "404", Value::Null);
    breaks_nothing(&responses, "409", json!({"description": "Conflict."}));
    breaks(&format!("{responses}/200/headers"), "etag", Value::Null, "header etag: removed");
    breaks(&format!("{responses}/200/content"), "application/json", Value::Null, "application/json: removed");
}

#[test]
fn property_of_a_response_that_is_removed_or_optional_breaks() {
    breaks(&format!("{BASE}/properties"), "times", Value::Null, "response 200: times: removed");
    breaks(BASE, "required", json!([]), "response 200: id: optional now");
    breaks(ANSWER, "required", json!([]), "response 200: state: optional now");
    breaks_nothing(BASE, "required", json!(["id", "times"]));
    breaks_nothing(&format!("{BASE}/properties"), "other", json!({"type": "string"}));
}

#[test]
fn value_of_a_response_with_another_type_breaks() {
    let id = format!("{BASE}/properties/id");
    breaks(&id, "type", json!(["string", "null"]), "id: type null added");
    breaks(&id, "format", json!("date"), "id: format uuid became date");
    breaks(&format!("{BASE}/properties/times/items"), "type", json!("number"), "times[]: type number added");
    breaks(&format!("{BASE}/properties"), "id", json!({}), "id: type any added");
    let pair = format!("{ANSWER}/properties/pair/prefixItems");
    breaks(&pair, "1", json!({"type": "integer"}), "pair[1]: type integer added");
    breaks(&pair, "-", json!({"type": "string"}), "pair: number of elements changed");
    breaks(
        &format!("{ANSWER}/properties/child/oneOf"),
        "-",
        json!({"type": "null"}),
        "variant null: added or changed",
    );
    breaks_nothing(&format!("{ANSWER}/properties/state"), "enum", json!(["valid", "expired", "ended"]));
}

#[test]
fn type_that_becomes_one_of_several_breaks_a_response() {
    let id = json!({"oneOf": [{"type": "null"}, {"type": "string", "format": "uuid"}]});
    breaks(&format!("{BASE}/properties"), "id", id, "id: variant null: added or changed");
}

#[test]
fn change_in_a_recursive_schema_is_reported_once() {
    breaks(&format!("{ANSWER}/properties/state"), "type", json!("integer"), "200: state: type integer added");
}

#[test]
fn only_accepted_changes_pass_and_each_must_exist() {
    let changes = ["GET /a: method removed".to_owned()];
    assert!(judge(&[], &[]).is_ok());
    assert!(judge(&changes, &["GET /a: method removed"]).is_ok());
    assert!(judge(&changes, &[]).unwrap_err().to_string().contains("last release: 1"));
    assert!(judge(&changes, &["GET /a"]).is_err());
    assert!(judge(&[], &["GET /a: method removed"]).unwrap_err().to_string().contains("do not exist"));
}
