//! The programs that are measured, built as they are shipped.

use std::path::PathBuf;

use anyhow::Context;

use crate::{
    release::{Profile, static_target},
    shell::{cargo, root, run},
};

/// Builds `authctl` as it is shipped: static where that can be. Where it is then.
pub(super) fn authctl() -> anyhow::Result<PathBuf> {
    Ok(build("authctl", Profile::Client, static_target())?.join("authctl"))
}

/// Builds all programs of a package, for this machine or another target; the directory they are in then.
pub(super) fn build(package: &str, profile: Profile, target: Option<&str>) -> anyhow::Result<PathBuf> {
    let (flags, profile) = (profile.flags(target), profile.name());
    let mut command = cargo(&["build", "--quiet", "--profile", profile, "--bins", "--package", package]);
    command.args(target.iter().flat_map(|target| ["--target", target]));
    if !flags.is_empty() {
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    }
    run(&mut command).with_context(|| format!("{package} is not built"))?;
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.map_or_else(|| built.clone(), |target| built.join(target)).join(profile))
}
