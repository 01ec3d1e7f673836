//! The comparison of paths, operations, parameters, bodies and responses.

use std::collections::BTreeMap;

use serde_json::Value;

use super::schema::{Comparison, Direction, resolve};

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The breaking changes from one document to another, in the order of the old document.
pub(super) fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison::new(old, new);
    let new_paths: BTreeMap<_, _> =
        entries(&new["paths"]).map(|(path, item)| (without_names(path), item)).collect();
    for (path, old_item) in entries(&old["paths"]) {
        let Some(new_item) = new_paths.get(&without_names(path)) else {
            comparison.report(path, "path removed");
            continue;
        };
        for method in METHODS {
            let Some(old_operation) = old_item.get(method) else { continue };
            let place = format!("{} {path}", method.to_uppercase());
            let Some(new_operation) = new_item.get(method) else {
                comparison.report(&place, "method removed");
                continue;
            };
            let old_parameters = parameters(old, old_item, old_operation);
            let new_parameters = parameters(new, new_item, new_operation);
            compare_parameters(&mut comparison, &place, &old_parameters, &new_parameters);
            compare_bodies(&mut comparison, &place, old_operation, new_operation);
            compare_responses(
                &mut comparison,
                &place,
                &old_operation["responses"],
                &new_operation["responses"],
            );
        }
    }
    comparison.into_changes()
}

/// The members of an object; none of any other value.
fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// A path in which the parameters have no names, because no client sends these.
fn without_names(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// The parameters of an operation and of its path, by place and name. Those in the path are left
/// out, because the path itself states them.
fn parameters<'a>(document: &'a Value, item: &'a Value, operation: &'a Value) -> BTreeMap<String, &'a Value> {
    let lists = [&item["parameters"], &operation["parameters"]];
    let all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.filter_map(|parameter| {
        let parameter = resolve(document, parameter).1;
        let (place, name) = (parameter["in"].as_str()?, parameter["name"].as_str()?);
        (place != "path").then(|| (format!("{place} parameter {name}"), parameter))
    })
    .collect()
}

fn is_required(value: &Value) -> bool {
    value["required"].as_bool().unwrap_or(false)
}

fn compare_parameters(
    comparison: &mut Comparison<'_>,
    place: &str,
    old: &BTreeMap<String, &Value>,
    new: &BTreeMap<String, &Value>,
) {
    for (name, old_parameter) in old {
        let place = format!("{place}: {name}");
        let Some(new_parameter) = new.get(name) else {
            comparison.report(&place, "removed");
            continue;
        };
        if is_required(new_parameter) && !is_required(old_parameter) {
            comparison.report(&place, "required now");
        }
        comparison.compare(&place, Direction::Request, &old_parameter["schema"], &new_parameter["schema"]);
    }
    for (name, parameter) in new {
        if !old.contains_key(name) && is_required(parameter) {
            comparison.report(&format!("{place}: {name}"), "required parameter added");
        }
    }
}

fn compare_bodies(comparison: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    let place = format!("{place}: request");
    let old_body = old.get("requestBody").map(|body| resolve(comparison.old, body).1);
    let new_body = new.get("requestBody").map(|body| resolve(comparison.new, body).1);
    match (old_body, new_body) {
        (None, Some(body)) if is_required(body) => comparison.report(&place, "required body added"),
        (Some(_), None) => comparison.report(&place, "body removed"),
        (Some(old_body), Some(new_body)) => {
            if is_required(new_body) && !is_required(old_body) {
                comparison.report(&place, "body required now");
            }
            compare_content(comparison, &place, Direction::Request, old_body, new_body);
        }
        _ => {}
    }
}

fn compare_responses(comparison: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    for (status, old_response) in entries(old) {
        let place = format!("{place}: response {status}");
        let Some(new_response) = new.get(status) else {
            // Clients treat every unknown status of an error as the class that it belongs to.
            if status.starts_with(['1', '2', '3']) {
                comparison.report(&place, "removed");
            }
            continue;
        };
        let old_response = resolve(comparison.old, old_response).1;
        let new_response = resolve(comparison.new, new_response).1;
        for (header, _) in entries(&old_response["headers"]) {
            if new_response["headers"].get(header).is_none() {
                comparison.report(&format!("{place}: header {header}"), "removed");
            }
        }
        compare_content(comparison, &place, Direction::Response, old_response, new_response);
    }
}

fn compare_content(
    comparison: &mut Comparison<'_>,
    place: &str,
    direction: Direction,
    old: &Value,
    new: &Value,
) {
    for (media_type, old_media) in entries(&old["content"]) {
        let Some(new_media) = new["content"].get(media_type) else {
            comparison.report(&format!("{place}: {media_type}"), "removed");
            continue;
        };
        comparison.compare(place, direction, &old_media["schema"], &new_media["schema"]);
    }
}
