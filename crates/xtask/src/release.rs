//! The static target of `authctl`.

use std::{path::Path, process::Command};

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
