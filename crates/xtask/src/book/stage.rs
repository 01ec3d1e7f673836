//! The sources of the book. The links of the pages are made for the repository, so they also lead
//! to files outside of `docs`. The book gets a copy of the pages with links of its own, and a
//! chapter for each linked file that is no page.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

use super::page::{Page, Pages, SUMMARY, relative, resolve};
use crate::shell::root;

/// Writes the sources of the book into an empty directory.
pub(super) fn write(pages: &Pages, directory: &Path) -> anyhow::Result<()> {
    let mut files = BTreeSet::new();
    let chapters = chapters(pages)?;
    for name in &chapters {
        let page = pages.get(name).with_context(|| format!("{name} is no page"))?;
        let text = with_book_links(name, page, &chapters, &mut files);
        write_file(&directory.join(book_path(name, &chapters)), &text)?;
    }
    let summary = pages.get(SUMMARY).context("the book has a table of contents")?;
    let mut listed = BTreeSet::new();
    let mut summary = with_book_links(SUMMARY, summary, &chapters, &mut listed);
    summary.push_str("\n# Files\n\n");
    for file in files.union(&listed) {
        let chapter = book_path(file, &chapters);
        if Path::new(&chapter).extension().is_some_and(|extension| extension == "md") {
            if !listed.contains(file) {
                let _ = writeln!(summary, "- [{file}]({chapter})");
            }
            write_file(&directory.join(&chapter), &source_chapter(file)?)?;
        } else {
            let copy = directory.join(&chapter);
            fs::create_dir_all(copy.parent().context("a file lies in a directory")?)?;
            fs::copy(root().join(file), copy)?;
        }
    }
    write_file(&directory.join("SUMMARY.md"), &summary)
}

/// The pages that the table of contents lists.
fn chapters(pages: &Pages) -> anyhow::Result<BTreeSet<String>> {
    let summary = pages.get(SUMMARY).context("the book has a table of contents")?;
    let listed = summary.links.iter().filter_map(|link| resolve(SUMMARY, &link.path));
    Ok(listed.filter(|name| pages.contains_key(name)).collect())
}

/// Where a file of the repository is in the book. mdBook makes `index.html` of a `README.md`, but
/// leaves the links to it as they are, so that page is `index.md` here.
fn book_path(file: &str, chapters: &BTreeSet<String>) -> String {
    let in_docs = file.strip_prefix("docs/");
    if chapters.contains(file) {
        let name = in_docs.unwrap_or(file);
        let directory = name.strip_suffix("README.md").filter(|head| head.is_empty() || head.ends_with('/'));
        return directory.map_or_else(|| name.to_owned(), |directory| format!("{directory}index.md"));
    }
    match in_docs.filter(|name| [".png", ".svg", ".json"].iter().any(|end| name.ends_with(end))) {
        Some(name) => name.to_owned(),
        None => format!("files/{file}.md"),
    }
}

/// The page with links that work in the book. Files that are no chapters are added to `files`.
fn with_book_links(
    name: &str,
    page: &Page,
    chapters: &BTreeSet<String>,
    files: &mut BTreeSet<String>,
) -> String {
    let from = if name == SUMMARY { "SUMMARY.md".to_owned() } else { book_path(name, chapters) };
    let mut text = page.text.clone();
    for link in page.links.iter().rev().filter(|link| !link.path.is_empty()) {
        let Some(target) = resolve(name, &link.path) else { continue };
        let mut destination = relative(&from, &book_path(&target, chapters));
        if let Some(anchor) = &link.anchor {
            destination = format!("{destination}#{anchor}");
        }
        if !chapters.contains(&target) {
            files.insert(target);
        }
        text.replace_range(link.range.clone(), &destination);
    }
    text
}

/// A chapter with the contents of a file, or of the files directly in a directory.
fn source_chapter(file: &str) -> anyhow::Result<String> {
    let path = root().join(file);
    let mut chapter = format!("# {file}\n");
    for path in files_of(&path)? {
        let name = path.strip_prefix(root())?.display().to_string();
        let Ok(text) = fs::read_to_string(&path) else { bail!("{name} is no text") };
        let language = match path.extension().and_then(|extension| extension.to_str()) {
            Some("mjs") => "js",
            Some("py") => "python",
            Some(extension) => extension,
            None => "text",
        };
        if name != file {
            let _ = writeln!(chapter, "\n## {name}");
        }
        // A fence that no file contains.
        let _ = writeln!(chapter, "\n~~~~~~~~{language}\n{}\n~~~~~~~~", text.trim_end());
    }
    Ok(chapter)
}

fn files_of(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<anyhow::Result<Vec<_>>>()?;
    files.retain(|path| path.is_file());
    files.sort();
    Ok(files)
}

fn write_file(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
    fs::write(path, text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_copies_of_the_book() {
        let chapters =
            BTreeSet::from(["README.md".to_owned(), "docs/a.md".to_owned(), "docs/d/b.md".to_owned()]);
        let mut files = BTreeSet::new();
        let page = Page::parse(
            "[a](../a.md#x) [r](../../README.md) [c](../../config/c.toml) [p](../p.png)".to_owned(),
        );
        let text = with_book_links("docs/d/b.md", &page, &chapters, &mut files);
        assert_eq!(text, "[a](../a.md#x) [r](../index.md) [c](../files/config/c.toml.md) [p](../p.png)");
        assert_eq!(files.into_iter().collect::<Vec<_>>(), ["config/c.toml", "docs/p.png"]);
        let page = Page::parse("[a](docs/a.md)".to_owned());
        assert_eq!(with_book_links("README.md", &page, &chapters, &mut BTreeSet::new()), "[a](a.md)");
    }
}
