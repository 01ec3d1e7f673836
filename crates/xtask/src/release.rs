//! The targets of a release.

use std::{path::Path, process::Command};

use anyhow::Context;

use crate::tools::stdout_of;

/// The targets of Linux, each with that of a static program, which needs no library of the system.
const STATIC: [(&str, &str); 2] = [
    ("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"),
    ("aarch64-unknown-linux-gnu", "aarch64-unknown-linux-musl"),
];

/// The target of a static `authctl` for the machine of this target, if rustup has installed it. A
/// static program starts faster than the dynamic linker does its work. `authctl` links no C code,
/// so the build needs no C compiler for musl.
pub(crate) fn static_target(machine: &str) -> Option<&'static str> {
    let (_, target) = STATIC.into_iter().find(|(dynamic, _)| *dynamic == machine)?;
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", target]).output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    Path::new(directory.trim()).is_dir().then_some(target)
}

/// The target of this machine.
pub(crate) fn host() -> anyhow::Result<String> {
    let version = stdout_of(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc prints no host")?.to_owned())
}
