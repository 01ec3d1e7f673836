//! The comparison of two JSON schemas, with the keywords that the document uses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Lower limits. A request breaks if one rises.
const MINIMA: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
/// Upper limits. A request breaks if one falls.
const MAXIMA: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];

/// The direction of the value: the daemon reads a request, a client a response.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    Request,
    Response,
}

/// A comparison of two documents, and the breaking changes that it has found.
pub(super) struct Comparison<'a> {
    pub(super) old: &'a Value,
    pub(super) new: &'a Value,
    changes: Vec<String>,
    /// The pairs of named schemas that are being compared, so that a recursive schema ends.
    open: BTreeSet<(String, String, Direction)>,
}

impl<'a> Comparison<'a> {
    pub(super) fn new(old: &'a Value, new: &'a Value) -> Self {
        Self { old, new, changes: Vec::new(), open: BTreeSet::new() }
    }

    pub(super) fn report(&mut self, place: &str, change: &str) {
        let change = format!("{place}: {change}");
        if !self.changes.contains(&change) {
            self.changes.push(change);
        }
    }

    pub(super) fn into_changes(self) -> Vec<String> {
        self.changes
    }

    /// Compares two schemas. An absent schema accepts everything.
    pub(super) fn compare(&mut self, place: &str, direction: Direction, old: &Value, new: &Value) {
        let ((old_name, old), (new_name, new)) = (resolve(self.old, old), resolve(self.new, new));
        let pair = (old_name.to_owned(), new_name.to_owned(), direction);
        let is_named = !old_name.is_empty() && !new_name.is_empty();
        if is_named && !self.open.insert(pair.clone()) {
            return;
        }
        if !is_any(old) || !is_any(new) {
            let (old, new) = (flatten(self.old, old), flatten(self.new, new));
            self.compare_variants(place, direction, &old, &new);
        }
        if is_named {
            self.open.remove(&pair);
        }
    }

    /// Compares the variants of `oneOf` and `anyOf`, or two schemas without any.
    fn compare_variants(&mut self, place: &str, direction: Direction, old: &Value, new: &Value) {
        let (old_variants, new_variants) = (variants(old), variants(new));
        if old_variants.is_none() && new_variants.is_none() {
            return self.compare_plain(place, direction, old, new);
        }
        if old_variants.is_some() && new_variants.is_some() {
            self.compare_plain(place, direction, old, new);
        }
        let old_variants = old_variants.unwrap_or_else(|| vec![old]);
        let new_variants = new_variants.unwrap_or_else(|| vec![new]);
        match direction {
            Direction::Request => {
                for variant in old_variants {
                    if !new_variants.iter().any(|other| self.is_compatible(direction, variant, other)) {
                        self.report_variant(
                            place,
                            direction,
                            (variant, &new_variants),
                            "removed or narrowed",
                        );
                    }
                }
            }
            Direction::Response => {
                for variant in new_variants {
                    if !old_variants.iter().any(|other| self.is_compatible(direction, other, variant)) {
                        self.report_variant(place, direction, (variant, &old_variants), "added or changed");
                    }
                }
            }
        }
    }

    /// Reports a variant without a counterpart: its own changes if one of the other variants has
    /// the same label, else the variant itself.
    fn report_variant(
        &mut self,
        place: &str,
        direction: Direction,
        (variant, others): (&Value, &[&Value]),
        change: &str,
    ) {
        let name = label(variant);
        let place = format!("{place}: variant {name}");
        match (others.iter().find(|other| label(other) == name), direction) {
            (Some(other), Direction::Request) => self.compare(&place, direction, variant, other),
            (Some(other), Direction::Response) => self.compare(&place, direction, other, variant),
            (None, _) => self.report(&place, change),
        }
    }

    /// Whether the change from one schema to another breaks nothing.
    fn is_compatible(&self, direction: Direction, old: &Value, new: &Value) -> bool {
        let mut trial =
            Comparison { old: self.old, new: self.new, changes: Vec::new(), open: self.open.clone() };
        trial.compare("", direction, old, new);
        trial.changes.is_empty()
    }

    /// Compares everything but variants.
    fn compare_plain(&mut self, place: &str, direction: Direction, old: &Value, new: &Value) {
        self.compare_types(place, direction, old, new);
        let formats = (old["format"].as_str(), new["format"].as_str());
        if let (Some(old), Some(new)) = formats
            && old != new
        {
            self.report(place, &format!("format {old} became {new}"));
        }
        if direction == Direction::Request {
            self.compare_limits(place, old, new);
        }
        self.compare_properties(place, direction, old, new);
        for (keyword, suffix) in [("items", "[]"), ("additionalProperties", ".*")] {
            if let (Some(old), Some(new)) = (old.get(keyword), new.get(keyword)) {
                self.compare(&format!("{place}{suffix}"), direction, old, new);
            }
        }
        let (old_items, new_items) = (list(old, "prefixItems"), list(new, "prefixItems"));
        if old_items.len() != new_items.len() {
            self.report(place, "number of elements changed");
        }
        for (index, (old, new)) in old_items.iter().zip(new_items).enumerate() {
            self.compare(&format!("{place}[{index}]"), direction, old, new);
        }
    }

    fn compare_types(&mut self, place: &str, direction: Direction, old: &Value, new: &Value) {
        let (old_types, new_types) = (types(old), types(new));
        let (from, to, change) = match direction {
            Direction::Request => (&old_types, &new_types, "no longer accepted"),
            Direction::Response => (&new_types, &old_types, "added"),
        };
        let fits = |kind: &str| to.contains(kind) || kind == "integer" && to.contains("number");
        if !to.is_empty() && from.is_empty() {
            self.report(place, &format!("type any {change}"));
        }
        for kind in from.iter().filter(|kind| !to.is_empty() && !fits(kind)) {
            self.report(place, &format!("type {kind} {change}"));
        }
        if direction == Direction::Response {
            return;
        }
        match (values(old), values(new)) {
            (None, Some(_)) => self.report(place, "only some values accepted now"),
            (Some(old), Some(new)) => {
                for value in old.iter().filter(|value| !new.contains(value)) {
                    self.report(place, &format!("value {value} removed"));
                }
            }
            _ => {}
        }
    }

    /// Compares what limits a value in a request.
    fn compare_limits(&mut self, place: &str, old: &Value, new: &Value) {
        for (keywords, has_narrowed) in
            [(MINIMA, (|old, new| new > old) as fn(f64, f64) -> bool), (MAXIMA, |old, new| new < old)]
        {
            for keyword in keywords {
                let Some(limit) = new[keyword].as_f64() else { continue };
                if old[keyword].as_f64().is_none_or(|old| has_narrowed(old, limit)) {
                    self.report(place, &format!("{keyword} is {} now", new[keyword]));
                }
            }
        }
        for keyword in ["pattern", "not", "default"] {
            let (old, new) = (old.get(keyword), new.get(keyword));
            // A dropped limit breaks nothing; a dropped default changes what happens.
            if old != new && (new.is_some() || keyword == "default") {
                self.report(place, &format!("{keyword} changed"));
            }
        }
    }

    fn compare_properties(&mut self, place: &str, direction: Direction, old: &Value, new: &Value) {
        let (old_properties, new_properties) = (properties(old), properties(new));
        for (name, old_property) in &old_properties {
            let place = format!("{place}: {name}");
            match new_properties.get(name) {
                Some(new_property) => self.compare(&place, direction, old_property, new_property),
                None => self.report(&place, "removed"),
            }
        }
        let (old_required, new_required) = (strings(old, "required"), strings(new, "required"));
        let (from, to, change) = match direction {
            Direction::Request => (&new_required, &old_required, "required now"),
            Direction::Response => (&old_required, &new_required, "optional now"),
        };
        for name in from.difference(to) {
            // A removed property is reported above.
            if direction == Direction::Request || new_properties.contains_key(name) {
                self.report(&format!("{place}: {name}"), change);
            }
        }
        let is_closed = |schema: &Value| schema["additionalProperties"] == false;
        if direction == Direction::Request && is_closed(new) && !is_closed(old) {
            self.report(place, "unknown properties refused now");
        }
    }
}

/// Follows `$ref`. Returns the last reference, empty if there is none, and its target.
pub(super) fn resolve<'a>(document: &'a Value, value: &'a Value) -> (&'a str, &'a Value) {
    let (mut name, mut value) = ("", value);
    // A document with a circle of references alone is invalid; the limit ends the search in it.
    for _ in 0..32 {
        let Some(reference) = value["$ref"].as_str() else { break };
        let Some(target) = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer)) else {
            break;
        };
        (name, value) = (reference, target);
    }
    (name, value)
}

/// Whether a schema accepts every value.
fn is_any(schema: &Value) -> bool {
    match schema {
        Value::Null | Value::Bool(true) => true,
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

/// Merges the parts of `allOf` into one schema: properties, type and variants. The document
/// uses `allOf` for nothing else.
fn flatten(document: &Value, schema: &Value) -> Value {
    let mut merged = schema.clone();
    for part in list(schema, "allOf") {
        let part = flatten(document, resolve(document, part).1);
        for (name, property) in properties(&part) {
            merged["properties"][name] = property.clone();
        }
        let required: BTreeSet<_> =
            strings(&merged, "required").union(&strings(&part, "required")).cloned().collect();
        merged["required"] = required.into_iter().collect();
        if merged.get("type").is_none()
            && let Some(kind) = part.get("type")
        {
            merged["type"] = kind.clone();
        }
        for keyword in ["oneOf", "anyOf"] {
            if let Some(variants) = part.get(keyword) {
                merged[keyword] = variants.clone();
            }
        }
    }
    merged
}

fn list<'a>(schema: &'a Value, keyword: &str) -> &'a [Value] {
    schema[keyword].as_array().map_or(&[], Vec::as_slice)
}

fn variants(schema: &Value) -> Option<Vec<&Value>> {
    let list = schema.get("oneOf").or_else(|| schema.get("anyOf"))?;
    Some(list.as_array()?.iter().collect())
}

/// A name of a variant: its reference, the value of its constant property, or its type.
fn label(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        return reference.rsplit('/').next().unwrap_or(reference).to_owned();
    }
    let constant = properties(schema).into_values().find_map(|property| match values(property) {
        Some(values) if values.len() == 1 => Some(values[0].to_string()),
        _ => None,
    });
    let of_properties = || properties(schema).into_keys().next().map(|name| format!("with {name}"));
    let of_types = || types(schema).into_iter().collect::<Vec<_>>().join(" or ");
    constant.or_else(of_properties).unwrap_or_else(of_types)
}

fn types(schema: &Value) -> BTreeSet<String> {
    match &schema["type"] {
        Value::String(kind) => BTreeSet::from([kind.clone()]),
        _ => strings(schema, "type"),
    }
}

fn strings(schema: &Value, keyword: &str) -> BTreeSet<String> {
    list(schema, keyword).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn properties(schema: &Value) -> BTreeMap<String, &Value> {
    let members = schema["properties"].as_object().into_iter().flatten();
    members.map(|(name, property)| (name.clone(), property)).collect()
}

/// The values of `enum` or `const`.
fn values(schema: &Value) -> Option<Vec<&Value>> {
    let constant = schema.get("const").map(|value| vec![value]);
    constant.or_else(|| Some(schema.get("enum")?.as_array()?.iter().collect()))
}
