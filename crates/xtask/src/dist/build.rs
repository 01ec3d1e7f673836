//! Builds the binaries of a release: the daemon for this machine, the client as a static binary
//! where the target is installed. The binaries contain no path of the build machine.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
    release,
    shell::{self, cargo, print_note, root},
    tools::stdout_of,
};

/// `SOURCE_DATE_EPOCH` of the compilation. A dependency of `age` writes this time into the binary.
/// It is a constant, because cargo does not compile the dependency again when the variable changes.
const BUILD_TIME: &str = "1";

/// The variable that makes `--version` of both programs name the commit and the target.
const BUILD: &str = "AUTHD_BUILD";

/// The binaries of one build.
pub(super) struct BuildOutput {
    /// The target triple of this machine and of `authd`.
    pub(super) host: String,
    /// The target triple of `authctl`.
    pub(super) client: String,
    pub(super) authd: PathBuf,
    pub(super) authctl: PathBuf,
    /// The commit that both programs name.
    commit: String,
}

impl BuildOutput {
    /// Builds the same again in this target directory.
    pub(super) fn again(&self, target_dir: &Path) -> anyhow::Result<Self> {
        run(target_dir, &self.commit)
    }

    /// The programs, each with its target triple.
    pub(super) fn programs(&self) -> [(&'static str, &str); 2] {
        [("authd", &self.host), ("authctl", &self.client)]
    }
}

/// Builds both programs in this target directory. `commit` is what they name.
pub(super) fn run(target_dir: &Path, commit: &str) -> anyhow::Result<BuildOutput> {
    let version = stdout_of(Command::new("rustc").arg("-vV"))?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc prints no host")?;
    let target = release::static_target().unwrap_or(host);
    if target == host {
        print_note(
            "authctl is built for this machine's C library; for a static binary, add the musl target with rustup",
        );
    }
    let authd = compile("authd", host, target_dir, commit)?;
    let authctl = compile("authctl", target, target_dir, commit)?;
    Ok(BuildOutput {
        authd,
        authctl,
        host: host.to_owned(),
        client: target.to_owned(),
        commit: commit.to_owned(),
    })
}

/// Builds one program, and returns its path. The target is always named, so that build scripts do
/// not get the flags.
fn compile(package: &str, target: &str, target_dir: &Path, commit: &str) -> anyhow::Result<PathBuf> {
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
    shell::run(&mut command)?;
    Ok(target_dir.join(target).join("release").join(package))
}

/// The commit of the sources in 12 digits, with `-dirty` if a file of it was changed.
pub(super) fn commit() -> anyhow::Result<String> {
    let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    let commit = stdout_of(Command::new("git").args(describe).current_dir(root())).context("no commit")?;
    Ok(commit.trim().to_owned())
}
