//! A minimal Debian in a directory, to install the package in.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};

use crate::{
    shell::is_installed,
    tools::{ToolDir, run_quiet, stdout_of},
};

/// Packages of the system beside the required ones: a dependency of ours, and a program for the
/// browser of the test.
const PACKAGES: [&str; 2] = ["ca-certificates", "curl"];

/// The ids of an ordinary user, and of its group.
const USER: u32 = 1000;
/// Longest time of a script in seconds. It only stops a hanging run.
const TIMEOUT: &str = "300";

/// A minimal Debian in a temporary directory.
pub(super) struct System(tempfile::TempDir);

impl System {
    /// Copies a base system that debootstrap has installed once.
    pub(super) fn create() -> anyhow::Result<Self> {
        ensure!(fs::metadata("/proc/self")?.uid() == 0, "only root can create one");
        ensure!(is_installed("debootstrap"), "debootstrap is not installed");
        let release = fs::read_to_string("/etc/os-release")?;
        let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let suite = suite.context("/etc/os-release has no VERSION_CODENAME")?;
        let tools = ToolDir::open("tools")?;
        let base = tools.path().join(format!("debian-{suite}-{}", PACKAGES.join("-")));
        if !base.exists() {
            // An interrupted installation must not look like a complete one.
            let part = tools.path().join("part");
            if part.exists() {
                fs::remove_dir_all(&part)?;
            }
            let mut debootstrap = Command::new("debootstrap");
            debootstrap
                .args(["--variant=minbase", &format!("--include={}", PACKAGES.join(",")), suite])
                .arg(&part);
            run_quiet(&mut debootstrap).context("debootstrap")?;
            fs::rename(&part, &base)?;
        }
        let system = Self(tempfile::tempdir_in(tools.path())?);
        run_quiet(
            Command::new("cp").args(["--archive", "--no-target-directory"]).arg(base).arg(system.root()),
        )?;
        Ok(system)
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// Runs a command in the system, without the environment of this process.
    pub(super) fn run(&self, command_line: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new("chroot");
        command.arg(self.root()).args(command_line).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root").env("LC_ALL", "C.UTF-8");
        stdout_of(&mut command).with_context(|| command_line.join(" "))
    }

    /// Runs a script in the home directory of an ordinary user, with `/proc`. What it has started
    /// ends with it. Returns its output.
    pub(super) fn run_as_user(&self, home: &str, script: &str) -> anyhow::Result<String> {
        let owner = format!("{USER}:{USER}");
        let absolute = format!("/{home}");
        self.run(&["chown", "--recursive", &owner, &absolute])?;
        let script = format!("{absolute}/{script}");
        let enter = r#"mount -t proc proc "$1/proc" && exec chroot --userspec="$2" "$1" sh "$3" 2>&1"#;
        let mut command = Command::new("timeout");
        command.args([
            TIMEOUT,
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            enter,
            "sh",
        ]);
        command.arg(self.root()).args([&owner, &script]).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", &absolute).env("LC_ALL", "C.UTF-8");
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{script}: {}\n{text}", output.status);
        Ok(text)
    }

    /// The paths of all files and directories.
    pub(super) fn files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let found = self.run(&["find", "/", "-xdev"])?;
        Ok(found.lines().map(PathBuf::from).collect())
    }
}
