//! `cargo xtask dist`: builds a tarball, and with cargo-deb a Debian package of the same files. The
//! build is reproducible: times come from the last commit, owners are root, entries are sorted, and
//! the binaries contain no path of the build machine.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use flate2::{Compression, GzBuilder};

use crate::{
    shell::{self, print, print_note, print_title, root},
    tools::{ToolDir, stdout_of},
};

mod build;
mod check;
mod licences;
mod package_files;

use self::package_files::{PackageFile, PackageKind};

/// The name and version of cargo-deb. The version is fixed because another one may compress
/// differently.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");

/// The packages of one run.
struct Packages {
    tarball: PathBuf,
    /// The name of the directory in the tarball.
    directory: String,
    /// The Debian package; `None` if this machine cannot build one.
    debian: Option<PathBuf>,
}

/// Builds the packages, and tests them if `check` is set.
pub(crate) fn run(check: bool) -> anyhow::Result<()> {
    let epoch = epoch()?;
    let directory = root().join("target/dist");
    print_title("Building the release");
    let build = build::run(&directory.join("build"))?;
    print_title("Building the packages");
    let files = package_files::collect(&build, epoch)?;
    let packages = pack(&build.host, &files, epoch, &directory)?;
    for path in [Some(&packages.tarball), packages.debian.as_ref()].into_iter().flatten() {
        print(&format!("{}, {} bytes", path.display(), fs::metadata(path)?.len()));
    }
    if check {
        print_title("Building the packages again");
        let again = pack(&build.host, &files, epoch, &directory.join("again"))?;
        check::same_packages(&packages, &again)?;
        check::tarball(&packages)?;
        check::debian(&packages)?;
        check::same_binaries(&build, &directory.join("build-again"))?;
        check::cargo_install(&directory.join("install"))?;
    }
    Ok(())
}

/// The modification time of every file: `SOURCE_DATE_EPOCH`, else the time of the last commit.
fn epoch() -> anyhow::Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => stdout_of(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))
            .context(
                "no modification time for the files: set SOURCE_DATE_EPOCH, or build in a git checkout",
            )?,
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds"))
}

fn pack(host: &str, files: &[PackageFile], epoch: u64, output: &Path) -> anyhow::Result<Packages> {
    fs::create_dir_all(output)?;
    let directory = format!("authd-{}-{host}", env!("CARGO_PKG_VERSION"));
    let tarball = output.join(format!("{directory}.tar.gz"));
    write_tarball(&tarball, &directory, files, epoch)?;
    let debian = match build_debian(files, epoch, output) {
        Ok(debian) => Some(debian),
        Err(reason) => {
            print_note(&format!("skipped: Debian package: {reason:#}"));
            None
        }
    };
    Ok(Packages { tarball, directory, debian })
}

fn write_tarball(path: &Path, directory: &str, files: &[PackageFile], epoch: u64) -> anyhow::Result<()> {
    // The default gzip header contains neither a name nor a time.
    let gzip = GzBuilder::new().write(fs::File::create(path)?, Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (path, file) in package_files::sorted(files, PackageKind::Tarball) {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(file.bytes.len())?);
        header.set_mode(file.mode);
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, Path::new(directory).join(path), file.bytes.as_slice())?;
    }
    tar.into_inner()?.finish()?;
    Ok(())
}

/// Writes the tree that `crates/authd/Cargo.toml` names, and runs cargo-deb.
fn build_debian(files: &[PackageFile], epoch: u64, output: &Path) -> anyhow::Result<PathBuf> {
    if !shell::is_installed("dpkg-shlibdeps") {
        bail!("dpkg-shlibdeps is not installed (Debian package dpkg-dev)");
    }
    let cargo_deb = ToolDir::open("tools")?.install_cargo(CARGO_DEB.0, CARGO_DEB.1)?;
    let tree = root().join("target/dist/debian");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for (path, file) in package_files::sorted(files, PackageKind::Debian) {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
        fs::write(&path, &file.bytes)?;
        // Makes the mode independent of the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(file.mode))?;
    }
    let mut command = Command::new(cargo_deb);
    command.args(["--no-build", "--no-strip", "--quiet", "--package", "authd", "--output"]).arg(output);
    command.current_dir(root()).env("SOURCE_DATE_EPOCH", epoch.to_string());
    // The last line of the output is the path of the package.
    let stdout = stdout_of(&mut command)?;
    let path = stdout.lines().last().map(|line| PathBuf::from(line.trim()));
    path.filter(|path| path.is_file()).with_context(|| format!("cargo-deb names no package: {stdout:?}"))
}
