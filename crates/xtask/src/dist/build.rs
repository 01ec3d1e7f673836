//! Builds the binaries of a release: the client as a static binary where the target is installed.
//! The binaries contain no path of the build machine.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use super::platform::Platform;
use crate::{
    shell::{self, cargo, root},
    tools::stdout_of,
};

/// `SOURCE_DATE_EPOCH` of the compilation. A dependency of `age` writes this time into the binary.
/// It is a constant, because cargo does not compile the dependency again when the variable changes.
const BUILD_TIME: &str = "1";

/// The variable that makes `--version` of both programs name the commit and the target.
const BUILD: &str = "AUTHD_BUILD";

/// The binaries of one build.
pub(super) struct BuildOutput {
    pub(super) platform: Platform,
    pub(super) authd: PathBuf,
    pub(super) authctl: PathBuf,
    /// The commit that both programs name.
    commit: String,
}

impl BuildOutput {
    /// Builds the same again in this target directory.
    pub(super) fn again(&self, target_dir: &Path) -> anyhow::Result<Self> {
        run(self.platform.clone(), target_dir, &self.commit)
    }

    /// The programs, each with its target triple.
    pub(super) fn programs(&self) -> [(&'static str, &str); 2] {
        [("authd", &self.platform.daemon), ("authctl", &self.platform.client)]
    }
}

/// Builds both programs in this target directory. `commit` is what they name.
pub(super) fn run(platform: Platform, target_dir: &Path, commit: &str) -> anyhow::Result<BuildOutput> {
    let authd = compile(&platform, ("authd", &platform.daemon), target_dir, commit)?;
    let authctl = compile(&platform, ("authctl", &platform.client), target_dir, commit)?;
    Ok(BuildOutput { platform, authd, authctl, commit: commit.to_owned() })
}

/// Builds one program, and returns its path. The target is always named, so that build scripts do
/// not get the flags.
fn compile(
    platform: &Platform,
    (package, target): (&str, &str),
    target_dir: &Path,
    commit: &str,
) -> anyhow::Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")?;
    // If several prefixes match, the last one counts.
    let renamed = [(root(), "/authd"), (target_dir, "/build"), (home.as_path(), "/cargo")];
    let flags = |option: &str| renamed.map(|(from, to)| format!("{option}={}={to}", from.display()));
    let build = format!("{} ({}, {target})", env!("CARGO_PKG_VERSION"), commit);
    let args = ["build", "--release", "--locked", "--package", package, "--target", target];
    let mut command = cargo(&args);
    command.env("CARGO_TARGET_DIR", target_dir).env("SOURCE_DATE_EPOCH", BUILD_TIME).env(BUILD, build);
    command.env("CARGO_ENCODED_RUSTFLAGS", flags("--remap-path-prefix").join("\x1f"));
    command.env("CFLAGS", flags("-ffile-prefix-map").join(" "));
    platform.set_linker(&mut command, target);
    shell::run(&mut command)?;
    Ok(target_dir.join(target).join("release").join(package))
}

/// The commit of the sources in 12 digits, with `-dirty` if a file of it was changed.
pub(super) fn commit() -> anyhow::Result<String> {
    let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let commit = stdout_of(Command::new("git").args(describe).current_dir(root())).context("no commit")?;
    Ok(commit.trim().to_owned())
}
