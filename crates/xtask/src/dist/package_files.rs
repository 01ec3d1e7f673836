//! The files of the packages, and their paths in the tarball and in the Debian package.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use jiff::{Timestamp, fmt::rfc2822, tz::TimeZone};

use super::{build::BuildOutput, licences::third_party_notice};
use crate::{shell::root, tools::stdout_of};

/// The line of the unit that names the daemon: in the repository, and in the Debian package.
const EXEC_START: (&str, &str) = ("ExecStart=%h/.cargo/bin/authd\n", "ExecStart=/usr/bin/authd\n");

/// The documentation directory of the Debian package.
const DOC: &str = "usr/share/doc/authd-agent";

/// The files that cargo-deb changes and installs. `crates/authd/Cargo.toml` has the same paths.
const DEBIAN_COPYRIGHT: &str = "copyright";
const DEBIAN_CHANGELOG: &str = "changelog";

/// The directories whose files are documentation, beside the pages in the root directory.
const DOCUMENTS: [&str; 4] = ["clients", "config", "docs", "examples"];

/// The path of a file that a package does not contain.
const NOT_INCLUDED: &str = "";

/// A file, and its path in each package.
pub(super) struct PackageFile {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    tarball: Option<PathBuf>,
    debian: Option<PathBuf>,
}

/// A kind of package.
#[derive(Clone, Copy)]
pub(super) enum PackageKind {
    Tarball,
    Debian,
}

/// The files of one package, sorted by path.
pub(super) fn sorted(files: &[PackageFile], kind: PackageKind) -> Vec<(&Path, &PackageFile)> {
    let mut files: Vec<_> = files.iter().filter_map(|file| Some((file.path(kind)?, file))).collect();
    files.sort_by_key(|(path, _)| *path);
    files
}

impl PackageFile {
    fn path(&self, kind: PackageKind) -> Option<&Path> {
        match kind {
            PackageKind::Tarball => self.tarball.as_deref(),
            PackageKind::Debian => self.debian.as_deref(),
        }
    }
}

/// Reads and generates all files. `authctl` writes its manual pages and completions; the daemon's
/// manual page is in the repository.
pub(super) fn collect(build: &BuildOutput, epoch: u64) -> anyhow::Result<Vec<PackageFile>> {
    let mut files = Vec::new();
    let mut add = |bytes: Vec<u8>, mode, tarball: &str, debian: &str| {
        let path = |text: &str| Some(PathBuf::from(text)).filter(|_| text != NOT_INCLUDED);
        files.push(PackageFile { bytes, mode, tarball: path(tarball), debian: path(debian) });
    };
    for (name, program) in [("authd", &build.authd), ("authctl", &build.authctl)] {
        add(fs::read(program)?, 0o755, &format!("bin/{name}"), &format!("usr/bin/{name}"));
    }

    let service = fs::read_to_string(root().join("systemd/authd.service"))?;
    ensure!(
        service.matches(EXEC_START.0).count() == 1,
        "systemd/authd.service does not contain the ExecStart line that xtask replaces"
    );
    let packaged = service.replace(EXEC_START.0, EXEC_START.1);
    add(service.into_bytes(), 0o644, "systemd/authd.service", NOT_INCLUDED);
    add(packaged.into_bytes(), 0o644, NOT_INCLUDED, "usr/lib/systemd/user/authd.service");
    let socket = fs::read(root().join("systemd/authd.socket"))?;
    add(socket, 0o644, "systemd/authd.socket", "usr/lib/systemd/user/authd.socket");

    for from in ["launchd/io.authd.authd.plist", "LICENSE-APACHE", "LICENSE-MIT"] {
        add(fs::read(root().join(from))?, 0o644, from, NOT_INCLUDED);
    }
    // At the same paths relative to each other as in the repository, so that their links work.
    for path in documents()? {
        let mode = if is_executable(&root().join(&path))? { 0o755 } else { 0o644 };
        add(fs::read(root().join(&path))?, mode, &path, &format!("{DOC}/{path}"));
    }
    let mit = fs::read_to_string(root().join("LICENSE-MIT"))?;
    let (notice, terms) = mit.split_at(mit.find("Permission").context("LICENSE-MIT contains no permission")?);
    let copyright = copyright(notice, terms)?;
    add(copyright.into_bytes(), 0o644, NOT_INCLUDED, DEBIAN_COPYRIGHT);
    add(changelog(epoch)?.into_bytes(), 0o644, NOT_INCLUDED, DEBIAN_CHANGELOG);
    let notice = third_party_notice(build, terms)?;
    add(notice.into_bytes(), 0o644, "THIRD-PARTY.txt", &format!("{DOC}/THIRD-PARTY.txt"));
    let page = fs::read(root().join("crates/authd/authd.1"))?;
    add(page, 0o644, "share/man/man1/authd.1", "usr/share/man/man1/authd.1");

    let pages = tempfile::tempdir()?;
    stdout_of(build.platform.command(&build.authctl).arg("man").arg(pages.path()))?;
    for (name, bytes) in files_of(pages.path())? {
        let page = format!("share/man/man1/{name}");
        add(bytes, 0o644, &page, &format!("usr/{page}"));
    }
    for (shell, tarball, debian) in [
        ("bash", "bash-completion/completions/authctl", "bash-completion/completions/authctl"),
        ("fish", "fish/vendor_completions.d/authctl.fish", "fish/vendor_completions.d/authctl.fish"),
        ("zsh", "zsh/site-functions/_authctl", "zsh/vendor-completions/_authctl"),
    ] {
        let script = stdout_of(build.platform.command(&build.authctl).args(["completions", shell]))?;
        add(script.into_bytes(), 0o644, &format!("share/{tarball}"), &format!("usr/share/{debian}"));
    }
    Ok(files)
}

/// The paths of the documentation in the repository: what git has, and not what a run left there.
fn documents() -> anyhow::Result<Vec<String>> {
    let mut list = Command::new("git");
    list.args(["ls-files", "-z", "--", ":(glob)*.md"]).args(DOCUMENTS).current_dir(root());
    let paths = stdout_of(&mut list).context("the documentation is the files of a git checkout")?;
    Ok(paths.split_terminator('\0').map(str::to_owned).collect())
}

fn is_executable(path: &Path) -> anyhow::Result<bool> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o111 != 0)
}

/// The `copyright` file of the Debian package, in the machine-readable format.
fn copyright(notice: &str, terms: &str) -> anyhow::Result<String> {
    let owners = notice.lines().find_map(|line| line.strip_prefix("Copyright (c) "));
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

/// The changelog of the Debian package, which must name the version and its date.
fn changelog(epoch: u64) -> anyhow::Result<String> {
    let at = Timestamp::from_second(epoch.try_into()?)?.to_zoned_datetime(TimeZone::UTC);
    Ok(format!(
        "authd-agent ({}-1) unstable; urgency=medium\n\n  * See the history of the repository.\n\n \
         -- The authd authors <authd@authd.invalid>  {}\n",
        env!("CARGO_PKG_VERSION"),
        rfc2822::to_string(&at)?,
    ))
}

/// The names and contents of the files in a directory, without subdirectories.
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
