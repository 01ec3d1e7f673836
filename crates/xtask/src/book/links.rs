//! The links of the pages: each leads to a file of the repository and to a heading that exists, and
//! the table of contents has each page of `docs` once.

use std::path::Path;

use super::page::{Page, Pages, SUMMARY, resolve};

/// Checks all pages. `root` is the directory of the repository.
pub(super) fn check(pages: &Pages, root: &Path) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, page) in pages {
        for link in &page.links {
            if let Err(problem) = check_link(pages, root, name, &link.path, link.anchor.as_deref()) {
                problems.push(format!("{name}:{}: {problem}", link.line));
            }
        }
    }
    match pages.get(SUMMARY) {
        Some(summary) => problems.extend(check_summary(pages, summary)),
        None => problems.push(format!("{SUMMARY} does not exist")),
    }
    problems
}

fn check_link(
    pages: &Pages,
    root: &Path,
    page: &str,
    path: &str,
    anchor: Option<&str>,
) -> Result<(), String> {
    let target = resolve(page, path).ok_or_else(|| format!("{path} leads out of the repository"))?;
    if !root.join(&target).exists() {
        return Err(format!("{target} does not exist"));
    }
    match (anchor, pages.get(&target)) {
        (Some(anchor), Some(page)) if !page.anchors.contains(anchor) => {
            Err(format!("{target} has no heading with the anchor #{anchor}"))
        }
        (Some(anchor), None) => Err(format!("#{anchor}: {target} is no page")),
        _ => Ok(()),
    }
}

fn check_summary(pages: &Pages, summary: &Page) -> Vec<String> {
    let listed: Vec<String> = summary.links.iter().filter_map(|link| resolve(SUMMARY, &link.path)).collect();
    let mut problems = Vec::new();
    for page in pages.keys().filter(|page| page.starts_with("docs/") && *page != SUMMARY) {
        match listed.iter().filter(|listed| *listed == page).count() {
            0 => problems.push(format!("{SUMMARY} does not list {page}")),
            1 => {}
            _ => problems.push(format!("{SUMMARY} lists {page} twice")),
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let mut pages = Pages::new();
        for (name, text) in files {
            let path = root.path().join(name);
            let is_page = path.extension().is_some_and(|extension| extension == "md");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
            if is_page {
                pages.insert((*name).to_owned(), Page::parse((*text).to_owned()));
            }
        }
        check(&pages, root.path())
    }

    #[test]
    fn links_of_the_repository_are_accepted() {
        let docs = "# A\n[b](../README.md#b-c) [d](#a) [e](../x/f.toml) [g](../x)\n";
        let files = [
            ("README.md", "## B, c\n[a](docs/a.md)\n"),
            ("docs/a.md", docs),
            ("docs/SUMMARY.md", "[A](a.md)\n"),
            ("x/f.toml", ""),
        ];
        assert_eq!(problems(&files), Vec::<String>::new());
    }

    #[test]
    fn broken_links_are_reported_with_their_line() {
        let files = [
            ("README.md", "\n[a](docs/b.md)\n[c](../d.md)\n[e](docs/a.md#f)\n[g](x.toml#h)\n[i](#j)\n"),
            ("docs/a.md", "# A\n"),
            ("docs/SUMMARY.md", "[A](a.md)\n[A](a.md)\n"),
            ("docs/z.md", ""),
            ("x.toml", ""),
        ];
        let expected = [
            "README.md:2: docs/b.md does not exist",
            "README.md:3: ../d.md leads out of the repository",
            "README.md:4: docs/a.md has no heading with the anchor #f",
            "README.md:5: #h: x.toml is no page",
            "README.md:6: README.md has no heading with the anchor #j",
            "docs/SUMMARY.md lists docs/a.md twice",
            "docs/SUMMARY.md does not list docs/z.md",
        ];
        assert_eq!(problems(&files), expected);
    }
}
