//! The binaries for a release: the daemon for this machine's kind, the client static where that target is
//! installed, so that it runs on any machine and starts faster. Nothing of the builder's paths is in them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
    release::{self, Profile},
    shell::{self, cargo, note, root},
    tools::said,
};

/// A dependency of age's puts the times of its files into the binary, or this one. It is no commit's: cargo
/// does not know that it was asked for, and would keep what was built with another.
const BUILT_AT: &str = "1";

/// What was built.
pub(super) struct Built {
    /// This machine's kind, in rustc's words.
    pub(super) host: String,
    /// What `authctl` is built for, in the same words.
    pub(super) client: String,
    pub(super) authd: PathBuf,
    pub(super) authctl: PathBuf,
}

/// Builds both, into this directory.
pub(super) fn run(place: &Path) -> anyhow::Result<Built> {
    let version = said(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc has no host")?;
    let target = release::static_target().unwrap_or(host);
    if target == host {
        note(
            "authctl is built for this machine's C library; for a static one, add the musl target with rustup",
        );
    }
    let authd = compile("authd", Profile::Release, host, place)?;
    let authctl = compile("authctl", Profile::Client, target, place)?;
    Ok(Built { authd, authctl, host: host.to_owned(), client: target.to_owned() })
}

/// Builds one of them; where it is then. Targets are always named, so that build scripts get none of the
/// flags.
fn compile(package: &str, profile: Profile, target: &str, place: &Path) -> anyhow::Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo"))).context("no home")?;
    // The last that fits counts.
    let renamed = [(root(), "/authd"), (place, "/build"), (home.as_path(), "/cargo")];
    let flags = |option: &str| renamed.map(|(from, to)| format!("{option}={}={to}", from.display()));
    let told = [flags("--remap-path-prefix").as_slice(), &profile.flags(Some(target))].concat();
    let profile = profile.name();
    let args = ["build", "--profile", profile, "--locked", "--package", package, "--target", target];
    let mut command = cargo(&args);
    command.env("CARGO_TARGET_DIR", place).env("SOURCE_DATE_EPOCH", BUILT_AT);
    command.env("CARGO_ENCODED_RUSTFLAGS", told.join("\x1f"));
    command.env("CFLAGS", flags("-ffile-prefix-map").join(" "));
    shell::run(&mut command)?;
    Ok(place.join(target).join(profile).join(package))
}
