//! `cargo xtask test rooms`: one heavy dependency, one room. Who may link what is written here, and
//! compared with what the packages say.

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell::cargo;

/// A dependency and the packages that may have it. Dependencies that are not here are anybody's.
const MAY_LINK: &[(&str, &[&str])] = &[
    ("age", &["authd-store"]),
    ("apple-native-keyring-store", &["authd-store"]),
    ("axum", &["authd", "authd-floors", "authd-sandbox"]),
    ("clap", &["authctl", "authd-sandbox", "xtask"]),
    ("directories", &["authd-api"]),
    ("dlmalloc", &["authctl"]),
    ("flate2", &["xtask"]),
    ("hyper-rustls", &["authd-oauth"]),
    ("keyring-core", &["authd-store"]),
    ("libfuzzer-sys", &["authd-fuzz"]),
    ("listenfd", &["authd"]),
    ("prometheus-client", &["authd"]),
    ("reqwest", &["authd-oauth"]),
    ("rustls", &["authd-oauth"]),
    ("rustls-platform-verifier", &["authd-oauth"]),
    ("schemars", &["authd-api"]),
    ("sd-notify", &["authd"]),
    ("sha2", &["authd", "authd-oauth", "authd-sandbox"]),
    ("tar", &["xtask"]),
    ("tokio-rustls", &["authd-sandbox"]),
    ("toml", &["authd"]),
    ("tracing-subscriber", &["authd"]),
    ("zbus-secret-service-keyring-store", &["authd-store"]),
];

/// A package of ours and those of ours that it may know.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("authd-api", &[]),
    ("authd-oauth", &[]),
    ("authd-store", &[]),
    ("authd-sandbox", &[]),
    ("authd-floors", &[]),
    ("authd", &["authd-api", "authd-oauth", "authd-store"]),
    ("authctl", &["authd-api"]),
    ("authd-fuzz", &["authctl", "authd", "authd-api", "authd-oauth"]),
    ("xtask", &["authd-sandbox"]),
];

/// Compares the packages' dependencies with the two tables; those for tests alone are free.
pub(crate) fn check() -> anyhow::Result<()> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata is no JSON")?;
    for package in metadata["packages"].as_array().context("no packages")? {
        let name = package["name"].as_str().context("a package without a name")?;
        let known = MAY_KNOW.iter().find(|(room, _)| *room == name);
        let (_, may_know) = known.with_context(|| format!("{name} is a new room: add it to the table"))?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            if dependency["kind"] == "dev" {
                continue;
            }
            let links = dependency["name"].as_str().unwrap_or_default();
            let guest = MAY_LINK.iter().find(|(heavy, _)| *heavy == links);
            let refused = guest.is_some_and(|(_, rooms)| !rooms.contains(&name));
            let ours = MAY_KNOW.iter().any(|(room, _)| *room == links);
            if refused || (ours && !may_know.contains(&links)) {
                bail!("{name} must not depend on {links}: see the table in crates/xtask/src/rooms.rs");
            }
        }
    }
    Ok(())
}
