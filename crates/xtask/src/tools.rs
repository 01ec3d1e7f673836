//! Tools from the package registries, installed below `target` and kept there; `cargo clean`
//! removes them. The error for a tool that cannot be installed says why; the caller decides whether
//! to skip.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail, ensure};

use crate::shell::{self, print_note, print_title};

/// A directory below `target` that holds installed tools.
pub(crate) struct ToolDir {
    path: PathBuf,
}

impl ToolDir {
    /// Opens the directory of this name, and creates it if necessary.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        let path = shell::root().join("target").join(name);
        fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    /// The path of the directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Creates a Python virtual environment if necessary, and returns the path of its interpreter.
    pub(crate) fn python(&self) -> anyhow::Result<PathBuf> {
        let venv = self.path.join("venv");
        let python = venv.join("bin/python");
        // A virtual environment breaks when the system's Python is replaced, or if its creation was
        // interrupted.
        if run_quiet(Command::new(&python).args(["-m", "pip", "--version"])).is_err() {
            ensure!(shell::is_installed("python3"), "python3 is not installed");
            run_quiet(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))
                .context("cannot create a Python virtual environment")?;
        }
        Ok(python)
    }

    /// Installs a package from `PyPI` into the virtual environment; `package` includes its version.
    pub(crate) fn install_pip(&self, package: &str) -> anyhow::Result<()> {
        let python = self.python()?;
        self.install_once("venv", package, || {
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package];
            run_quiet(Command::new(python).args(pip))
        })
    }

    /// Installs a package from npm; `package` includes its version.
    pub(crate) fn install_npm(&self, package: &str) -> anyhow::Result<()> {
        ensure!(shell::is_installed("npm"), "npm is not installed");
        self.install_once("node_modules", package, || {
            let npm = ["install", "--no-audit", "--no-fund", "--save-exact", package];
            run_quiet(Command::new("npm").args(npm).current_dir(&self.path))
        })
    }

    /// Installs a program from crates.io, and returns its path.
    pub(crate) fn install_cargo(&self, name: &str, version: &str) -> anyhow::Result<PathBuf> {
        self.install_cargo_with(name, version, &[])
    }

    /// The same without optimization and debug information, and with only these features, which
    /// takes less time.
    pub(crate) fn install_cargo_debug(
        &self,
        name: &str,
        version: &str,
        features: &str,
    ) -> anyhow::Result<PathBuf> {
        self.install_cargo_with(name, version, &["--debug", "--no-default-features", "--features", features])
    }

    fn install_cargo_with(&self, name: &str, version: &str, options: &[&str]) -> anyhow::Result<PathBuf> {
        self.install_once("bin", &format!("{name}@{version}"), || {
            let install = ["install", name, "--version", version, "--locked", "--force", "--root"];
            let mut install = shell::cargo(&install);
            run_quiet(install.arg(&self.path).args(options).env("CARGO_PROFILE_DEV_DEBUG", "0"))
        })?;
        Ok(self.path.join("bin").join(name))
    }

    /// Installs a package unless its marker file exists. The marker lies beside the packages, so
    /// that both are deleted together.
    fn install_once(
        &self,
        subdirectory: &str,
        package: &str,
        install: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let marker = self.path.join(subdirectory).join(format!(".have-{}", package.replace('/', "+")));
        if !marker.exists() {
            print_title(&format!("Installing {package}"));
            install().with_context(|| format!("cannot install {package}"))?;
            fs::write(marker, "")?;
        }
        Ok(())
    }
}

/// Reports that a step, or a part of one, is skipped. In CI a skipped step is an error.
pub(crate) fn skip(step: &str, reason: &anyhow::Error) -> anyhow::Result<()> {
    ensure!(
        env::var_os("CI").is_none(),
        "{step}: {reason:#}. CI must not skip a step: install the tool (.ci/run installs Debian's), or unset CI"
    );
    print_note(&format!("skipped: {step}: {reason:#}"));
    Ok(())
}

/// The version in the output of `NAME --version`.
pub(crate) fn version_in<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    output.strip_prefix(name)?.strip_prefix(' ')?.split_whitespace().next()
}

/// Runs a command, and shows its output only if it fails.
pub(crate) fn run_quiet(command: &mut Command) -> anyhow::Result<()> {
    stdout_of(command).map(drop)
}

/// Runs a command, and returns its stdout. The error is the last line of its stderr.
pub(crate) fn stdout_of(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let last = stderr.lines().rfind(|line| !line.trim().is_empty());
        bail!("{}", last.map_or_else(|| output.status.to_string(), str::to_owned));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
