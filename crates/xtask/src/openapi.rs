//! `cargo xtask test openapi`: compares `docs/openapi.json` with the document of the last release.
//! A client of that release must be able to use the new daemon, so a breaking change is an error.
//! No package registry has a maintained tool that reads OpenAPI 3.1, so the comparison is our own.
//!
//! | part | a request must stay valid | a response must stay readable |
//! |---|---|---|
//! | operation | path or method removed | – |
//! | parameter | removed; a required one added | – |
//! | body | removed, or required now; media type removed | success status, media type or header removed |
//! | property | removed; required now | removed; optional now |
//! | type, variant | removed | added |
//! | enumeration | value removed | none: clients ignore unknown values |
//! | limits, pattern, default | narrowed or changed | – |
//!
//! New paths, optional parameters, properties and values are no breaking changes.

mod operations;
mod schema;
#[cfg(test)]
mod tests;

use std::fs;

use anyhow::{Context, bail, ensure};
use serde_json::Value;

use crate::shell::{print, print_note, root};

/// The document of this tree. A test of `authd` holds it to the code.
const CURRENT: &str = "docs/openapi.json";
/// The document of the last release. A release replaces it.
const RELEASED: &str = "crates/xtask/src/openapi/released.json";

/// Breaking changes since the last release that are intended: the text of the change, as this step
/// prints it, and the reason. The changelog must name them too. A release empties the table.
const ACCEPTED: &[(&str, &str)] = &[
    (
        "TRACE /v1/profiles/{profile}/relay-backend/{path}: method removed",
        "the response to TRACE contains the request, so it would show the credential",
    ),
    ("TRACE /v1/profiles/{profile}/relay/{path}: method removed", "as above"),
    (
        "GET /v1/status: response 200: profiles: type null added",
        "the number is not known while the store cannot be listed; 0 was wrong",
    ),
];

/// Reports breaking changes that [`ACCEPTED`] does not list.
pub(crate) fn check() -> anyhow::Result<()> {
    let (old, new) = (read(RELEASED)?, read(CURRENT)?);
    let changes = operations::breaking_changes(&old, &new);
    let accepted: Vec<_> = ACCEPTED.iter().map(|(change, _)| *change).collect();
    judge(&changes, &accepted)?;
    let version = old["info"]["version"].as_str().unwrap_or("without a version");
    print(&format!("no unexpected breaking change since {version}; {} accepted", accepted.len()));
    Ok(())
}

fn read(path: &str) -> anyhow::Result<Value> {
    let text = fs::read_to_string(root().join(path)).with_context(|| path.to_owned())?;
    let document: Value = serde_json::from_str(&text).with_context(|| path.to_owned())?;
    ensure!(
        document["paths"].as_object().is_some_and(|paths| !paths.is_empty()),
        "{path} is no OpenAPI document with paths"
    );
    Ok(document)
}

/// Fails for a change that is not accepted, and for an accepted one that does not exist.
fn judge(changes: &[String], accepted: &[&str]) -> anyhow::Result<()> {
    let unexpected: Vec<_> = changes.iter().filter(|change| !accepted.contains(&change.as_str())).collect();
    for change in &unexpected {
        print_note(&format!("breaking change: {change}"));
    }
    if !unexpected.is_empty() {
        bail!(
            "breaking changes since the last release: {}. Undo them, or add them with a reason to \
             ACCEPTED in crates/xtask/src/openapi.rs and to CHANGELOG.md",
            unexpected.len()
        );
    }
    let stale: Vec<_> =
        accepted.iter().filter(|entry| !changes.iter().any(|change| change == *entry)).collect();
    ensure!(
        stale.is_empty(),
        "ACCEPTED in crates/xtask/src/openapi.rs has changes that do not exist: {stale:?}"
    );
    Ok(())
}
