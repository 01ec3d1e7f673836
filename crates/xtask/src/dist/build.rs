//! The binaries for a release: the daemon for this machine's kind, the client static where that target is
//! installed, so that it runs on any machine and starts faster. Nothing of the builder's paths is in them.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
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
    pub(super) authd: PathBuf,
    pub(super) authctl: PathBuf,
}

/// Builds both.
pub(super) fn run() -> anyhow::Result<Built> {
    let version = said(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc has no host")?;
    let installed = said(Command::new("rustup").args(["target", "list", "--installed"])).unwrap_or_default();
    let target = client_target(host, &installed);
    if target == host {
        note(
            "authctl is built for this machine's C library; for a static one, add the musl target with rustup",
        );
    }
    let place = root().join("target/dist/build");
    compile("authd", host, &place)?;
    compile("authctl", &target, &place)?;
    let program = |target: &str, name: &str| place.join(target).join("release").join(name);
    Ok(Built { authd: program(host, "authd"), authctl: program(&target, "authctl"), host: host.to_owned() })
}

/// The target of the client: static where it can be.
fn client_target(host: &str, installed: &str) -> String {
    let musl = host.replace("-gnu", "-musl");
    if installed.lines().any(|target| target == musl) { musl } else { host.to_owned() }
}

/// Targets are always named, so that build scripts get none of the flags.
fn compile(package: &str, target: &str, place: &Path) -> anyhow::Result<()> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo"))).context("no home")?;
    let renamed = [(root(), "/authd"), (home.as_path(), "/cargo")];
    let flags =
        |option: &str| renamed.map(|(from, to)| format!("{option}={}={to}", from.display())).join(" ");
    let args = ["build", "--release", "--locked", "--package", package, "--target", target];
    let mut command = cargo(&args);
    command.env("CARGO_TARGET_DIR", place).env("SOURCE_DATE_EPOCH", BUILT_AT);
    command.env("RUSTFLAGS", flags("--remap-path-prefix")).env("CFLAGS", flags("-ffile-prefix-map"));
    shell::run(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_static_where_it_can_be() {
        let host = "x86_64-unknown-linux-gnu";
        let both = "x86_64-unknown-linux-gnu\nx86_64-unknown-linux-musl\n";
        assert_eq!(client_target(host, both), "x86_64-unknown-linux-musl");
        assert_eq!(client_target(host, host), host);
        assert_eq!(client_target("aarch64-apple-darwin", both), "aarch64-apple-darwin");
    }
}
