//! The layers of the modules of `authd`. A module imports modules of lower layers, and of its own
//! layer only those that a table lists.

use std::collections::BTreeSet;

use super::{
    Violation,
    source::{FileImport, Module},
};

/// The package that has layers.
pub(super) const PACKAGE: &str = "authd";

/// The top-level modules, the highest layer first.
pub(super) const LAYERS: &[&[&str]] = &[
    &["main"],
    &["lib"],
    &["cli"],
    &["app"],
    &["http", "callback", "relay", "hooks"],
    &["audit"],
    &["platform", "config", "telemetry"],
    &["store_monitor", "request_head"],
];

/// Imports between modules of one layer: the first may import the second.
const SAME_LAYER: &[(&str, &str)] = &[("http", "callback"), ("http", "relay"), ("telemetry", "config")];

/// Checks the imports of the package, and that every top-level module has a layer.
pub(super) fn check(imports: &[FileImport], modules: &[Module]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let files: BTreeSet<&str> = modules.iter().map(|module| module.file.as_str()).collect();
    for file in files.iter().filter(|file| !file.contains('/') && layer_of(file).is_none()) {
        let message =
            format!("module {} is missing in LAYERS of crates/xtask/src/layering/layers.rs", top(file));
        violations.push(Violation { file: (*file).to_owned(), line: 1, message });
    }
    for FileImport { from, to, line } in imports {
        let (Some(from_layer), Some(to_layer)) = (layer_of(from), layer_of(to)) else { continue };
        let (importing, imported) = (top(from), top(to));
        let is_allowed = importing == imported
            || from_layer < to_layer
            || (from_layer == to_layer && SAME_LAYER.contains(&(importing, imported)));
        if !is_allowed {
            let reason = if from_layer == to_layer { "of the same layer" } else { "of a higher layer" };
            let message =
                format!("{importing} must not import {imported}, a module {reason} ({from} → {to})");
            violations.push(Violation { file: from.clone(), line: *line, message });
        }
    }
    violations
}

/// The top-level module of a file.
fn top(file: &str) -> &str {
    let first = file.split('/').next().unwrap_or(file);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// The index of the layer of a file.
fn layer_of(file: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&top(file)))
}

#[cfg(test)]
mod tests {
    use super::{
        super::source::tests::{imports, modules},
        *,
    };

    fn violations(files: &[(&str, &str)]) -> Vec<String> {
        let found = check(&imports(files), &modules(files));
        found.into_iter().map(|one| format!("{}:{}: {}", one.file, one.line, one.message)).collect()
    }

    #[test]
    fn lower_layer_may_be_imported() {
        let files = [
            ("lib.rs", "mod app;\nmod config;\nmod http;\npub use app::App;\n"),
            ("app.rs", "use crate::{config::Config, http::State};\npub struct App(Config, State);\n"),
            ("http.rs", "use crate::config::Config;\npub struct State(Config);\n"),
            ("config.rs", "pub struct Config;\n"),
        ];
        assert!(violations(&files).is_empty());
    }

    #[test]
    fn import_of_a_higher_layer_is_reported() {
        let files = [
            ("lib.rs", "mod app;\nmod http;\nmod platform;\n"),
            ("app.rs", "pub struct App;\n"),
            ("http.rs", "mod routes;\n"),
            ("http/routes.rs", "\nuse crate::app::App;\n"),
            ("platform.rs", "fn f() { crate::http::g() }\n"),
        ];
        let expected = [
            "http/routes.rs:2: http must not import app, a module of a higher layer (http/routes.rs → app.rs)",
            "platform.rs:1: platform must not import http, a module of a higher layer (platform.rs → http.rs)",
        ];
        assert_eq!(violations(&files), expected);
    }

    #[test]
    fn same_layer_is_imported_as_the_table_says() {
        let files = [
            ("lib.rs", "mod http;\nmod relay;\n"),
            ("http.rs", "use crate::relay::Relay;\n"),
            ("relay.rs", "pub struct Relay;\n"),
        ];
        assert!(violations(&files).is_empty());
        let files = [
            ("lib.rs", "mod http;\nmod relay;\n"),
            ("http.rs", "pub struct State;\n"),
            ("relay.rs", "use crate::http::State;\n"),
        ];
        let expected =
            "relay.rs:1: relay must not import http, a module of the same layer (relay.rs → http.rs)";
        assert_eq!(violations(&files), [expected]);
    }

    #[test]
    fn module_without_a_layer_is_reported() {
        let files = [("lib.rs", "mod odd;\n"), ("odd.rs", "")];
        assert!(violations(&files)[0].contains("odd.rs:1: module odd is missing in LAYERS"));
    }

    #[test]
    fn allowed_imports_of_one_layer_have_no_circle() {
        for (from, to) in SAME_LAYER {
            assert!(!SAME_LAYER.contains(&(to, from)), "{from} and {to} import each other");
        }
    }
}
