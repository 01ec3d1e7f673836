//! `cargo xtask test macos`: the whole workspace, tests too, type-checked for a Mac. Nothing is linked and
//! nothing run: that takes a Mac. The parts in C need a compiler that knows the target; zig has one, and
//! comes from `PyPI`.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use crate::{
    shell::{self, cargo, note},
    tools::{Tools, succeeds},
};

const TARGET: &str = "aarch64-apple-darwin";
const ZIG: &str = "ziglang==0.17.1";

/// Calls zig as the C compiler for a Mac: cc's own words for the target are not zig's.
const CC: &str = r#"#!/bin/sh
# Made by cargo xtask test macos.
skip=
for word; do
  shift
  case "$skip$word" in
    -arch) skip=: ;;
    :*) skip= ;;
    --target=*) ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$(dirname "$0")/venv/bin/python" -m ziglang cc -target aarch64-macos "$@"
"#;

/// Type-checks, where the target and a compiler for it can be had.
pub(crate) fn check() -> anyhow::Result<()> {
    let compiler = match provide() {
        Ok(compiler) => compiler,
        // Even in CI, unlike the rest: not every machine can have a compiler for another system.
        Err(why) => {
            note(&format!("skipped: no type-check for macOS: {why:#}"));
            return Ok(());
        }
    };
    // A directory of its own: the dependencies' features are other ones, and the flags too.
    let place = shell::root().join("target/macos");
    let args = ["check", "--workspace", "--all-targets", "--locked", "--target", TARGET];
    let mut check = cargo(&args);
    check.env("CARGO_TARGET_DIR", place).env("CC_aarch64_apple_darwin", compiler);
    // What is unused there only is still unused.
    check.env("RUSTFLAGS", "-D warnings");
    shell::run(&mut check)
}

fn provide() -> anyhow::Result<PathBuf> {
    succeeds(Command::new("rustup").args(["target", "add", TARGET]))?;
    let tools = Tools::open("macos")?;
    tools.pip(ZIG)?;
    let compiler = tools.dir().join("cc");
    fs::write(&compiler, CC)?;
    fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))?;
    Ok(compiler)
}
