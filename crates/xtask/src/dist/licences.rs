//! `THIRD-PARTY.txt`: the packages that are linked into the two programs, and their licence texts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{build::BuildOutput, package_files::files_of};
use crate::{shell::cargo, tools::stdout_of};

const HEAD: &str = "\
The packages that are linked into authd and authctl, with their licences. The source of each package\n\
is at crates.io under its name and version. The texts of the licences follow the list.\n\n";

/// Libraries that come with the compiler; `cargo metadata` does not list them.
const TOOLCHAIN_LIBRARIES: &str = "\
Rust's standard library: The Rust Project Developers (MIT OR Apache-2.0)\n\
musl, where authctl is static: Rich Felker, et al., 2005-2020 (MIT)\n";

const RULE: &str = "\n================================================================================\n";

/// Prefixes of the names of files that contain a licence text.
const PREFIXES: [&str; 5] = ["COPYING", "COPYRIGHT", "LICEN", "NOTICE", "UNLICENSE"];

/// The contents of the file. A package without a licence text gets the terms of the MIT licence,
/// which all of these packages offer.
pub(super) fn third_party_notice(build: &BuildOutput, mit_terms: &str) -> anyhow::Result<String> {
    let metadata = stdout_of(&mut cargo(&["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata prints no JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let packages: BTreeMap<_, _> = packages.filter_map(|package| Some((label(package)?, package))).collect();
    let linked = build.programs().map(|(program, target)| linked_packages(program, target));

    let (mut list, mut without) = (HEAD.to_owned(), TOOLCHAIN_LIBRARIES.to_owned());
    // The key is the list of words, so that texts with different line breaks are equal.
    let mut texts: BTreeMap<Vec<String>, (String, Vec<String>)> = BTreeMap::new();
    let linked: Vec<_> = linked.into_iter().collect::<anyhow::Result<_>>()?;
    for label in linked.concat().into_iter().collect::<BTreeSet<_>>() {
        let package =
            packages.get(&label).with_context(|| format!("cargo metadata does not list {label}"))?;
        let licence = package["license"].as_str().unwrap_or("see its text");
        list += &format!("{label}: {licence}\n");
        let licence_texts = licence_texts(package)?;
        if licence_texts.is_empty() {
            ensure!(
                licence.contains("MIT"),
                "{label} has no text of {licence}: add the text in crates/xtask/src/dist/licences.rs"
            );
            let authors = package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let authors = authors.collect::<Vec<_>>().join(", ");
            let authors = if authors.is_empty() { "its authors" } else { &authors };
            without += &format!("{label}: {authors} ({licence})\n");
        }
        for text in licence_texts {
            let words = text.split_whitespace().map(str::to_owned).collect();
            let (_, owners) = texts.entry(words).or_insert((text, Vec::new()));
            owners.push(label.clone());
        }
    }
    let mut texts: Vec<_> = texts.into_values().map(|(text, owners)| (owners.join(", "), text)).collect();
    texts.push((format!("Packages without a licence text\n\n{without}"), mit_terms.to_owned()));
    let texts = texts.iter().map(|(owners, text)| format!("{RULE}{owners}{RULE}\n{}\n", text.trim_end()));
    Ok(list + &texts.collect::<String>())
}

/// The labels of the packages from crates.io that are linked into a program for a target.
pub(super) fn linked_packages(program: &str, target: &str) -> anyhow::Result<Vec<String>> {
    let tree = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"];
    let tree = stdout_of(cargo(&tree).args(["--package", program, "--target", target, "--format", "{p}"]))?;
    // Packages of this workspace have a path in their label.
    Ok(tree.lines().filter(|line| !line.contains(" (/")).map(str::to_owned).collect())
}

/// The name and version of a package, as `cargo tree` writes them.
fn label(package: &Value) -> Option<String> {
    Some(format!("{} v{}", package["name"].as_str()?, package["version"].as_str()?))
}

/// The licence texts in the directory of a package.
fn licence_texts(package: &Value) -> anyhow::Result<Vec<String>> {
    let manifest = Path::new(package["manifest_path"].as_str().context("a package has no manifest")?);
    let mut files = files_of(manifest.parent().context("a manifest lies in a directory")?)?;
    files.retain(|(name, _)| PREFIXES.iter().any(|prefix| name.to_uppercase().starts_with(prefix)));
    files.sort();
    let texts = files.into_iter().map(|(_, bytes)| String::from_utf8_lossy(&bytes).replace('\r', ""));
    Ok(texts.collect())
}
