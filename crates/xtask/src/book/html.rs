//! The links of the built book: each leads to a file and to an anchor that exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::Context;

use super::page::resolve;
use crate::layering::files_below;

/// Checks the pages below this directory.
pub(super) fn check(book: &Path) -> anyhow::Result<Vec<String>> {
    let mut pages = BTreeMap::new();
    for path in files_below(book, "html")? {
        let name = path.strip_prefix(book)?.to_str().context("a page has a UTF-8 path")?;
        pages.insert(name.to_owned(), Html::parse(&fs::read_to_string(&path)?));
    }
    let mut problems = Vec::new();
    for (name, page) in &pages {
        // Its links are relative to any page.
        if name == "404.html" {
            continue;
        }
        for link in &page.links {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = resolve(name, path).filter(|target| book.join(target).exists());
            let has_anchor = |target: &String| {
                anchor.is_empty() || pages.get(target).is_none_or(|page| page.ids.contains(anchor))
            };
            if !target.as_ref().is_some_and(has_anchor) {
                problems.push(format!("{name}: the link {link} leads nowhere"));
            }
        }
    }
    Ok(problems)
}

/// What a page of the book links to, and which anchors it has.
#[derive(Default)]
struct Html {
    links: BTreeSet<String>,
    ids: BTreeSet<String>,
}

impl Html {
    /// Reads the attributes of the tags. The pages come from mdBook, which escapes text and writes
    /// attributes with double quotes.
    fn parse(text: &str) -> Self {
        let mut page = Self::default();
        let mut is_script = false;
        for tag in text.split('<').skip(1) {
            let tag = tag.split_once('>').map_or(tag, |(tag, _)| tag);
            if !is_script || tag.starts_with("/script") {
                for link in attributes(tag, "href").chain(attributes(tag, "src")) {
                    let is_external = ["//", "data:", "mailto:", "javascript:"];
                    if !link.contains("://") && !is_external.iter().any(|start| link.starts_with(start)) {
                        page.links.insert(link.replace("&amp;", "&"));
                    }
                }
                page.ids.extend(attributes(tag, "id").map(str::to_owned));
            }
            is_script = tag.starts_with("script") || (is_script && !tag.starts_with("/script"));
        }
        page
    }
}

/// The values of an attribute of a tag.
fn attributes<'a>(tag: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    tag.find(&start)
        .and_then(|at| tag[at + start.len()..].split_once('"'))
        .map(|(value, _)| value)
        .into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_reported() {
        let book = tempfile::tempdir().unwrap();
        let page = "<a href=\"b.html#x\"></a><a class=\"c\" href=\"b.html#y\"></a><a href=\"d.html\"></a>\
                    <a href=\"https://e\"></a><script>'<a href=\"f.html\">'</script><img src=\"g.png\">";
        fs::write(book.path().join("a.html"), page).unwrap();
        fs::write(book.path().join("b.html"), "<h1 id=\"x\"></h1>").unwrap();
        let expected = [
            "a.html: the link b.html#y leads nowhere",
            "a.html: the link d.html leads nowhere",
            "a.html: the link g.png leads nowhere",
        ];
        assert_eq!(check(book.path()).unwrap(), expected);
    }
}
