//! Tools from the package registries, fetched into a directory that outlives the run; `cargo clean`
//! removes it. What cannot be had is an error that says why, for the caller to skip by.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::shell::{self, note, title};

/// A directory of tools below `target`.
pub(crate) struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// The directory of this name, made if need be.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        let dir = shell::root().join("target").join(name);
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// Where it is.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A Python of its own.
    pub(crate) fn python(&self) -> anyhow::Result<PathBuf> {
        let venv = self.dir.join("venv");
        let python = venv.join("bin/python");
        // One whose Python has been replaced since is no good any more, and one half made never was.
        if succeeds(Command::new(&python).args(["-m", "pip", "--version"])).is_err() {
            ensure!(shell::has("python3"), "there is no python3");
            succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
                .context("no venv")?;
        }
        Ok(python)
    }

    /// A package from `PyPI` for that Python, with its version.
    pub(crate) fn pip(&self, package: &str) -> anyhow::Result<()> {
        let python = self.python()?;
        self.once("venv", package, || {
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package];
            succeeds(Command::new(python).args(pip))
        })
    }

    /// A package from npm, with its version.
    pub(crate) fn npm(&self, package: &str) -> anyhow::Result<()> {
        ensure!(shell::has("npm"), "there is no npm");
        self.once("node_modules", package, || {
            let npm = ["install", "--no-audit", "--no-fund", "--save-exact", package];
            succeeds(Command::new("npm").args(npm).current_dir(&self.dir))
        })
    }

    /// A program from crates.io, with its version; where it is then.
    pub(crate) fn program(&self, name: &str, version: &str) -> anyhow::Result<PathBuf> {
        self.once("bin", &format!("{name}@{version}"), || {
            let install = ["install", name, "--version", version, "--locked", "--force", "--root"];
            succeeds(shell::cargo(&install).arg(&self.dir))
        })?;
        Ok(self.dir.join("bin").join(name))
    }

    /// Fetches a package unless it was fetched before. The mark lies with the packages, and goes with them.
    fn once(
        &self,
        home: &str,
        package: &str,
        fetch: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mark = self.dir.join(home).join(format!(".have-{}", package.replace('/', "+")));
        if !mark.exists() {
            title(&format!("Fetching {package}"));
            fetch().with_context(|| format!("{package} cannot be had"))?;
            fs::write(mark, "")?;
        }
        Ok(())
    }
}

/// Says to a person what is left out, for want of what. In CI nobody would read it: there it is a failure.
pub(crate) fn skipped(what: &str, why: &anyhow::Error) -> anyhow::Result<()> {
    ensure!(
        env::var_os("CI").is_none(),
        "{what}: {why:#}. In CI nothing is left out: provide it (.ci/run installs what Debian has), or unset CI"
    );
    note(&format!("skipped: {what}: {why:#}"));
    Ok(())
}

/// Runs a command whose output matters only if it fails.
pub(crate) fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    said(command).map(drop)
}

/// Runs a command, and returns what it wrote to stdout.
pub(crate) fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}", said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it failed silently"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
