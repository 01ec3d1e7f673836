//! What is in the packages, and where it lies in each: the one list for both.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};

use super::{build::Built, licences::third_parties};
use crate::{shell::root, tools::said};

/// Where the repository's unit expects the daemon, and where the Debian package puts it.
const PROGRAM: (&str, &str) = ("ExecStart=%h/.cargo/bin/authd\n", "ExecStart=/usr/bin/authd\n");

/// Debian's directory for what is to be read.
const DOC: &str = "usr/share/doc/authd-agent";

/// Where a ware goes that is not in a package.
const NOWHERE: &str = "";

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
    let mut all: Vec<_> = wares.iter().filter_map(|ware| Some((ware.path(place)?, ware))).collect();
    all.sort_by_key(|(path, _)| *path);
    all
}

impl Ware {
    fn path(&self, place: Place) -> Option<&Path> {
        match place {
            Place::Tarball => self.tarball.as_deref(),
            Place::Debian => self.debian.as_deref(),
        }
    }
}

/// Reads and makes all of it. The manual pages and the completions are the client's own, but for the daemon's
/// page, which lies ready.
pub(super) fn gather(built: &Built, epoch: u64) -> anyhow::Result<Vec<Ware>> {
    let mut wares = Vec::new();
    let mut add = |bytes: Vec<u8>, mode, tarball: &str, debian: &str| {
        let path = |text: &str| Some(PathBuf::from(text)).filter(|_| text != NOWHERE);
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
    add(service.into_bytes(), 0o644, "systemd/authd.service", NOWHERE);
    add(packaged.into_bytes(), 0o644, NOWHERE, "usr/lib/systemd/user/authd.service");
    let socket = fs::read(root().join("systemd/authd.socket"))?;
    add(socket, 0o644, "systemd/authd.socket", "usr/lib/systemd/user/authd.socket");

    for (from, debian) in [
        ("launchd/io.authd.authd.plist", NOWHERE.to_owned()),
        ("config/authd.toml", format!("{DOC}/examples/authd.toml")),
        ("README.md", format!("{DOC}/README.md")),
        ("LICENSE-APACHE", NOWHERE.to_owned()),
        ("LICENSE-MIT", NOWHERE.to_owned()),
    ] {
        add(fs::read(root().join(from))?, 0o644, from, &debian);
    }
    let mit = fs::read_to_string(root().join("LICENSE-MIT"))?;
    let (whose, terms) = mit.split_at(mit.find("Permission").context("LICENSE-MIT grants no permission")?);
    let ours = copyright(whose, terms)?;
    add(ours.into_bytes(), 0o644, NOWHERE, &format!("{DOC}/copyright"));
    add(changelog(epoch)?.into_bytes(), 0o644, NOWHERE, &format!("{DOC}/changelog"));
    let others = third_parties(built, terms)?;
    add(others.into_bytes(), 0o644, "THIRD-PARTY.txt", &format!("{DOC}/THIRD-PARTY.txt"));
    let page = fs::read(root().join("crates/authd/authd.1"))?;
    add(page, 0o644, "share/man/man1/authd.1", "usr/share/man/man1/authd.1");
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
        ("bash", "bash-completion/completions/authctl", "bash-completion/completions/authctl"),
        ("fish", "fish/vendor_completions.d/authctl.fish", "fish/vendor_completions.d/authctl.fish"),
        ("zsh", "zsh/site-functions/_authctl", "zsh/vendor-completions/_authctl"),
    ] {
        let script = said(Command::new(&built.authctl).args(["completions", shell]))?;
        add(script.into_bytes(), 0o644, &format!("share/{tarball}"), &format!("usr/share/{debian}"));
    }
    Ok(wares)
}

/// Our licences, in the form of Debian's machine-readable copyright files.
fn copyright(whose: &str, terms: &str) -> anyhow::Result<String> {
    let owners = whose.lines().find_map(|line| line.strip_prefix("Copyright (c) "));
    let terms = terms.lines().map(|line| match line {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    Ok(format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: authd\n\nFiles: *\nCopyright: {}\nLicense: Expat or Apache-2.0\n\n\
         License: Expat\n{}\nLicense: Apache-2.0\n See /usr/share/common-licenses/Apache-2.0.\n",
        owners.context("LICENSE-MIT names no owners")?,
        terms.collect::<String>(),
    ))
}

/// What changed, as far as Debian wants to be told: which version it is, and since when.
fn changelog(epoch: u64) -> anyhow::Result<String> {
    let at = Timestamp::from_second(epoch.try_into()?)?.to_zoned_datetime(TimeZone::UTC);
    Ok(format!(
        "authd-agent ({}-1) unstable; urgency=medium\n\n  * What changed is told by the repository's history.\n\n \
         -- The authd authors <authd@authd.invalid>  {}\n",
        env!("CARGO_PKG_VERSION"),
        rfc2822::to_string(&at)?,
    ))
}

/// The files of a directory, without those of the directories in it.
pub(super) fn files_of(directory: &Path) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_file() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).context("a file has a plain name")?;
        files.push((name.to_owned(), fs::read(&path)?));
    }
    Ok(files)
}
