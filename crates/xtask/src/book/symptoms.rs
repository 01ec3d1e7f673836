//! The page of symptoms quotes messages of the programs. Each quoted message must be in the source
//! of a program, so that a changed message cannot leave the page behind.

use std::{collections::BTreeSet, fs};

use anyhow::Context;
use proc_macro2::{TokenStream, TokenTree};

use crate::{
    layering::{
        files_below,
        tokens::{is_punct, without_tests},
    },
    shell::root,
};

/// The page.
const PAGE: &str = "docs/troubleshooting.md";

/// The packages whose messages the page may quote.
const PACKAGES: [&str; 7] = ["api", "authctl", "authd", "broker", "fleet", "oauth", "store"];

/// The title of the column with the quoted messages.
const COLUMN: &str = "| what you see |";

/// The start of a cell whose messages come from another program.
const OTHER_PROGRAM: &str = "From ";

/// Shortest part of a message that is looked for, in characters. Shorter parts are in any source.
const MIN_LENGTH: usize = 6;

/// The messages of the page that no program has.
pub(super) fn check_page() -> anyhow::Result<Vec<String>> {
    let page = fs::read_to_string(root().join(PAGE)).context(PAGE)?;
    let mut literals = Literals::default();
    for package in PACKAGES {
        for path in files_below(&root().join("crates").join(package).join("src"), "rs")? {
            literals.add(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
        }
    }
    Ok(check(&page, &literals))
}

fn check(page: &str, literals: &Literals) -> Vec<String> {
    let mut problems = Vec::new();
    let mut is_table = false;
    for (index, line) in page.lines().enumerate() {
        is_table = line.starts_with(COLUMN) || (is_table && line.starts_with('|'));
        let cell = line.trim_start_matches('|').split(" | ").next().unwrap_or_default().trim();
        if !is_table || line.starts_with(COLUMN) || cell.starts_with(OTHER_PROGRAM) {
            continue;
        }
        for message in quoted(cell) {
            for part in parts(message) {
                if !literals.contain(&part) {
                    problems.push(format!("{PAGE}:{}: no program has the message “{part}”", index + 1));
                }
            }
        }
    }
    problems
}

/// The texts in backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The constant parts of a message: between `…`, words in capitals, quoted names, numbers and
/// paths.
fn parts(message: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in message.split(' ') {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '~' | '…' | '-'));
        let is_variable = word.contains(['…', '"', '/', '~'])
            || bare.starts_with(|c: char| c.is_ascii_digit())
            || (bare.len() > 3 && bare.chars().all(|c| c.is_ascii_uppercase() || c == '_'));
        let part = parts.last_mut().expect("there is a part");
        if is_variable {
            parts.push(String::new());
        } else {
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(word);
        }
    }
    let trimmed = parts.iter().map(|part| part.trim_matches(|c: char| " :,.;()".contains(c)).to_owned());
    trimmed.filter(|part| part.chars().count() >= MIN_LENGTH).collect()
}

/// The string literals of sources.
#[derive(Default)]
struct Literals(BTreeSet<String>);

impl Literals {
    /// Adds those of a source file, without its tests and its comments.
    fn add(&mut self, source: &str) -> anyhow::Result<()> {
        let tokens: TokenStream = source.parse().map_err(|error| anyhow::anyhow!("{error}"))?;
        self.add_tokens(&without_tests(tokens));
        Ok(())
    }

    fn add_tokens(&mut self, tokens: &[TokenTree]) {
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => {
                    let is_comment = at > 0
                        && ['#', '!'].iter().any(|mark| is_punct(tokens.get(at - 1), *mark))
                        && group.stream().to_string().starts_with("doc");
                    if !is_comment {
                        self.add_tokens(&group.stream().into_iter().collect::<Vec<_>>());
                    }
                }
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    if text.contains('"') {
                        self.0.insert(unescaped(&text));
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether a literal has this text.
    fn contain(&self, part: &str) -> bool {
        self.0.iter().any(|literal| literal.contains(part))
    }
}

/// The text of a literal: with the usual escapes, without the breaks of long lines.
fn unescaped(literal: &str) -> String {
    let mut text = String::new();
    let mut characters = literal.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some('\n')) => while characters.next_if(|next| next.is_whitespace()).is_some() {},
            ('\\', Some('n')) => {
                characters.next();
                text.push(' ');
            }
            ('\\', Some(_)) => {}
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_compared_without_their_variable_parts() {
        let mut literals = Literals::default();
        let source = "/// the log is full\nfn f() { format!(\"no daemon listens \\\n    on {path}: {why}\"); \
                      g(r#\"the socket \"x\" is gone\"#) }\n#[cfg(test)] mod tests { const A: &str = \"only here\"; }";
        literals.add(source).unwrap();
        let page = "| what you see | b | c |\n|---|---|---|\n\
                    | `no daemon listens on /run/a: the socket` | `other text` | |\n\
                    | `the log is full`, `only here` | | |\n\
                    | From Codex: `foreign text` | | |\n\nThe `own text`.\n";
        let expected = ["the log is full", "only here"]
            .map(|part| format!("{PAGE}:4: no program has the message “{part}”"));
        assert_eq!(check(page, &literals), expected);
    }

    #[test]
    fn parts_are_constant() {
        assert_eq!(
            parts("another authd (process 123) already serves …"),
            ["another authd (process", "already serves"]
        );
        assert_eq!(parts("there is no profile \"wrok\""), ["there is no profile"]);
        assert_eq!(parts("… belongs to another user (uid 1000)"), ["belongs to another user (uid"]);
    }
}
