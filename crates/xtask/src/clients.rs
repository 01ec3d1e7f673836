//! `cargo xtask clients`: builds a wheel and an npm package of the clients in `clients`.
//! `cargo xtask test clients`: builds them twice, compares the files, installs them, and runs a
//! program of each language with a daemon. Publishing is left to a person.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use crate::{
    session::Session,
    shell::{self, print, print_title, root},
    tools::{ToolDir, run_quiet, skip},
};

/// The version of each package.
const VERSION: &str = env!("CARGO_PKG_VERSION");
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
/// The time of each file in the wheel, 1 January 1980: the earliest one of a ZIP file.
const EPOCH: &str = "315532800";

const PYTHON_PROGRAM: &str = "
from authd import Authd
ready = Authd().headers()
assert dict(ready.headers)['Authorization'] == 'Bearer ' + Authd().token()
print(ready.profile)
";
const NODE_PROGRAM: &str = r#"
import { Authd } from "authd-client";
const authd = new Authd();
const ready = await authd.headers();
if (new Headers(ready.headers).get("authorization") !== `Bearer ${await authd.token()}`) process.exit(1);
console.log(ready.profile);
"#;

/// The built packages.
pub(crate) struct Packages {
    wheel: PathBuf,
    npm: PathBuf,
}

impl Packages {
    /// The paths of both.
    pub(crate) fn paths(&self) -> [&Path; 2] {
        [&self.wheel, &self.npm]
    }
}

/// Builds both packages, and prints their paths.
pub(crate) fn run() -> anyhow::Result<()> {
    for path in build(&root().join("target/dist"))?.paths() {
        print(&format!("{}, {} bytes", path.display(), fs::metadata(path)?.len()));
    }
    Ok(())
}

/// Builds and tests both packages.
pub(crate) fn check() -> anyhow::Result<()> {
    if let Err(reason) = require_tools() {
        return skip("clients", &reason);
    }
    let directory = tempfile::tempdir()?;
    let packages = build(&directory.path().join("once"))?;
    let again = build(&directory.path().join("again"))?;
    for (path, again) in packages.paths().into_iter().zip(again.paths()) {
        let same = fs::read(path)? == fs::read(again)?;
        ensure!(same, "two builds of {} differ", path.display());
    }
    let python = install_wheel(&packages.wheel, &directory.path().join("venv"))?;
    let program = install_npm(&packages.npm, &directory.path().join("node"))?;
    shell::build_programs()?;
    let runtime = shell::runtime()?;
    runtime.block_on(async {
        let session = Session::start().await?;
        session.daemon().sign_in("mine", "plus").await;
        for (program, args) in [(&*python, ["-c", PYTHON_PROGRAM]), ("node", ["--", &*program])] {
            let stdout = session.run(program, &args, &[]).await.context(program.to_owned())?;
            ensure!(stdout == b"mine\n", "{program} printed {:?}", String::from_utf8_lossy(&stdout));
        }
        print("both packages can be installed and used");
        Ok(())
    })
}

/// Fails if a program for the build is not installed.
pub(crate) fn require_tools() -> anyhow::Result<()> {
    let missing = ["python3", "npm"].into_iter().find(|program| !shell::is_installed(program));
    missing.map_or(Ok(()), |program| bail!("{program} is not installed"))
}

/// Builds both packages into a directory.
pub(crate) fn build(output: &Path) -> anyhow::Result<Packages> {
    fs::create_dir_all(output)?;
    let packages = Packages {
        wheel: output.join(format!("authd_client-{VERSION}-py3-none-any.whl")),
        npm: output.join(format!("authd-client-{VERSION}.tgz")),
    };
    // A file of an earlier build must not count as one of this.
    for path in packages.paths().into_iter().filter(|path| path.exists()) {
        fs::remove_file(path)?;
    }
    let staged = tempfile::tempdir()?;
    let python = stage("python", &["authd.py", "pyproject.toml", "README.md"], staged.path())?;
    let node = stage("node", &["authd.mjs", "package.json", "README.md"], staged.path())?;
    let tools = ToolDir::open("clients")?;
    let mut pip = Command::new(tools.python()?);
    pip.args(["-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir"]);
    run_quiet(pip.arg(output).arg(python).env("SOURCE_DATE_EPOCH", EPOCH)).context("pip wheel")?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(output).current_dir(node);
    run_quiet(&mut npm).context("npm pack")?;
    for path in packages.paths() {
        let hint = "the version in clients/python/pyproject.toml and clients/node/package.json must be that of authd";
        ensure!(path.is_file(), "{} was not built: {hint}", path.display());
    }
    Ok(packages)
}

/// Copies the files of a client and the licences, so that the build leaves nothing beside them.
fn stage(client: &str, files: &[&str], directory: &Path) -> anyhow::Result<PathBuf> {
    let staged = directory.join(client);
    fs::create_dir(&staged)?;
    let own = files.iter().map(|file| (root().join("clients").join(client).join(file), *file));
    for (from, name) in own.chain(LICENCES.map(|file| (root().join(file), file))) {
        fs::copy(&from, staged.join(name)).with_context(|| from.display().to_string())?;
    }
    Ok(staged)
}

/// Installs the wheel into a new virtual environment. Returns the path of its Python.
fn install_wheel(wheel: &Path, venv: &Path) -> anyhow::Result<String> {
    print_title("Installing the packages");
    run_quiet(Command::new("python3").args(["-m", "venv"]).arg(venv))?;
    let python = venv.join("bin/python");
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]);
    run_quiet(pip.arg(wheel)).context("pip install")?;
    Ok(python.display().to_string())
}

/// Installs the npm package into a directory. Returns the path of a program there.
fn install_npm(package: &Path, directory: &Path) -> anyhow::Result<String> {
    fs::create_dir(directory)?;
    fs::write(directory.join("package.json"), "{\"private\": true}\n")?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--offline", "--no-audit", "--no-fund"]).arg(package);
    run_quiet(npm.current_dir(directory)).context("npm install")?;
    let program = directory.join("program.mjs");
    fs::write(&program, NODE_PROGRAM)?;
    Ok(program.display().to_string())
}
