//! `cargo xtask dist`: the packages. A tarball for any machine of this kind, and a Debian package made by
//! cargo-deb of the same files. Whoever runs it twice gets the same bytes: times come from the last commit,
//! owners are root, entries are sorted, and no path of the builder's is in the binaries.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use flate2::{Compression, GzBuilder};

use crate::{
    shell::{self, note, root, say, title},
    tools::{Tools, said},
};

mod build;
mod check;
mod licences;
mod wares;

use self::wares::{Place, Ware};

/// cargo-deb follows `SOURCE_DATE_EPOCH` and sorts; another version may compress differently.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");

/// What was made.
struct Packages {
    /// The tarball, and the one directory in it.
    tarball: PathBuf,
    name: String,
    /// The Debian package, where one can be made.
    debian: Option<PathBuf>,
}

/// Makes the packages; tries them, if asked to.
pub(crate) fn run(try_them: bool) -> anyhow::Result<()> {
    let epoch = epoch()?;
    let place = root().join("target/dist");
    title("Building for release");
    let built = build::run(&place.join("build"))?;
    title("Packing");
    let wares = wares::gather(&built, epoch)?;
    let packages = pack(&built.host, &wares, epoch, &place)?;
    for path in [Some(&packages.tarball), packages.debian.as_ref()].into_iter().flatten() {
        say(&format!("{}, {} bytes", path.display(), fs::metadata(path)?.len()));
    }
    if try_them {
        title("Packing once more");
        let again = pack(&built.host, &wares, epoch, &place.join("again"))?;
        check::packed_alike(&packages, &again)?;
        check::tarball(&packages)?;
        check::debian(&packages)?;
        check::compiled_alike(&built, &place.join("build-again"))?;
        check::installed_by_cargo(&place.join("install"))?;
    }
    Ok(())
}

/// The time that every file has: `SOURCE_DATE_EPOCH`, else the last commit's.
fn epoch() -> anyhow::Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => said(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))
            .context("no time for the files: set SOURCE_DATE_EPOCH, or build from a git checkout")?,
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}, and should be seconds"))
}

fn pack(host: &str, wares: &[Ware], epoch: u64, place: &Path) -> anyhow::Result<Packages> {
    fs::create_dir_all(place)?;
    let name = format!("authd-{}-{host}", env!("CARGO_PKG_VERSION"));
    let tarball = place.join(format!("{name}.tar.gz"));
    write_tarball(&tarball, &name, wares, epoch)?;
    let debian = match debian(wares, epoch, place) {
        Ok(debian) => Some(debian),
        Err(why) => {
            note(&format!("skipped: no Debian package: {why:#}"));
            None
        }
    };
    Ok(Packages { tarball, name, debian })
}

fn write_tarball(path: &Path, name: &str, wares: &[Ware], epoch: u64) -> anyhow::Result<()> {
    // Neither a name nor a time in gzip's own header.
    let zip = GzBuilder::new().write(fs::File::create(path)?, Compression::best());
    let mut tar = tar::Builder::new(zip);
    for (at, ware) in wares::sorted(wares, Place::Tarball) {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(ware.bytes.len())?);
        header.set_mode(ware.mode);
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, Path::new(name).join(at), ware.bytes.as_slice())?;
    }
    tar.into_inner()?.finish()?;
    Ok(())
}

/// Lays out the tree that `crates/authd/Cargo.toml` tells cargo-deb to pack, and has it packed.
fn debian(wares: &[Ware], epoch: u64, place: &Path) -> anyhow::Result<PathBuf> {
    if !shell::has("dpkg-shlibdeps") {
        bail!("there is no dpkg-shlibdeps (Debian's package dpkg-dev)");
    }
    let packer = Tools::open("tools")?.program(CARGO_DEB.0, CARGO_DEB.1)?;
    let tree = root().join("target/dist/debian");
    if tree.exists() {
        fs::remove_dir_all(&tree)?;
    }
    for (at, ware) in wares::sorted(wares, Place::Debian) {
        let path = tree.join(at);
        fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
        fs::write(&path, &ware.bytes)?;
        // The umask of whoever builds is not the package's.
        fs::set_permissions(&path, fs::Permissions::from_mode(ware.mode))?;
    }
    let mut command = Command::new(packer);
    command.args(["--no-build", "--no-strip", "--quiet", "--package", "authd", "--output"]).arg(place);
    command.current_dir(root()).env("SOURCE_DATE_EPOCH", epoch.to_string());
    // Its last line is the package's path.
    let answer = said(&mut command)?;
    let path = answer.lines().last().map(|line| PathBuf::from(line.trim()));
    path.filter(|path| path.is_file()).with_context(|| format!("cargo-deb said {answer:?}"))
}
