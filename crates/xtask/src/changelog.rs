//! `cargo xtask test changelog`: `CHANGELOG.md` has the form of Keep a Changelog, and a section for
//! the version of this tree.

use std::fs;

use anyhow::Context;

use crate::shell::{report, root};

const PAGE: &str = "CHANGELOG.md";
const KINDS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

/// Prints every problem of the page.
pub(crate) fn check() -> anyhow::Result<()> {
    let text = fs::read_to_string(root().join(PAGE)).context(PAGE)?;
    report(&problems(&text, env!("CARGO_PKG_VERSION")), PAGE)
}

fn problems(text: &str, current: &str) -> Vec<String> {
    let (mut problems, mut versions, mut entries) = (Vec::new(), Vec::new(), 1);
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            let Some((version, date)) = heading(title) else {
                problems.push(format!("\"{line}\" is not \"## [1.2.3] - 2026-01-31\" or \"… - unreleased\""));
                continue;
            };
            if date == "unreleased" && !versions.is_empty() {
                problems.push(format!("{title}: only the newest version can be unreleased"));
            }
            if versions.last().is_some_and(|newer| *newer <= version) {
                problems.push(format!("{title}: versions must descend"));
            }
            versions.push(version);
        } else if let Some(kind) = line.strip_prefix("### ") {
            if !KINDS.contains(&kind) {
                problems.push(format!("\"{line}\": the kinds are {}", KINDS.join(", ")));
            }
            if entries == 0 {
                problems.push(format!("the section before \"{line}\" is empty"));
            }
            entries = 0;
        } else if line.starts_with("- ") {
            entries += 1;
        }
    }
    if entries == 0 {
        problems.push("the last section is empty".to_owned());
    }
    if !versions.iter().any(|version| Some(version) == numbers(current).as_ref()) {
        problems.push(format!("no section for the version {current} of Cargo.toml"));
    }
    problems
}

/// The version and the date of a heading.
fn heading(title: &str) -> Option<([u32; 3], &str)> {
    let (version, date) = title.strip_prefix('[')?.split_once("] - ")?;
    let is_date = date.parse::<jiff::civil::Date>().is_ok_and(|parsed| parsed.to_string() == date);
    Some((numbers(version)?, date)).filter(|_| is_date || date == "unreleased")
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let numbers: Option<Vec<_>> = version.split('.').map(|number| number.parse().ok()).collect();
    numbers?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Changelog\n\n## [0.10.0] - unreleased\n\n### Added\n\n- a\n\n\
                        ## [0.9.0] - 2026-11-25\n\n### Fixed\n\n- b\n";

    #[track_caller]
    fn reports(from: &str, to: &str, problem: &str) {
        let problems = problems(&PAGE.replace(from, to), "0.9.0");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains(problem), "{problems:?}");
    }

    #[test]
    fn right_page_has_no_problem() {
        assert_eq!(problems(PAGE, "0.9.0"), [""; 0]);
        assert_eq!(problems(PAGE, "0.10.0"), [""; 0]);
    }

    #[test]
    fn version_of_the_tree_needs_a_section() {
        assert_eq!(problems(PAGE, "0.11.0"), ["no section for the version 0.11.0 of Cargo.toml"]);
    }

    #[test]
    fn wrong_heading_is_reported() {
        reports("[0.10.0] - unreleased", "Unreleased", "is not");
        reports("[0.10.0] - unreleased", "[0.10.0] - 2026-13-01", "is not");
        reports("2026-11-25", "unreleased", "only the newest version");
        reports("0.10.0", "0.9.0", "descend");
        reports("### Fixed", "### Mended", "the kinds are Added");
        reports("### Added\n\n- a\n", "### Added\n", "is empty");
        reports("- b\n", "", "the last section is empty");
    }
}
