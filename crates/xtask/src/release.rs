//! The release build: one Cargo profile, and a static target for `authctl`.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::shell::{cargo, root, run};

/// The target of a static program, which needs no library of the system.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// The target of a static `authctl`, if rustup has installed it and this machine can run it. A
/// static program starts faster than the dynamic linker does its work. `authctl` links no C code,
/// so the build needs no C compiler for musl.
pub(crate) fn static_target() -> Option<&'static str> {
    let is_supported = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", STATIC]).output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    (is_supported && Path::new(directory.trim()).is_dir()).then_some(STATIC)
}

/// Builds all binaries of a package with `cargo build --release`, for this machine or another
/// target. Returns the directory that contains them.
pub(crate) fn build(package: &str, target: Option<&str>) -> anyhow::Result<PathBuf> {
    let mut command = cargo(&["build", "--quiet", "--release", "--bins", "--package", package]);
    command.args(target.iter().flat_map(|target| ["--target", target]));
    run(&mut command).with_context(|| format!("cannot build {package}"))?;
    let directory = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.map_or_else(|| directory.clone(), |target| directory.join(target)).join("release"))
}
