//! Builds the programs that are measured.

use std::path::PathBuf;

use anyhow::Context;

use crate::shell::{cargo, root, run};

/// Builds all binaries of a package with `cargo build --release`, for this machine or another
/// target. Returns the directory that contains them.
pub(super) fn build(package: &str, target: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut command = cargo(&["build", "--quiet", "--release", "--bins", "--package", package]);
    command.args(target.iter().flat_map(|target| ["--target", target]));
    run(&mut command).with_context(|| format!("cannot build {package}"))?;
    let directory = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.map_or_else(|| directory.clone(), |target| directory.join(target)).join("release"))
}
