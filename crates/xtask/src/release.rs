//! How the binaries are built that are shipped: for which target, with which profile, linked how.

use std::{path::Path, process::Command};

use crate::shell::root;

/// The target whose programs need nothing of the system but its kernel.
const STATIC: &str = "x86_64-unknown-linux-musl";

/// What keeps a static client small: rustc's own linker, which makes one function of equal ones, and packs
/// what is to be relocated at the start; no tables for unwinding, which nothing reads in a program that a
/// panic aborts; and one copy of the runs of instructions that many functions have in them, which LLVM looks
/// for three times, because the copies have such runs, too.
const SMALL: [&str; 7] = [
    "-Clinker=rust-lld",
    "-Clink-arg=--icf=all",
    "-Clink-arg=--pack-dyn-relocs=relr",
    "-Clink-arg=--no-eh-frame-hdr",
    "-Cforce-unwind-tables=no",
    "-Cllvm-args=-enable-machine-outliner",
    "-Cllvm-args=-machine-outliner-reruns=2",
];

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
#[derive(Clone, Copy, PartialEq, Eq)]
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

    /// What rustc is told besides, for this target.
    pub(crate) fn flags(self, target: Option<&str>) -> Vec<String> {
        match self {
            Self::Client if target == Some(STATIC) => {
                let script = format!("-Clink-arg=-T{}", script("no-unwinding.ld"));
                SMALL.map(str::to_owned).into_iter().chain([script]).collect()
            }
            // Equal functions are one, as above; and what runs together lies together.
            Self::Release if links_by_itself() => {
                let script = format!("-Clink-arg=-Wl,-T,{}", script("first.ld"));
                vec!["-Clink-arg=-Wl,--icf=all".to_owned(), script]
            }
            Self::Release | Self::Client => Vec::new(),
        }
    }
}

/// Where a script for the linker is. Cargo does not see that one has changed: it links anew when the flags have.
fn script(name: &str) -> String {
    root().join("crates/xtask/src/release").join(name).display().to_string()
}

/// Whether rustc uses its own linker without being told: on this target, since 1.90.
fn links_by_itself() -> bool {
    let said = Command::new("rustc").arg("-vV").output().map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let minor =
        said.lines().find_map(|line| line.strip_prefix("release: 1.")?.split('.').next()?.parse().ok());
    said.contains("host: x86_64-unknown-linux-gnu\n") && minor.is_some_and(|minor: u32| minor >= 90)
}
