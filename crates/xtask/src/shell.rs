//! Running other programs, and saying what is done. The one file here that prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a program for people at a terminal")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// The repository's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask lies two levels below the root")
}

/// A `cargo` command at the repository's root.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs a command to its end, its output shown as it comes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// Whether a program is there and answers `--version`.
pub(crate) fn has(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Where `cargo build` leaves this workspace's binaries.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("xtask lies in a directory")?.join(name);
    if path.is_file() { Ok(path) } else { bail!("{} is not built", path.display()) }
}

/// A line for the person watching.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A step's title.
pub(crate) fn title(line: &str) {
    println!("\n== {line}");
}

/// A line that is not part of the story.
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}
