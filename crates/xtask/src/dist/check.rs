//! Tests of the packages: the tarball is unpacked, the Debian package is installed in a minimal
//! Debian. A test whose tools are missing is skipped with a message.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::{
    Packages,
    build::{self, BuildOutput},
};
use crate::{
    shell::{self, cargo, print, print_note, print_title},
    tools::{ToolDir, run_quiet, stdout_of},
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

/// Checks that two packages of the same files are identical.
pub(super) fn same_packages(first: &Packages, second: &Packages) -> anyhow::Result<()> {
    same_bytes(&first.tarball, &second.tarball)?;
    if let Some((first, second)) = first.debian.as_ref().zip(second.debian.as_ref()) {
        same_bytes(first, second)?;
    }
    Ok(())
}

/// Compiles the sources again in an empty target directory, and checks that the binaries are
/// identical.
pub(super) fn same_binaries(build: &BuildOutput, target_dir: &Path) -> anyhow::Result<()> {
    print_title("Compiling again in another directory");
    if target_dir.exists() {
        fs::remove_dir_all(target_dir)?;
    }
    let again = build::run(target_dir)?;
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

/// Unpacks the tarball, and runs both programs.
pub(super) fn tarball(packages: &Packages) -> anyhow::Result<()> {
    print_title("Testing the tarball");
    let directory = tempfile::tempdir()?;
    run_quiet(Command::new("tar").arg("-xzf").arg(&packages.tarball).arg("-C").arg(directory.path()))?;
    let unpacked = directory.path().join(&packages.directory);
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(unpacked.join("bin").join(program));
        command.args(args).env_clear().env("HOME", directory.path());
        stdout_of(&mut command).with_context(|| format!("{program} {args:?}"))
    };
    print(run("authctl", &["--version"])?.trim());
    print(run("authd", &["--check-config"])?.trim());
    let example = unpacked.join("config/authd.toml");
    let example = example.to_str().context("the temporary directory has no UTF-8 path")?;
    print(run("authd", &["--check-config", "--config", example])?.trim());
    let units = run("authctl", &["service", "install", "--print"])?;
    let program = format!("{}/bin/authd", packages.directory);
    ensure!(units.contains(&program), "no unit names {program}:\n{units}");
    Ok(())
}

/// Installs the Debian package in a minimal Debian, runs both programs, and removes the package.
pub(super) fn debian(packages: &Packages) -> anyhow::Result<()> {
    print_title("Testing the Debian package in a minimal Debian");
    let Some(package) = &packages.debian else { return Ok(()) };
    let system = match System::create() {
        Ok(system) => system,
        Err(reason) => {
            print_note(&format!("skipped: installation in a minimal Debian: {reason:#}"));
            return Ok(());
        }
    };
    for field in ["Package", "Version", "Architecture", "Depends", "Conflicts", "Installed-Size"] {
        print(&format!(
            "{field}: {}",
            stdout_of(Command::new("dpkg-deb").arg("--field").arg(package).arg(field))?.trim()
        ));
    }
    let before = system.files()?;
    fs::copy(package, system.root().join("tmp/authd.deb"))?;
    system.run(&["dpkg", "--install", "/tmp/authd.deb"])?;
    let installed = system.run(&["dpkg", "--listfiles", "authd-agent"])?;
    for file in FILES {
        ensure!(installed.lines().any(|line| line == file), "{file} is missing in\n{installed}");
    }
    print(system.run(&["authctl", "--version"])?.trim());
    print(system.run(&["authd", "--check-config"])?.trim());
    let copyright = fs::read_to_string(system.root().join("usr/share/doc/authd-agent/copyright"))?;
    ensure!(copyright.contains("License: Expat or Apache-2.0\n"), "unexpected copyright file:\n{copyright}");
    let unit = fs::read_to_string(system.root().join("usr/lib/systemd/user/authd.service"))?;
    ensure!(unit.contains("ExecStart=/usr/bin/authd\n"), "the unit does not start /usr/bin/authd:\n{unit}");
    system.run(&["dpkg", "--purge", "authd-agent"])?;
    fs::remove_file(system.root().join("tmp/authd.deb"))?;
    let remaining: Vec<_> = system.files()?.difference(&before).cloned().collect();
    let is_expected = |path: &PathBuf| DPKG_FILES.iter().any(|file| path == Path::new(file));
    ensure!(remaining.iter().all(is_expected), "the purge left files: {remaining:?}");
    print("installed, run and removed; no files remain");
    Ok(())
}

/// A minimal Debian in a temporary directory.
struct System(tempfile::TempDir);

impl System {
    /// Copies a base system that debootstrap has installed once.
    fn create() -> anyhow::Result<Self> {
        ensure!(fs::metadata("/proc/self")?.uid() == 0, "only root can create one");
        ensure!(shell::is_installed("debootstrap"), "debootstrap is not installed");
        let release = fs::read_to_string("/etc/os-release")?;
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = suite.context("/etc/os-release has no VERSION_CODENAME")?;
        let tools = ToolDir::open("tools")?;
        let base = tools.path().join(format!("debian-{suite}"));
        if !base.exists() {
            // An interrupted installation must not look like a complete one.
            let part = tools.path().join("part");
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            let mut debootstrap = Command::new("debootstrap");
            run_quiet(debootstrap.args(["--variant=minbase", suite]).arg(&part)).context("debootstrap")?;
            fs::rename(&part, &base)?;
        }
        let system = Self(tempfile::tempdir_in(tools.path())?);
        run_quiet(
            Command::new("cp").args(["--archive", "--no-target-directory"]).arg(base).arg(system.root()),
        )?;
        Ok(system)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command in the system, without the environment of this process.
    fn run(&self, command_line: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("chroot");
        command.arg(self.root()).args(command_line).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").env("LC_ALL", "C.UTF-8");
        stdout_of(&mut command).with_context(|| command_line.join(" "))
    }

    /// The paths of all files and directories.
    fn files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let found = self.run(&["find", "/", "-xdev"])?;
        Ok(found.lines().map(PathBuf::from).collect())
    }
}
