//! The document that `docs/openapi.json` is, and whether it says everything.

use std::{collections::BTreeSet, fs, path::Path};

use authd_api::{openapi, route};
use serde_json::Value;

#[test]
fn the_file_is_what_the_types_and_the_table_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = serde_json::to_string_pretty(&openapi::document()).unwrap() + "\n";
    if std::env::var_os("AUTHD_WRITE_OPENAPI").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "docs/openapi.json is out of date: AUTHD_WRITE_OPENAPI=1 writes it anew"
    );
}

#[test]
fn every_route_is_in_it_and_nothing_else() {
    let document = openapi::document();
    let documented: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    let known: Vec<String> = route::ALL.map(|path| path.replace("{*", "{")).into();
    assert_eq!(documented, known.iter().map(String::as_str).collect());
}

#[test]
fn every_reference_leads_somewhere_and_every_operation_has_its_own_name() {
    let document = openapi::document();
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
fn whatever_is_asked_and_answered_has_an_example() {
    let document = openapi::document();
    let answers = document["components"]["responses"].as_object().unwrap();
    let mut described: Vec<(String, &Value)> =
        answers.iter().map(|(name, answer)| (name.clone(), answer)).collect();
    let fields = document["paths"].as_object().unwrap().values().filter_map(Value::as_object).flatten();
    for (_, operation) in fields.filter(|(name, _)| *name != "parameters") {
        let id = operation["operationId"].as_str().unwrap();
        described.extend(operation.get("requestBody").map(|body| (format!("{id}, asked"), body)));
        let answers = operation["responses"].as_object().unwrap().iter();
        described.extend(answers.map(|(status, answer)| (format!("{id}, {status}"), answer)));
    }
    for (name, described) in described {
        for (media, content) in described.get("content").and_then(Value::as_object).into_iter().flatten() {
            let one = content.get("example").is_some();
            let some = content.get("examples").and_then(Value::as_object).is_some_and(|all| !all.is_empty());
            assert!(one || some, "{name} has no example as {media}: {content}");
        }
    }
}

fn visit(value: &Value, seen: &mut impl FnMut(&Value)) {
    seen(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| visit(item, seen)),
        Value::Object(fields) => fields.values().for_each(|field| visit(field, seen)),
        _ => {}
    }
}
