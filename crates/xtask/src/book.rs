//! `cargo xtask book`: the pages of the repository as an mdBook with search, in `target/book/html`.
//! `cargo xtask test book` also checks the links of the pages and of the book, and that the page of
//! symptoms quotes messages that exist.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use crate::{
    shell::{print, report, root},
    tools::{CargoTool, run_quiet, skip},
};

mod html;
mod links;
mod page;
mod stage;
mod symptoms;

/// The program that builds the book.
const MDBOOK: CargoTool = CargoTool {
    name: "mdbook",
    version: "0.5.4",
    options: &["--no-default-features", "--features", "search"],
};

/// Builds the book, and prints the path of its first page.
pub(crate) fn run() -> anyhow::Result<()> {
    let book = build(&page::read_all(root())?, &MDBOOK.install()?)?;
    print(&format!("{}", book.join("index.html").display()));
    Ok(())
}

/// Checks the pages, builds the book, and checks it.
pub(crate) fn check() -> anyhow::Result<()> {
    let pages = page::read_all(root())?;
    let mut problems = links::check(&pages, root());
    problems.extend(symptoms::check_page()?);
    report(&problems, "the pages")?;
    print(&format!("The links and the quoted messages of {} pages are right.", pages.len()));
    match MDBOOK.install() {
        Ok(mdbook) => {
            let book = build(&pages, &mdbook)?;
            report(&html::check(&book)?, "the book")?;
            print(&format!("The links of the book are right: {}", book.join("index.html").display()));
            Ok(())
        }
        Err(reason) => skip("the book", &reason),
    }
}

/// Checks the links between the pages in a directory that has the layout of the repository. Returns
/// the number of pages.
pub(crate) fn check_links(directory: &Path) -> anyhow::Result<usize> {
    let pages = page::read_all(directory)?;
    report(&links::check(&pages, directory), "the links in the package")?;
    Ok(pages.len())
}

/// Builds the book, and returns its directory.
fn build(pages: &page::Pages, mdbook: &Path) -> anyhow::Result<PathBuf> {
    let directory = root().join("target/book");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    stage::write(pages, &directory.join("src"))?;
    fs::copy(root().join("docs/book.toml"), directory.join("book.toml")).context("docs/book.toml")?;
    run_quiet(Command::new(mdbook).arg("build").arg(&directory)).context("mdbook")?;
    Ok(directory.join("html"))
}
