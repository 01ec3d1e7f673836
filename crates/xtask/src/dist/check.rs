//! The packages, tried as a person gets them: unpacked, and installed in a fresh Debian with nothing else
//! in it. What is missing for that is said, and skipped.

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
    build::{self, Built},
};
use crate::{
    shell::{self, cargo, note, say, title},
    tools::{Tools, said, succeeds},
};

/// What the Debian package has to bring, besides what is in both.
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

/// What dpkg itself leaves in a system, whatever is installed and removed.
const DPKGS_OWN: [&str; 2] = ["/var/lib/dpkg/status-old", "/var/log/dpkg.log"];

/// Two packings of the same files must not differ.
pub(super) fn packed_alike(one: &Packages, other: &Packages) -> anyhow::Result<()> {
    alike(&one.tarball, &other.tarball)?;
    if let Some((one, other)) = one.debian.as_ref().zip(other.debian.as_ref()) {
        alike(one, other)?;
    }
    Ok(())
}

/// Two compilations of the same sources must not differ, the second from nothing and into another directory.
pub(super) fn compiled_alike(built: &Built, place: &Path) -> anyhow::Result<()> {
    title("Compiling once more, into another directory");
    if place.exists() {
        fs::remove_dir_all(place)?;
    }
    let again = build::run(place)?;
    alike(&built.authd, &again.authd)?;
    alike(&built.authctl, &again.authctl)
}

fn alike(one: &Path, other: &Path) -> anyhow::Result<()> {
    ensure!(fs::read(one)? == fs::read(other)?, "{} differs from {}", one.display(), other.display());
    say(&format!("the same bytes: {} and {}", one.display(), other.display()));
    Ok(())
}

/// Installs both programs as a person at a checkout does, in a directory that goes again.
pub(super) fn installed_by_cargo(place: &Path) -> anyhow::Result<()> {
    title("cargo install");
    let root = tempfile::tempdir()?;
    for (package, works) in [("authd", "--check-config"), ("authctl", "--version")] {
        let path = format!("crates/{package}");
        let mut install = cargo(&["install", "--locked", "--no-track", "--path", &path, "--root"]);
        shell::run(install.arg(root.path()).env("CARGO_TARGET_DIR", place))?;
        let mut program = Command::new(root.path().join("bin").join(package));
        say(said(program.arg(works).env_clear().env("HOME", root.path()))?.trim());
    }
    Ok(())
}

/// Unpacks the tarball, and runs what is in it.
pub(super) fn tarball(packages: &Packages) -> anyhow::Result<()> {
    title("The tarball, unpacked");
    let place = tempfile::tempdir()?;
    succeeds(Command::new("tar").arg("-xzf").arg(&packages.tarball).arg("-C").arg(place.path()))?;
    let unpacked = place.path().join(&packages.name);
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(unpacked.join("bin").join(program));
        command.args(args).env_clear().env("HOME", place.path());
        said(&mut command).with_context(|| format!("{program} {args:?}"))
    };
    say(run("authctl", &["--version"])?.trim());
    say(run("authd", &["--check-config"])?.trim());
    let example = unpacked.join("config/authd.toml");
    let example = example.to_str().context("temporary directories have plain names")?;
    say(run("authd", &["--check-config", "--config", example])?.trim());
    let units = run("authctl", &["service", "install", "--print"])?;
    let own = format!("{}/bin/authd", packages.name);
    ensure!(units.contains(&own), "no unit for {own}:\n{units}");
    Ok(())
}

/// Installs the Debian package in a fresh system, runs what it brings, removes it.
pub(super) fn debian(packages: &Packages) -> anyhow::Result<()> {
    title("The Debian package, in a fresh system");
    let Some(package) = &packages.debian else { return Ok(()) };
    let system = match System::make() {
        Ok(system) => system,
        Err(why) => {
            note(&format!("skipped: no fresh system: {why:#}"));
            return Ok(());
        }
    };
    for field in ["Package", "Version", "Architecture", "Depends", "Conflicts", "Installed-Size"] {
        say(&format!(
            "{field}: {}",
            said(Command::new("dpkg-deb").arg("--field").arg(package).arg(field))?.trim()
        ));
    }
    let before = system.files()?;
    fs::copy(package, system.root().join("tmp/authd.deb"))?;
    system.run(&["dpkg", "--install", "/tmp/authd.deb"])?;
    let brought = system.run(&["dpkg", "--listfiles", "authd-agent"])?;
    for file in FILES {
        ensure!(brought.lines().any(|line| line == file), "{file} is missing in\n{brought}");
    }
    say(system.run(&["authctl", "--version"])?.trim());
    say(system.run(&["authd", "--check-config"])?.trim());
    let copyright = fs::read_to_string(system.root().join("usr/share/doc/authd-agent/copyright"))?;
    ensure!(copyright.contains("License: Expat or Apache-2.0\n"), "not our copyright:\n{copyright}");
    let unit = fs::read_to_string(system.root().join("usr/lib/systemd/user/authd.service"))?;
    ensure!(unit.contains("ExecStart=/usr/bin/authd\n"), "the unit starts something else:\n{unit}");
    system.run(&["dpkg", "--purge", "authd-agent"])?;
    fs::remove_file(system.root().join("tmp/authd.deb"))?;
    let left: Vec<_> = system.files()?.difference(&before).cloned().collect();
    ensure!(left.iter().all(|path| DPKGS_OWN.iter().any(|own| path == Path::new(own))), "left: {left:?}");
    say("installed, run, removed: nothing is left");
    Ok(())
}

/// A Debian with nothing in it but what every Debian has.
struct System(tempfile::TempDir);

impl System {
    /// Copied from one that is fetched once.
    fn make() -> anyhow::Result<Self> {
        ensure!(fs::metadata("/proc/self")?.uid() == 0, "only root can make one");
        ensure!(shell::has("debootstrap"), "there is no debootstrap");
        let release = fs::read_to_string("/etc/os-release")?;
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = suite.context("this machine's release has no name")?;
        let tools = Tools::open("tools")?;
        let base = tools.dir().join(format!("debian-{suite}"));
        if !base.exists() {
            // Half of one is none.
            let part = tools.dir().join("part");
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            let mut fetch = Command::new("debootstrap");
            succeeds(fetch.args(["--variant=minbase", suite]).arg(&part)).context("debootstrap")?;
            fs::rename(&part, &base)?;
        }
        let system = Self(tempfile::tempdir_in(tools.dir())?);
        succeeds(
            Command::new("cp").args(["--archive", "--no-target-directory"]).arg(base).arg(system.root()),
        )?;
        Ok(system)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command in it, with nothing of this environment.
    fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("chroot");
        command.arg(self.root()).args(words).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").env("LC_ALL", "C.UTF-8");
        said(&mut command).with_context(|| words.join(" "))
    }

    /// Everything in it.
    fn files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let found = self.run(&["find", "/", "-xdev"])?;
        Ok(found.lines().map(PathBuf::from).collect())
    }
}
