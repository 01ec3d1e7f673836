//! `THIRD-PARTY.txt`: what is linked into the two programs, under which licences, and the texts of these.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::{build::Built, wares::files_of};
use crate::{shell::cargo, tools::said};

const HEAD: &str = "\
What is linked into authd and authctl, with the licences that it states. The source of each is at\n\
crates.io under its name and version. The texts of the licences follow the list.\n\n";

/// What comes with the compiler: no manifest names it.
const WITH_THE_COMPILER: &str = "\
Rust's standard library: The Rust Project Developers (MIT OR Apache-2.0)\n\
musl, where authctl is static: Rich Felker, et al., 2005-2020 (MIT)\n";

const RULE: &str = "\n================================================================================\n";

/// How the names of the files begin that have a licence's text.
const BEGINNINGS: [&str; 5] = ["COPYING", "COPYRIGHT", "LICEN", "NOTICE", "UNLICENSE"];

/// The whole file. The terms of the MIT licence are for those that come without a text of their own: each of
/// them may be had under it.
pub(super) fn third_parties(built: &Built, mit_terms: &str) -> anyhow::Result<String> {
    let metadata = said(&mut cargo(&["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata is no JSON")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let packages: BTreeMap<_, _> = packages.filter_map(|package| Some((label(package)?, package))).collect();
    let linked = [linked("authd", &built.host)?, linked("authctl", &built.client)?].concat();

    let (mut list, mut without) = (HEAD.to_owned(), WITH_THE_COMPILER.to_owned());
    // By its words alone: how a text's lines are broken makes no other licence of it.
    let mut texts: BTreeMap<Vec<String>, (String, Vec<String>)> = BTreeMap::new();
    for label in linked.into_iter().collect::<BTreeSet<_>>() {
        let package = packages.get(&label).with_context(|| format!("cargo metadata knows no {label}"))?;
        let licence = package["license"].as_str().unwrap_or("see its text");
        list += &format!("{label}: {licence}\n");
        let own = own_texts(package)?;
        if own.is_empty() {
            ensure!(licence.contains("MIT"), "{label} brings no text of {licence}: put it in here by hand");
            let authors = package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let authors = authors.collect::<Vec<_>>().join(", ");
            let authors = if authors.is_empty() { "its authors" } else { &authors };
            without += &format!("{label}: {authors} ({licence})\n");
        }
        for text in own {
            let words = text.split_whitespace().map(str::to_owned).collect();
            let (_, whose) = texts.entry(words).or_insert((text, Vec::new()));
            whose.push(label.clone());
        }
    }
    let mut texts: Vec<_> = texts.into_values().map(|(text, whose)| (whose.join(", "), text)).collect();
    texts.push((format!("Without a text of their own\n\n{without}"), mit_terms.to_owned()));
    let texts = texts.iter().map(|(whose, text)| format!("{RULE}{whose}{RULE}\n{}\n", text.trim_end()));
    Ok(list + &texts.collect::<String>())
}

/// What is linked into a program of ours for a target, and is not ours.
fn linked(program: &str, target: &str) -> anyhow::Result<Vec<String>> {
    let tree = ["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none", "--no-dedupe"];
    let tree = said(cargo(&tree).args(["--package", program, "--target", target, "--format", "{p}"]))?;
    // Ours are told by the directories that they come from.
    Ok(tree.lines().filter(|line| !line.contains(" (/")).map(str::to_owned).collect())
}

/// A package's name and version, as `cargo tree` writes them.
fn label(package: &Value) -> Option<String> {
    Some(format!("{} v{}", package["name"].as_str()?, package["version"].as_str()?))
}

/// The texts in a package's directory.
fn own_texts(package: &Value) -> anyhow::Result<Vec<String>> {
    let manifest = Path::new(package["manifest_path"].as_str().context("a package has no manifest")?);
    let mut files = files_of(manifest.parent().context("a manifest lies in a directory")?)?;
    files.retain(|(name, _)| BEGINNINGS.iter().any(|beginning| name.to_uppercase().starts_with(beginning)));
    files.sort();
    let texts = files.into_iter().map(|(_, bytes)| String::from_utf8_lossy(&bytes).replace('\r', ""));
    Ok(texts.collect())
}
