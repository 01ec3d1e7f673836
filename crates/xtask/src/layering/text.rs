//! Lengths of source files and of lines of prose. Tables, code blocks and lines with a URL may be
//! longer.

use std::{fs, path::Path};

use anyhow::Context;

use super::{Violation, files_below};
use crate::shell::root;

/// Most lines of a source file.
const MAX_LINES: usize = 400;
/// Most columns of a line of prose.
const MAX_COLUMNS: usize = 100;

/// The pages in the root directory.
const ROOT_PAGES: [&str; 4] = ["CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"];

/// Checks the Rust files of all packages, the pages of `docs` and those of the root directory.
pub(super) fn check_workspace() -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for path in files_below(&root().join("crates"), "rs")? {
        violations.extend(check_source(relative(&path)?, &fs::read_to_string(&path)?));
    }
    let mut pages = files_below(&root().join("docs"), "md")?;
    pages.extend(ROOT_PAGES.map(|page| root().join(page)));
    for path in pages {
        violations.extend(check_page(relative(&path)?, &fs::read_to_string(&path)?));
    }
    Ok(violations)
}

fn relative(path: &Path) -> anyhow::Result<&str> {
    path.strip_prefix(root())?.to_str().context("a file has a UTF-8 path")
}

fn check_source(file: &str, text: &str) -> Vec<Violation> {
    let count = text.lines().count();
    let mut violations = Vec::new();
    if count > MAX_LINES {
        let message = format!("the file has {count} lines, the limit is {MAX_LINES}");
        violations.push(Violation { file: file.to_owned(), line: MAX_LINES + 1, message });
    }
    let comments = text.lines().map(|line| {
        let comment = line.trim_start().strip_prefix("//")?;
        Some((line, comment.trim_start_matches(['/', '!']).trim_start()))
    });
    violations.extend(check_lines(file, comments));
    violations
}

fn check_page(file: &str, text: &str) -> Vec<Violation> {
    check_lines(file, text.lines().map(|line| Some((line, line.trim_start()))))
}

/// Checks lines with their prose: `None` for a line without prose.
fn check_lines<'a>(file: &str, lines: impl Iterator<Item = Option<(&'a str, &'a str)>>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut is_code = false;
    for (index, line) in lines.enumerate() {
        // A code block of a comment ends with the comment.
        let Some((line, prose)) = line else {
            is_code = false;
            continue;
        };
        if prose.starts_with("```") || prose.starts_with("~~~") {
            is_code = !is_code;
            continue;
        }
        let columns = line.chars().count();
        let is_exempt = is_code || prose.starts_with('|') || prose.contains("://");
        if columns > MAX_COLUMNS && !is_exempt {
            let message = format!("the line has {columns} columns, the limit for prose is {MAX_COLUMNS}");
            violations.push(Violation { file: file.to_owned(), line: index + 1, message });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(violations: &[Violation]) -> Vec<usize> {
        violations.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn long_file_is_reported() {
        assert!(check_source("a.rs", &"fn f() {}\n".repeat(400)).is_empty());
        assert_eq!(lines(&check_source("a.rs", &"fn f() {}\n".repeat(401))), [401]);
    }

    #[test]
    fn long_comment_is_reported_and_long_code_is_not() {
        let long = "x".repeat(100);
        let text =
            format!("// {long}\nlet x = \"{long}\";\n    /// | {long} |\n//! https://{long}\n/// {long}\n");
        assert_eq!(lines(&check_source("a.rs", &text)), [1, 5]);
    }

    #[test]
    fn code_block_of_a_comment_may_be_long() {
        let long = "x".repeat(100);
        let text = format!("/// ```\n/// {long}\n/// ```\n/// {long}\n");
        assert_eq!(lines(&check_source("a.rs", &text)), [4]);
    }

    #[test]
    fn long_prose_of_a_page_is_reported() {
        let long = "x".repeat(101);
        let text = format!("{long}\n| {long} |\n```\n{long}\n```\n<https://{long}>\n- {long}\n");
        assert_eq!(lines(&check_page("a.md", &text)), [1, 7]);
        assert!(check_page("a.md", &"é".repeat(100)).is_empty());
    }
}
