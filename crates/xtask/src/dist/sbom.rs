//! The SBOM of each program in the form of `CycloneDX`: the packages that are linked into it, with
//! their licences and checksums. cargo-cyclonedx writes it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{build::BuildOutput, licences::linked_packages};
use crate::{
    shell::{print, root},
    tools::{CargoTool, run_quiet},
};

pub(super) const CARGO_CYCLONEDX: CargoTool =
    CargoTool { name: "cargo-cyclonedx", version: "0.5.9", options: &[] };
/// The name of the files that cargo-cyclonedx writes into the directory of each package of the
/// workspace.
const NAME: &str = "authd-sbom.tmp";

/// Writes the files for both programs, and returns their paths. `epoch` is the time in them.
pub(super) fn write(
    cyclonedx: &Path,
    build: &BuildOutput,
    epoch: u64,
    output: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (program, target) in build.programs() {
        let path = output.join(format!("{program}-{}-{target}.cdx.json", env!("CARGO_PKG_VERSION")));
        let sbom = describe(cyclonedx, program, target, epoch);
        // The tool leaves files in the sources after a failure, too.
        for package in fs::read_dir(root().join("crates"))? {
            let file = package?.path().join(format!("{NAME}.json"));
            if file.exists() {
                fs::remove_file(file)?;
            }
        }
        fs::write(&path, sbom?)?;
        paths.push(path);
    }
    Ok(paths)
}

/// The SBOM of one program, without the path of the sources.
fn describe(cyclonedx: &Path, program: &str, target: &str, epoch: u64) -> anyhow::Result<String> {
    let package = root().join("crates").join(program);
    let mut command = Command::new(cyclonedx);
    command.args(["cyclonedx", "--format", "json", "--spec-version", "1.5", "--no-build-deps"]);
    command.args(["--quiet", "--target", target, "--override-filename", NAME, "--manifest-path"]);
    // With this variable the file has no random serial number.
    command.arg(package.join("Cargo.toml")).env("SOURCE_DATE_EPOCH", epoch.to_string());
    run_quiet(command.current_dir(root())).context("cargo-cyclonedx")?;
    let sbom = fs::read_to_string(package.join(format!("{NAME}.json")))?;
    Ok(sbom.replace(&root().display().to_string(), "/authd"))
}

/// Checks that each file names all packages that are linked into its program.
pub(super) fn check(build: &BuildOutput, sboms: &[PathBuf]) -> anyhow::Result<()> {
    for ((program, target), path) in build.programs().into_iter().zip(sboms) {
        let text = fs::read_to_string(path)?;
        let linked = linked_packages(program, target)?;
        let missing = missing_packages(&linked, &serde_json::from_str(&text)?);
        ensure!(missing.is_empty(), "{} does not name {missing:?}", path.display());
        let sources = root().display().to_string();
        ensure!(!text.contains(&sources), "{} contains the path {sources}", path.display());
        let count = linked.iter().collect::<BTreeSet<_>>().len();
        print(&format!("{} names the {count} packages in {program}", path.display()));
    }
    Ok(())
}

/// The packages, as `cargo tree` writes them, that are no component of the SBOM.
fn missing_packages(linked: &[String], sbom: &Value) -> BTreeSet<String> {
    let components = sbom["components"].as_array().into_iter().flatten();
    let named: BTreeSet<_> = components
        .filter_map(|component| {
            Some(format!("{} v{}", component["name"].as_str()?, component["version"].as_str()?))
        })
        .collect();
    linked.iter().filter(|package| !named.contains(*package)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_that_the_sbom_lacks_is_reported() {
        let sbom = serde_json::json!({"components": [{"name": "a", "version": "1.0.0"}, {"name": "b"}]});
        let linked = ["a v1.0.0", "a v2.0.0", "b v1.0.0"].map(str::to_owned);
        let missing = missing_packages(&linked, &sbom);
        assert_eq!(missing.into_iter().collect::<Vec<_>>(), ["a v2.0.0", "b v1.0.0"]);
        assert_eq!(missing_packages(&linked[..1], &sbom), BTreeSet::new());
    }
}
