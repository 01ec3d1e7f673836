//! `cargo xtask test layering`: the rules about imports and files. It checks the dependencies of
//! each package, the imports between source files, and the lengths of files and lines.
//!
//! | rule | table |
//! |---|---|
//! | a heavy dependency belongs to few packages | [`packages::OWNERS`] |
//! | a package of this workspace imports only the listed ones | [`packages::MAY_IMPORT`] |
//! | a module of `authd` imports no module of a higher layer | [`layers::LAYERS`] |
//! | source files of a product package import each other without a circle | [`packages::PRODUCT`] |
//! | a source file has at most 400 lines, and prose at most 100 columns | [`text`] |

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use crate::shell::{print_note, root};

mod circles;
mod layers;
mod packages;
mod source;
mod text;
pub(crate) mod tokens;

/// A broken rule. It is printed as `file:line: message`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    file: String,
    line: usize,
    message: String,
}

/// Checks all rules, and prints every violation.
pub(crate) fn check() -> anyhow::Result<()> {
    let mut violations = packages::check_workspace()?;
    for (package, directory) in packages::PRODUCT {
        let src = root().join(directory).join("src");
        if !src.is_dir() {
            continue;
        }
        let files = read_sources(&src)?;
        let modules = source::parse(&files).with_context(|| (*package).to_owned())?;
        let imports = source::imports_between_files(&modules);
        let mut found = circles::find(&imports);
        if *package == layers::PACKAGE {
            found.extend(layers::check(&imports, &modules));
        }
        for violation in &mut found {
            violation.file = format!("{directory}/src/{}", violation.file);
        }
        violations.extend(found);
    }
    violations.extend(text::check_workspace()?);
    violations.sort();
    for Violation { file, line, message } in &violations {
        print_note(&format!("{file}:{line}: {message}"));
    }
    if violations.is_empty() {
        Ok(())
    } else {
        bail!("{} violations of the layering rules", violations.len())
    }
}

/// The contents of all Rust files below a directory, by their path relative to it.
fn read_sources(directory: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for path in files_below(directory, "rs")? {
        let name = path.strip_prefix(directory)?.to_str().context("a source file has a UTF-8 path")?;
        files.insert(name.to_owned(), fs::read_to_string(&path)?);
    }
    Ok(files)
}

/// The files with this extension below a directory, sorted, without those of `target`.
pub(crate) fn files_below(directory: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    directories.push(path);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
