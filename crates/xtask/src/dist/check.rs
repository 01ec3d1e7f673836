//! Tests of the packages: the tarball is unpacked, the Debian package is installed in a minimal
//! Debian. A test whose tools are missing is skipped with a message.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{Packages, build::BuildOutput, five_minutes, system::System};
use crate::{
    book,
    shell::{self, cargo, print, print_title, root},
    tools::{run_quiet, skip, stdout_of},
};

/// Files that the Debian package must install.
const FILES: [&str; 12] = [
    "/usr/bin/authctl",
    "/usr/bin/authd",
    "/usr/lib/systemd/user/authd.service",
    "/usr/lib/systemd/user/authd.socket",
    "/usr/share/bash-completion/completions/authctl",
    "/usr/share/doc/authd-agent/changelog.Debian.gz",
    "/usr/share/doc/authd-agent/THIRD-PARTY.txt",
    "/usr/share/doc/authd-agent/copyright",
    "/usr/share/fish/vendor_completions.d/authctl.fish",
    "/usr/share/man/man1/authctl.1.gz",
    "/usr/share/man/man1/authd.1.gz",
    "/usr/share/zsh/vendor-completions/_authctl",
];

/// Files that dpkg itself leaves after any installation.
const DPKG_FILES: [&str; 2] = ["/var/lib/dpkg/status-old", "/var/log/dpkg.log"];

/// Checks that two runs made identical files.
pub(super) fn same_packages(first: &Packages, second: &Packages) -> anyhow::Result<()> {
    ensure!(first.paths().count() == second.paths().count(), "two runs made different numbers of files");
    first.paths().zip(second.paths()).try_for_each(|(first, second)| same_bytes(first, second))
}

/// Compiles the sources again in an empty target directory, and checks that the binaries are
/// identical.
pub(super) fn same_binaries(build: &BuildOutput, target_dir: &Path) -> anyhow::Result<()> {
    print_title("Compiling again in another directory");
    if target_dir.exists() {
        fs::remove_dir_all(target_dir)?;
    }
    let again = build.again(target_dir)?;
    same_bytes(&build.authd, &again.authd)?;
    same_bytes(&build.authctl, &again.authctl)
}

fn same_bytes(first: &Path, second: &Path) -> anyhow::Result<()> {
    ensure!(fs::read(first)? == fs::read(second)?, "{} differs from {}", first.display(), second.display());
    print(&format!("identical: {} and {}", first.display(), second.display()));
    Ok(())
}

/// Installs both programs with `cargo install` into a temporary directory, and runs them.
pub(super) fn cargo_install(target_dir: &Path) -> anyhow::Result<()> {
    print_title("Installing with cargo install");
    let root = tempfile::tempdir()?;
    for (package, option) in [("authd", "--check-config"), ("authctl", "--version")] {
        let path = format!("crates/{package}");
        let mut install = cargo(&["install", "--locked", "--no-track", "--path", &path, "--root"]);
        shell::run(install.arg(root.path()).env("CARGO_TARGET_DIR", target_dir))?;
        let mut program = Command::new(root.path().join("bin").join(package));
        print(stdout_of(program.arg(option).env_clear().env("HOME", root.path()))?.trim());
    }
    Ok(())
}

/// Checks that both programs print the commit of the sources and their targets. `run` runs one with
/// `--version`.
fn versions(build: &BuildOutput, run: impl Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<()> {
    let head = stdout_of(Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root()))?;
    for (program, target) in build.programs() {
        let version = run(program)?;
        ensure!(is_version(version.trim(), program, head.trim(), target), "unexpected version: {version}");
        print(version.trim());
    }
    Ok(())
}

/// Whether this is the program with its version, 12 digits of the commit and the target. The commit
/// may have a mark for changed files.
fn is_version(version: &str, program: &str, head: &str, target: &str) -> bool {
    let rest = version.strip_prefix(&format!("{program} {} ({:.12}", env!("CARGO_PKG_VERSION"), head));
    let rest = rest.and_then(|rest| rest.strip_suffix(&format!(", {target})")));
    rest.is_some_and(|mark| mark.is_empty() || mark == "-dirty")
}

/// Unpacks the tarball, and runs both programs.
pub(super) fn tarball(build: &BuildOutput, packages: &Packages) -> anyhow::Result<()> {
    print_title("Testing the tarball");
    let directory = tempfile::tempdir()?;
    run_quiet(Command::new("tar").arg("-xzf").arg(&packages.tarball).arg("-C").arg(directory.path()))?;
    let unpacked = directory.path().join(&packages.directory);
    let run = |program: &str, args: &[&str]| {
        let mut command = build.platform.command(&unpacked.join("bin").join(program));
        command.args(args).env_clear().env("HOME", directory.path());
        stdout_of(&mut command).with_context(|| format!("{program} {args:?}"))
    };
    versions(build, |program| run(program, &["--version"]))?;
    print(run("authd", &["--check-config"])?.trim());
    let example = unpacked.join("config/authd.toml");
    let example = example.to_str().context("the temporary directory has no UTF-8 path")?;
    print(run("authd", &["--check-config", "--config", example])?.trim());
    let units = run("authctl", &["service", "install", "--print"])?;
    let program = format!("{}/bin/authd", packages.directory);
    ensure!(units.contains(&program), "no unit names {program}:\n{units}");
    let pages = book::check_links(&unpacked)?;
    print(&format!("the links between the {pages} pages are right"));
    Ok(())
}

/// Installs the Debian package in a minimal Debian, uses both programs, and removes the package.
/// The package for another machine is only unpacked.
pub(super) fn debian(build: &BuildOutput, packages: &Packages) -> anyhow::Result<()> {
    print_title("Testing the Debian package in a minimal Debian");
    let Some(package) = &packages.debian else { return Ok(()) };
    for field in ["Package", "Version", "Architecture", "Depends", "Conflicts", "Installed-Size"] {
        let value = stdout_of(Command::new("dpkg-deb").arg("--field").arg(package).arg(field))?;
        print(&format!("{field}: {}", value.trim()));
    }
    if !build.platform.is_this_machine() {
        return unpacked_debian(build, package);
    }
    let system = match System::create() {
        Ok(system) => system,
        Err(reason) => return skip("installation in a minimal Debian", &reason),
    };
    let before = system.files()?;
    fs::copy(package, system.root().join("tmp/authd.deb"))?;
    system.run(&["dpkg", "--install", "/tmp/authd.deb"])?;
    let installed = system.run(&["dpkg", "--listfiles", "authd-agent"])?;
    for file in FILES {
        ensure!(installed.lines().any(|line| line == file), "{file} is missing in\n{installed}");
    }
    versions(build, |program| system.run(&[program, "--version"]))?;
    print(system.run(&["authd", "--check-config"])?.trim());
    let copyright = fs::read_to_string(system.root().join("usr/share/doc/authd-agent/copyright"))?;
    ensure!(copyright.contains("License: Expat or Apache-2.0\n"), "unexpected copyright file:\n{copyright}");
    let unit = fs::read_to_string(system.root().join("usr/lib/systemd/user/authd.service"))?;
    ensure!(unit.contains("ExecStart=/usr/bin/authd\n"), "the unit does not start /usr/bin/authd:\n{unit}");
    let pages = book::check_links(&system.root().join("usr/share/doc/authd-agent"))?;
    print(&format!("the links between the {pages} pages are right"));
    five_minutes::run(&system)?;
    system.run(&["dpkg", "--purge", "authd-agent"])?;
    fs::remove_file(system.root().join("tmp/authd.deb"))?;
    let remaining: Vec<_> = system.files()?.difference(&before).cloned().collect();
    let is_expected = |path: &PathBuf| DPKG_FILES.iter().any(|file| path == Path::new(file));
    ensure!(remaining.iter().all(is_expected), "the purge left files: {remaining:?}");
    print("installed, run and removed; no files remain");
    Ok(())
}

/// Unpacks the Debian package of another machine, and runs both programs.
fn unpacked_debian(build: &BuildOutput, package: &Path) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    run_quiet(Command::new("dpkg-deb").arg("--extract").arg(package).arg(directory.path()))?;
    for file in FILES {
        ensure!(directory.path().join(&file[1..]).exists(), "{file} is missing");
    }
    versions(build, |program| {
        stdout_of(build.platform.command(&directory.path().join("usr/bin").join(program)).arg("--version"))
    })?;
    print("unpacked and run, not installed: it is for another machine");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_without_the_commit_or_the_target_is_refused() {
        let version = concat!("authd ", env!("CARGO_PKG_VERSION"));
        let head = "0123456789abcdef0123456789abcdef01234567";
        let accepted = |details: &str| is_version(&format!("{version}{details}"), "authd", head, "x86_64-a");
        assert!(accepted(" (0123456789ab, x86_64-a)"));
        assert!(accepted(" (0123456789ab-dirty, x86_64-a)"));
        for details in
            ["", " (x86_64-a)", " (0123456789ab)", " (0123456789ac, x86_64-a)", " (0123456789ab, x86_64-b)"]
        {
            assert!(!accepted(details), "{details}");
        }
    }
}
