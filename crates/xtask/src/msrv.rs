//! `cargo xtask test msrv`: type-checks the workspace with the oldest version of Rust that it
//! supports, `rust-version` in the root `Cargo.toml`. rustup installs that toolchain if necessary.
//! If the toolchain in use has this version, the other steps have done the same already.

use std::process::Command;

use crate::{
    shell::{self, print, print_note, root},
    tools::{run_quiet, stdout_of, version_in},
};

/// The version that the packages state, with two or three numbers.
const STATED: &str = env!("CARGO_PKG_RUST_VERSION");

/// Type-checks the workspace with the stated version.
pub(crate) fn check() -> anyhow::Result<()> {
    let toolchain = toolchain(STATED);
    let installed = stdout_of(Command::new("rustc").arg("--version").current_dir(root()))?;
    if version_in(&installed, "rustc") == Some(&toolchain) {
        print(&format!("the other steps use Rust {toolchain}, the oldest supported version"));
        return Ok(());
    }
    if let Err(reason) = install(&toolchain) {
        // Skipped in CI too: not every machine reaches the server of rustup.
        print_note(&format!("skipped: oldest supported version of Rust: {reason:#}"));
        return Ok(());
    }
    // A separate directory, because the other steps use another compiler.
    let target_dir = root().join("target/msrv");
    let mut check = Command::new("rustup");
    check.args(["run", &toolchain, "cargo", "check", "--workspace", "--locked"]);
    check.current_dir(root()).env("CARGO_TARGET_DIR", target_dir).env_remove("CARGO");
    shell::run(&mut check)
}

/// Installs the toolchain unless it is there. An installed one needs no access to the internet.
fn install(toolchain: &str) -> anyhow::Result<()> {
    if run_quiet(Command::new("rustup").args(["run", toolchain, "cargo", "--version"])).is_ok() {
        return Ok(());
    }
    shell::print_title(&format!("Installing Rust {toolchain}"));
    let install = ["toolchain", "install", toolchain, "--profile", "minimal", "--no-self-update"];
    // A backtrace would hide the reason.
    run_quiet(Command::new("rustup").args(install).env_remove("RUST_BACKTRACE")).map_err(|error| {
        error.context(format!("no toolchain {toolchain}; `rustup {}` failed", install.join(" ")))
    })
}

/// The name of the first toolchain of a version: 1.89 stands for 1.89.0.
fn toolchain(stated: &str) -> String {
    let is_complete = stated.split('.').count() > 2;
    if is_complete { stated.to_owned() } else { format!("{stated}.0") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stated_version_is_the_first_of_its_line() {
        assert_eq!(toolchain("1.89"), "1.89.0");
        assert_eq!(toolchain("1.89.1"), "1.89.1");
    }
}
