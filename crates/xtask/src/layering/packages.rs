//! The dependencies between packages: which package may have a heavy dependency, and which packages
//! of this workspace it may import. Dependencies of tests are not restricted.

use std::fs;

use anyhow::Context;
use serde_json::Value;

use super::Violation;
use crate::shell::{cargo, root};

/// The packages that make up the product, and their directories.
pub(super) const PRODUCT: &[(&str, &str)] = &[
    ("authd-api", "crates/api"),
    ("authd-oauth", "crates/oauth"),
    ("authd-store", "crates/store"),
    ("authd-fleet", "crates/fleet"),
    ("authd-broker", "crates/broker"),
    ("authd", "crates/authd"),
    ("authctl", "crates/authctl"),
];

/// Heavy dependencies, and the packages that may have them. Every package may have the others.
pub(super) const OWNERS: &[(&str, &[&str])] = &[
    ("age", &["authd-store"]),
    ("apple-native-keyring-store", &["authd-store"]),
    ("axum", &["authd", "authd-baselines", "authd-sandbox"]),
    ("clap", &["authctl", "authd-sandbox", "xtask"]),
    ("directories", &["authd-api"]),
    ("dlmalloc", &["authctl"]),
    ("flate2", &["xtask"]),
    ("hyper", &["authd", "authd-api", "authd-baselines", "authd-oauth", "authd-sandbox"]),
    ("hyper-rustls", &["authd-oauth"]),
    ("hyper-util", &["authd", "authd-api", "authd-baselines", "authd-oauth", "authd-sandbox"]),
    ("keyring-core", &["authd-store"]),
    ("libfuzzer-sys", &["authd-fuzz"]),
    ("listenfd", &["authd"]),
    ("proc-macro2", &["xtask"]),
    ("prometheus-client", &["authd"]),
    ("rcgen", &["authd-sandbox"]),
    ("reqwest", &["authd-oauth"]),
    ("rustls", &["authd-oauth"]),
    ("rustls-platform-verifier", &["authd-oauth"]),
    ("sd-notify", &["authd"]),
    ("sha2", &["authd", "authd-broker", "authd-oauth", "authd-sandbox"]),
    ("tar", &["xtask"]),
    ("tokio-postgres", &["authd-fleet"]),
    ("tokio-postgres-rustls-improved", &["authd-fleet"]),
    ("tokio-rustls", &["authd-sandbox"]),
    ("toml", &["authd"]),
    ("tower", &["authd", "authd-oauth"]),
    ("tracing-subscriber", &["authd"]),
    ("utoipa", &["authd-api"]),
    ("zbus-secret-service-keyring-store", &["authd-store"]),
];

/// The packages of this workspace, and those of them that each may import.
pub(super) const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("authd-api", &[]),
    ("authd-oauth", &[]),
    ("authd-store", &[]),
    ("authd-fleet", &["authd-oauth", "authd-store"]),
    ("authd-broker", &["authd-api", "authd-fleet", "authd-oauth", "authd-store"]),
    ("authd", &["authd-api", "authd-broker", "authd-fleet", "authd-oauth", "authd-store"]),
    ("authctl", &["authd-api"]),
    ("authd-sandbox", &[]),
    ("authd-baselines", &[]),
    ("authd-fuzz", &["authctl", "authd", "authd-api", "authd-broker", "authd-oauth"]),
    ("xtask", &["authd-sandbox"]),
];

/// Compares the manifests of the workspace with the tables.
pub(super) fn check_workspace() -> anyhow::Result<Vec<Violation>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata prints no JSON")?;
    let mut violations = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
        let path = package["manifest_path"].as_str().context("a package has no manifest")?;
        let manifest = fs::read_to_string(path)?;
        let file = path.strip_prefix(&format!("{}/", root().display())).unwrap_or(path);
        violations.extend(check_package(package, &manifest, file));
    }
    Ok(violations)
}

/// Compares the dependencies of one package, as `cargo metadata` lists them, with the tables.
fn check_package(package: &Value, manifest: &str, file: &str) -> Vec<Violation> {
    let name = package["name"].as_str().unwrap_or_default();
    let violation = |line: usize, message: String| Violation { file: file.to_owned(), line, message };
    let Some((_, may_import)) = MAY_IMPORT.iter().find(|(package, _)| *package == name) else {
        let message = format!("{name} is missing in MAY_IMPORT of crates/xtask/src/layering/packages.rs");
        return vec![violation(1, message)];
    };
    let mut violations = Vec::new();
    for dependency in package["dependencies"].as_array().into_iter().flatten() {
        if dependency["kind"] == "dev" {
            continue;
        }
        let imported = dependency["name"].as_str().unwrap_or_default();
        let is_ours = MAY_IMPORT.iter().any(|(package, _)| *package == imported);
        if is_ours && !may_import.contains(&imported) {
            let message = format!("{name} must not import {imported}; it may import: {}", list(may_import));
            violations.push(violation(line_of(manifest, imported), message));
        }
        let owners = OWNERS.iter().find(|(heavy, _)| *heavy == imported);
        if let Some((_, owners)) = owners.filter(|(_, owners)| !owners.contains(&name)) {
            let message = format!("{name} must not depend on {imported}, which belongs to: {}", list(owners));
            violations.push(violation(line_of(manifest, imported), message));
        }
    }
    violations
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The line of a manifest that names a dependency; 1 if none does.
fn line_of(manifest: &str, dependency: &str) -> usize {
    let names_it =
        |line: &str| line.strip_prefix(dependency).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    manifest.lines().position(names_it).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(name: &str, dependency: &str, kind: Option<&str>) -> Vec<String> {
        let manifest = format!("[package]\n\n[dependencies]\n{dependency}.workspace = true\n");
        let package = json!({"name": name, "dependencies": [{"name": dependency, "kind": kind}]});
        let violations = check_package(&package, &manifest, "Cargo.toml");
        violations.into_iter().map(|found| format!("{}: {}", found.line, found.message)).collect()
    }

    #[test]
    fn import_of_a_higher_package_is_reported_with_its_line() {
        let expected = "4: authd-broker must not import authd; it may import: authd-api, authd-fleet, authd-oauth, \
                        authd-store";
        assert_eq!(check("authd-broker", "authd", None), [expected]);
        assert_eq!(check("authd-api", "authd-oauth", None).len(), 1);
        assert_eq!(check("authctl", "authd-broker", None).len(), 1);
        assert!(check("authd", "authd-broker", None).is_empty());
    }

    #[test]
    fn heavy_dependency_of_another_package_is_reported() {
        for heavy in
            ["axum", "hyper", "toml", "prometheus-client", "sd-notify", "listenfd", "tracing-subscriber"]
        {
            assert_eq!(check("authd-broker", heavy, None).len(), 1, "{heavy}");
            assert!(check("authd", heavy, None).is_empty(), "{heavy}");
        }
        assert!(check("authd-broker", "tokio", None).is_empty());
    }

    #[test]
    fn dependency_of_tests_is_free() {
        assert!(check("authd-broker", "axum", Some("dev")).is_empty());
        assert_eq!(check("authd-broker", "axum", Some("build")).len(), 1);
    }

    #[test]
    fn unknown_package_is_reported() {
        assert!(check("authd-new", "tokio", None)[0].contains("authd-new is missing"));
    }
}
