//! The Markdown pages of the repository, their links and their anchors.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Component, Path, PathBuf},
};

use anyhow::Context;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use crate::layering::files_below;

/// The table of contents of the book.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";

/// Pages by their path in the repository.
pub(super) type Pages = BTreeMap<String, Page>;

/// A Markdown page.
pub(super) struct Page {
    /// The source of the page.
    pub(super) text: String,
    /// The links and images, in their order.
    pub(super) links: Vec<Link>,
    /// The anchors of the headings, as GitHub and mdBook make them.
    pub(super) anchors: BTreeSet<String>,
}

/// A link to a place that is not on another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The line of the link, beginning with 1.
    pub(super) line: usize,
    /// The bytes of the source that hold the destination, without a title.
    pub(super) range: Range<usize>,
    /// The destination up to the `#`. It is empty if the link stays on its page.
    pub(super) path: String,
    /// The text after the `#`.
    pub(super) anchor: Option<String>,
}

/// Reads the pages of the root directory of the repository, of `docs` and of `examples`.
pub(super) fn read_all(root: &Path) -> anyhow::Result<Pages> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            paths.push(path);
        }
    }
    for directory in ["docs", "examples"] {
        paths.extend(files_below(&root.join(directory), "md")?);
    }
    let mut pages = Pages::new();
    for path in paths {
        let name = path.strip_prefix(root)?.to_str().context("a page has a UTF-8 path")?;
        pages.insert(name.to_owned(), Page::parse(fs::read_to_string(&path)?));
    }
    Ok(pages)
}

impl Page {
    /// Parses a page.
    pub(super) fn parse(text: String) -> Self {
        let (mut links, mut anchors) = (Vec::new(), BTreeSet::new());
        let mut heading: Option<String> = None;
        let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
        for (event, range) in Parser::new_ext(&text, options).into_offset_iter() {
            match event {
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    links.extend(link(&text, range, &dest_url));
                }
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::Text(part) | Event::Code(part) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&part);
                    }
                }
                Event::End(TagEnd::Heading(_)) => {
                    let anchor = anchor(&heading.take().unwrap_or_default());
                    let unique = (1..).map(|count| format!("{anchor}-{count}"));
                    let free = std::iter::once(anchor.clone()).chain(unique);
                    anchors.extend(free.into_iter().find(|anchor| !anchors.contains(anchor)));
                }
                _ => {}
            }
        }
        Self { text, links, anchors }
    }
}

/// The link to this destination in these bytes of the page, unless it leads to another host.
fn link(text: &str, range: Range<usize>, destination: &str) -> Option<Link> {
    if destination.contains("://") || destination.starts_with("mailto:") {
        return None;
    }
    let source = &text[range.clone()];
    let at = source.rfind(&format!("]({destination}")).map_or(source.len(), |at| at + 2);
    let start = range.start + at;
    let (path, anchor) = match destination.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor.to_owned())),
        None => (destination, None),
    };
    Some(Link {
        line: text[..start].matches('\n').count() + 1,
        range: start..start + destination.len().min(source.len() - at),
        path: path.to_owned(),
        anchor,
    })
}

/// The anchor of a heading: in lower case, without punctuation, and with hyphens for spaces.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect::<String>().to_lowercase()
}

/// The path in the repository that a link of this page leads to; `None` if it leads out of it.
pub(super) fn resolve(page: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(page.to_owned());
    }
    let mut path = PathBuf::from(page).parent().map(Path::to_owned).unwrap_or_default();
    for component in Path::new(link).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    path.to_str().map(str::to_owned)
}

/// The link from one file to another, both relative to the same directory.
pub(super) fn relative(from: &str, to: &str) -> String {
    let directory: Vec<&str> =
        from.rsplit_once('/').map_or(Vec::new(), |(path, _)| path.split('/').collect());
    let target: Vec<&str> = to.split('/').collect();
    let common = directory.iter().zip(&target).take_while(|(left, right)| left == right).count();
    let up = std::iter::repeat_n("..", directory.len() - common);
    up.chain(target[common..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_anchors_are_found() {
        let page = Page::parse(
            "# A `b`: c, d\n\n| x |\n|---|\n| [e](f.md#g) ![h](i.png \"j\") |\n\n## K\n## K\n\n```\n# [no](no.md)\n```\n[l](https://m/n) [o](#k)\n"
                .to_owned(),
        );
        let found: Vec<_> =
            page.links.iter().map(|link| (link.line, &page.text[link.range.clone()])).collect();
        assert_eq!(found, [(5, "f.md#g"), (5, "i.png"), (13, "#k")]);
        assert_eq!(page.links[0].path, "f.md");
        assert_eq!(page.links[2].anchor.as_deref(), Some("k"));
        assert_eq!(page.anchors.iter().map(String::as_str).collect::<Vec<_>>(), ["a-b-c-d", "k", "k-1"]);
    }

    #[test]
    fn paths_are_resolved_and_made_relative() {
        assert_eq!(resolve("docs/a/b.md", "../c.md").as_deref(), Some("docs/c.md"));
        assert_eq!(resolve("README.md", "docs/c.md").as_deref(), Some("docs/c.md"));
        assert_eq!(resolve("a.md", "").as_deref(), Some("a.md"));
        assert_eq!(resolve("a.md", "../b.md"), None);
        assert_eq!(resolve("a.md", "/b.md"), None);
        assert_eq!(relative("a/b.md", "a/c.md"), "c.md");
        assert_eq!(relative("a/b.md", "c/d.md"), "../c/d.md");
        assert_eq!(relative("b.md", "c/d.md"), "c/d.md");
    }
}
