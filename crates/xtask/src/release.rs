//! How the binaries are built that are shipped: for which target, with which profile.

use std::{path::Path, process::Command};

/// The target whose programs need nothing of the system but its kernel.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// The target for a static `authctl`, where it is installed and runs: such a program starts in a quarter of
/// the time that the dynamic linker alone takes. It links no C, so it needs no C compiler for musl.
pub(crate) fn static_target() -> Option<&'static str> {
    let here = cfg!(all(target_os = "linux", target_arch = "x86_64"));
    let output =
        Command::new("rustc").args(["--print", "target-libdir", "--target", STATIC]).output().ok()?;
    let directory = String::from_utf8(output.stdout).ok()?;
    (here && Path::new(directory.trim()).is_dir()).then_some(STATIC)
}

/// How a program is built, by the name of the profile in `Cargo.toml`.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// The daemon, and what is compared with it.
    Release,
    /// `authctl`, and what is compared with it: small, because it starts for every answer.
    Client,
}

impl Profile {
    /// Its name in `Cargo.toml`, and of the directory below the target's.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Client => "client",
        }
    }
}
