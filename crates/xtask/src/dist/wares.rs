//! What is in the packages, and where it lies in each: the one list for both.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::build::Built;
use crate::{shell::root, tools::said};

/// Where the repository's unit expects the daemon, and where the Debian package puts it.
const PROGRAM: (&str, &str) = ("ExecStart=%h/.cargo/bin/authd\n", "ExecStart=/usr/bin/authd\n");

/// Debian's directory for what is to be read.
const DOC: &str = "usr/share/doc/authd-agent";

/// A file, and where it goes.
pub(super) struct Ware {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    tarball: Option<PathBuf>,
    debian: Option<PathBuf>,
}

/// A package.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Tarball,
    Debian,
}

/// Those that go there, by their paths.
pub(super) fn sorted(wares: &[Ware], place: Place) -> Vec<(&Path, &Ware)> {
    let at = |ware| match place {
        Place::Tarball => Ware::tarball(ware),
        Place::Debian => Ware::debian(ware),
    };
    let mut all: Vec<_> = wares.iter().filter_map(|ware| Some((at(ware)?, ware))).collect();
    all.sort_by_key(|(path, _)| *path);
    all
}

impl Ware {
    fn tarball(&self) -> Option<&Path> {
        self.tarball.as_deref()
    }

    fn debian(&self) -> Option<&Path> {
        self.debian.as_deref()
    }
}

/// Reads and makes all of it. The manual pages and the completions are the client's own.
pub(super) fn gather(built: &Built) -> anyhow::Result<Vec<Ware>> {
    let mut wares = Vec::new();
    let mut add = |bytes: Vec<u8>, mode, tarball: &str, debian: &str| {
        let path = |text: &str| Some(PathBuf::from(text)).filter(|path| path != Path::new(""));
        wares.push(Ware { bytes, mode, tarball: path(tarball), debian: path(debian) });
    };
    for (name, program) in [("authd", &built.authd), ("authctl", &built.authctl)] {
        add(fs::read(program)?, 0o755, &format!("bin/{name}"), &format!("usr/bin/{name}"));
    }

    let service = fs::read_to_string(root().join("systemd/authd.service"))?;
    ensure!(
        service.matches(PROGRAM.0).count() == 1,
        "authd.service has another ExecStart than is known here"
    );
    let packaged = service.replace(PROGRAM.0, PROGRAM.1);
    add(service.into_bytes(), 0o644, "systemd/authd.service", "");
    add(packaged.into_bytes(), 0o644, "", "usr/lib/systemd/user/authd.service");
    let socket = fs::read(root().join("systemd/authd.socket"))?;
    add(socket, 0o644, "systemd/authd.socket", "usr/lib/systemd/user/authd.socket");

    for (from, debian) in [
        ("launchd/io.authd.authd.plist", String::new()),
        ("config/authd.toml", format!("{DOC}/examples/authd.toml")),
        ("README.md", format!("{DOC}/README.md")),
        ("LICENSE-APACHE", format!("{DOC}/LICENSE-APACHE")),
        ("LICENSE-MIT", format!("{DOC}/LICENSE-MIT")),
    ] {
        add(fs::read(root().join(from))?, 0o644, from, &debian);
    }
    for (name, bytes) in files_of(&root().join("docs"))? {
        add(bytes, 0o644, &format!("docs/{name}"), &format!("{DOC}/docs/{name}"));
    }

    let pages = tempfile::tempdir()?;
    said(Command::new(&built.authctl).arg("man").arg(pages.path()))?;
    for (name, bytes) in files_of(pages.path())? {
        let page = format!("share/man/man1/{name}");
        add(bytes, 0o644, &page, &format!("usr/{page}"));
    }
    for (shell, tarball, debian) in [
        (
            "bash",
            "share/bash-completion/completions/authctl",
            "usr/share/bash-completion/completions/authctl",
        ),
        (
            "fish",
            "share/fish/vendor_completions.d/authctl.fish",
            "usr/share/fish/vendor_completions.d/authctl.fish",
        ),
        ("zsh", "share/zsh/site-functions/_authctl", "usr/share/zsh/vendor-completions/_authctl"),
    ] {
        let script = said(Command::new(&built.authctl).args(["completions", shell]))?;
        add(script.into_bytes(), 0o644, tarball, debian);
    }
    Ok(wares)
}

fn files_of(directory: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("a file has a plain name")?;
        files.push((name.to_owned(), fs::read(&path)?));
    }
    Ok(files)
}

/// The umask of whoever builds is not the package's.
pub(super) fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}
