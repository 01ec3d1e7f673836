//! `cargo xtask dist`: builds all files of a release: a tarball, with cargo-deb a Debian package of
//! the same files, an SBOM of each program, the packages of the clients, and the checksums. The
//! build is reproducible: times come from the last commit, owners are root, entries are sorted, and
//! the binaries contain no path of the build machine.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use flate2::{Compression, GzBuilder};

use crate::{
    clients,
    shell::{self, print, print_title, root},
    tools::{CargoTool, skip, stdout_of},
};

mod build;
mod check;
mod checksums;
mod five_minutes;
mod licences;
mod package_files;
mod platform;
mod sbom;
mod system;

use self::{
    build::BuildOutput,
    package_files::{PackageFile, PackageKind},
    platform::Platform,
    sbom::CARGO_CYCLONEDX,
};

/// The version is fixed because another one may compress differently.
const CARGO_DEB: CargoTool = CargoTool { name: "cargo-deb", version: "3.8.0", options: &[] };

/// The files of a release, made by one run. What this machine cannot build is empty.
struct Packages {
    tarball: PathBuf,
    /// The name of the directory in the tarball.
    directory: String,
    debian: Option<PathBuf>,
    /// The SBOMs of `authd` and `authctl`.
    sboms: Vec<PathBuf>,
    clients: Vec<PathBuf>,
    /// The checksums of the other files.
    checksums: PathBuf,
}

impl Packages {
    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let first = [&self.tarball].into_iter().chain(&self.debian);
        first.chain(&self.sboms).chain(&self.clients).chain([&self.checksums])
    }
}

/// Builds the packages for the machine of a target triple, or for this machine, and tests them if
/// `check` is set.
pub(crate) fn run(check: bool, target: Option<&str>) -> anyhow::Result<()> {
    let platform = Platform::new(target)?;
    let epoch = epoch()?;
    let directory = root().join("target/dist");
    print_title("Building the release");
    let build = build::run(platform, &directory.join("build"), &build::commit()?)?;
    print_title("Building the packages");
    let files = package_files::collect(&build, epoch)?;
    let packages = pack(&build, &files, epoch, &directory)?;
    for path in packages.paths() {
        print(&format!("{}, {} bytes", path.display(), fs::metadata(path)?.len()));
    }
    if check {
        print_title("Building the packages again");
        let again = pack(&build, &files, epoch, &directory.join("again"))?;
        check::same_packages(&packages, &again)?;
        checksums::check(&packages.checksums)?;
        sbom::check(&build, &packages.sboms)?;
        check::tarball(&build, &packages)?;
        check::debian(&build, &packages)?;
        check::same_binaries(&build, &directory.join("build-again"))?;
        if build.platform.is_this_machine() {
            check::cargo_install(&directory.join("install"))?;
        }
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

fn pack(build: &BuildOutput, files: &[PackageFile], epoch: u64, output: &Path) -> anyhow::Result<Packages> {
    fs::create_dir_all(output)?;
    let directory = format!("authd-{}-{}", env!("CARGO_PKG_VERSION"), build.platform.daemon);
    let tarball = output.join(format!("{directory}.tar.gz"));
    write_tarball(&tarball, &directory, files, epoch)?;
    let mut packages = Packages {
        tarball,
        checksums: output.join(format!("{directory}.sha256")),
        directory,
        debian: None,
        sboms: Vec::new(),
        clients: Vec::new(),
    };
    match install_cargo_deb() {
        Ok(cargo_deb) => packages.debian = Some(build_debian(&cargo_deb, build, files, epoch, output)?),
        Err(reason) => skip("Debian package", &reason)?,
    }
    match CARGO_CYCLONEDX.install() {
        Ok(cyclonedx) => packages.sboms = sbom::write(&cyclonedx, build, epoch, output)?,
        Err(reason) => skip("SBOM", &reason)?,
    }
    match clients::require_tools() {
        Ok(()) => packages.clients = clients::build(output)?.paths().map(Path::to_owned).into(),
        Err(reason) => skip("packages of the clients", &reason)?,
    }
    let files: Vec<_> = packages.paths().filter(|path| **path != packages.checksums).collect();
    checksums::write(&files, &packages.checksums)?;
    Ok(packages)
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

fn install_cargo_deb() -> anyhow::Result<PathBuf> {
    let is_complete = shell::is_installed("dpkg-shlibdeps");
    ensure!(is_complete, "dpkg-shlibdeps is not installed (Debian package dpkg-dev)");
    CARGO_DEB.install()
}

/// Writes the tree that `crates/authd/Cargo.toml` names, and runs cargo-deb.
fn build_debian(
    cargo_deb: &Path,
    build: &BuildOutput,
    files: &[PackageFile],
    epoch: u64,
    output: &Path,
) -> anyhow::Result<PathBuf> {
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
    command.args(["--target", &build.platform.daemon]);
    command.current_dir(root()).env("SOURCE_DATE_EPOCH", epoch.to_string());
    // The last line of the output is the path of the package.
    let stdout = stdout_of(&mut command)?;
    let path = stdout.lines().last().map(|line| PathBuf::from(line.trim()));
    path.filter(|path| path.is_file()).with_context(|| format!("cargo-deb names no package: {stdout:?}"))
}
