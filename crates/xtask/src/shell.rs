//! Running other programs, and printing. No other file of xtask prints.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "xtask is a program for a terminal")]

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};
use tokio::runtime::{Builder, Runtime};

/// The root directory of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("xtask lies two levels below the root")
}

/// A `cargo` command that runs in the root directory of the repository.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Runs a command to its end and shows its output as it comes.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot start {shown}"))?;
    if !status.success() {
        bail!("{shown} failed: {status}");
    }
    Ok(())
}

/// Builds `authd` and `authctl`.
pub(crate) fn build_programs() -> anyhow::Result<()> {
    run(&mut cargo(&["build", "--bin", "authd", "--bin", "authctl"]))
}

/// Whether a program is installed, which means that it runs with `--version`.
pub(crate) fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// The path of a binary of this workspace, which `cargo build` must have made.
pub(crate) fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let path = own.parent().context("xtask lies in a directory")?.join(name);
    if path.is_file() { Ok(path) } else { bail!("{} is not built", path.display()) }
}

/// Replaces the text between two lines of a page.
pub(crate) fn replace_between(page: &str, (begin, end): (&str, &str), text: &str) -> anyhow::Result<()> {
    let path = root().join(page);
    let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (head, rest) = old.split_once(begin).with_context(|| format!("{page} has no line {begin}"))?;
    let (_, tail) = rest.split_once(end).with_context(|| format!("{page} has no line {end} after it"))?;
    Ok(fs::write(path, format!("{head}{begin}\n{text}\n{end}{tail}"))?)
}

/// The runtime of the sandbox and of test daemons.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Prints a line of the result to stdout.
pub(crate) fn print(line: &str) {
    println!("{line}");
}

/// Prints the title of a step to stdout.
pub(crate) fn print_title(line: &str) {
    println!("\n== {line}");
}

/// Prints a remark to stderr: progress, a skipped step, an error.
pub(crate) fn print_note(line: &str) {
    eprintln!("{line}");
}

/// Prints each problem to stderr. Fails with this message if there is one.
pub(crate) fn report(problems: &[String], message: &str) -> anyhow::Result<()> {
    for problem in problems {
        print_note(problem);
    }
    ensure!(problems.is_empty(), "{message}: {} problems", problems.len());
    Ok(())
}
