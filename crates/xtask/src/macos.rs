//! `cargo xtask test macos`: type-checks the workspace and its tests for macOS. Nothing is linked
//! or run, because that needs a Mac. Dependencies with C code need a C compiler for the target:
//! zig, from `PyPI`.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use crate::{
    shell::{self, cargo, print_note},
    tools::{ToolDir, run_quiet},
};

const TARGET: &str = "aarch64-apple-darwin";
const ZIG: &str = "ziglang==0.17.1";

/// A script that calls zig as the C compiler for macOS, without the target options of the `cc`
/// crate, which zig does not know.
const CC: &str = r#"#!/bin/sh
# Made by cargo xtask test macos.
skip=
for arg; do
  shift
  case "$skip$arg" in
    -arch) skip=: ;;
    :*) skip= ;;
    --target=*) ;;
    *) set -- "$@" "$arg" ;;
  esac
done
exec "$(dirname "$0")/venv/bin/python" -m ziglang cc -target aarch64-macos "$@"
"#;

/// Type-checks the workspace, if the target and a C compiler for it can be installed.
pub(crate) fn check() -> anyhow::Result<()> {
    let compiler = match install() {
        Ok(compiler) => compiler,
        // Skipped in CI too: the compiler is not available for every machine.
        Err(reason) => {
            print_note(&format!("skipped: type-check for macOS: {reason:#}"));
            return Ok(());
        }
    };
    // With `--target` the flags concern only the code for macOS. The procedural macros and the
    // build scripts are those of the other steps.
    let args = ["check", "--workspace", "--all-targets", "--locked", "--target", TARGET];
    let mut check = cargo(&args);
    check.env("CC_aarch64_apple_darwin", compiler);
    // Also reports code that is unused on macOS only.
    check.env("RUSTFLAGS", "-D warnings");
    shell::run(&mut check)
}

fn install() -> anyhow::Result<PathBuf> {
    run_quiet(Command::new("rustup").args(["target", "add", TARGET]))?;
    let tools = ToolDir::open("macos")?;
    tools.install_pip(ZIG)?;
    let compiler = tools.path().join("cc");
    fs::write(&compiler, CC)?;
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))?;
    Ok(compiler)
}
