//! Tools from the package registries, in fixed versions. Those of `PyPI` and npm are installed
//! below `target`; `cargo clean` removes them. Those of crates.io take minutes to build, so they
//! are kept in the user's cache. The error for a tool that cannot be installed says why; the caller
//! decides whether to skip.

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

/// A program of crates.io.
pub(crate) struct CargoTool {
    /// The name of the package, which is that of the program.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Options of `cargo install`, for example the features.
    pub(crate) options: &'static [&'static str],
}

impl CargoTool {
    /// The path of the program: the one in `PATH` if it has this version, else a build that is kept
    /// for later runs of all checkouts. It is built without optimization, which would take longer
    /// than it saves.
    pub(crate) fn install(&self) -> anyhow::Result<PathBuf> {
        let Self { name, version, options } = *self;
        let installed = stdout_of(Command::new(name).arg("--version")).unwrap_or_default();
        if version_in(&installed, name) == Some(version) {
            return Ok(name.into());
        }
        let kept = tool_cache()?.join(format!("{name}-{version}"));
        let program = kept.join("bin").join(name);
        // cargo writes the program last, and in one step.
        if !program.is_file() {
            print_title(&format!(
                "Installing {name} {version}: takes minutes, is kept in {}",
                kept.display()
            ));
            let target = tempfile::tempdir()?;
            let install = ["install", name, "--version", version, "--locked", "--debug", "--force", "--root"];
            let mut install = shell::cargo(&install);
            install.arg(&kept).args(options);
            install.env("CARGO_TARGET_DIR", target.path()).env("CARGO_PROFILE_DEV_DEBUG", "0");
            run_quiet(&mut install).with_context(|| format!("cannot install {name}"))?;
        }
        Ok(program)
    }
}

/// The directory for tools that take long to build. It lies outside of `target`, so that a fresh
/// clone on the same machine finds them.
fn tool_cache() -> anyhow::Result<PathBuf> {
    let directory = |name, below| env::var_os(name).map(|path| Path::new(&path).join(below));
    let cache = directory("XDG_CACHE_HOME", "").or_else(|| directory("HOME", ".cache"));
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("authd-xtask"))
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

/// The version in the output of `NAME --version`, without the `v` that some programs write.
pub(crate) fn version_in<'a>(output: &'a str, name: &str) -> Option<&'a str> {
    let version = output.strip_prefix(name)?.strip_prefix(' ')?.split_whitespace().next()?;
    Some(version.strip_prefix('v').unwrap_or(version))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_the_output() {
        assert_eq!(version_in("cargo-deny 0.20.2\n", "cargo-deny"), Some("0.20.2"));
        assert_eq!(version_in("mdbook v0.5.4\n", "mdbook"), Some("0.5.4"));
        assert_eq!(version_in("rustc 1.95.0 (59807616e 2026-04-14)\n", "rustc"), Some("1.95.0"));
        assert_eq!(version_in("rustc 1.97.0-nightly (abc 2026-05-01)\n", "rustc"), Some("1.97.0-nightly"));
        for other in ["", "0.20.2", "cargo-deny", "cargo-denying 0.20.2", "error: no default toolchain"] {
            assert_eq!(version_in(other, "cargo-deny"), None, "{other}");
        }
    }
}
