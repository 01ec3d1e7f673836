//! `cargo xtask test recipes`: runs the recipes of `docs/recipes.md`. Each has a sandbox and a
//! daemon of its own, with the profiles `default` and `work`. Its `sh` blocks are one script of
//! bash; its `python` blocks are programs. A `text` block after another one is what that prints.

use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::{
    session::Session,
    shell::{self, print, root},
    tools::skip,
};

/// The page.
const PAGE: &str = "docs/recipes.md";

/// The profiles that a recipe finds, and their accounts.
const PROFILES: [(&str, &str); 2] = [("default", "plus"), ("work", "business")];

/// A part of the page that is run.
#[derive(Debug, PartialEq, Eq)]
struct Recipe {
    title: String,
    line: usize,
    blocks: Vec<Block>,
}

/// A program, and what it must print.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    language: Language,
    line: usize,
    code: String,
    expected: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Sh,
    Python,
}

/// Runs all recipes.
pub(crate) fn check() -> anyhow::Result<()> {
    for program in ["bash", "curl", "python3"] {
        if !shell::is_installed(program) {
            return skip("the recipes", &anyhow::anyhow!("{program} is not installed"));
        }
    }
    let page = std::fs::read_to_string(root().join(PAGE)).context(PAGE)?;
    let recipes = parse(&page)?;
    ensure!(!recipes.is_empty(), "{PAGE} has no recipe");
    shell::build_programs()?;
    let runtime = shell::runtime()?;
    for recipe in &recipes {
        let started = Instant::now();
        runtime.block_on(run(recipe)).with_context(|| format!("{PAGE}:{}: {}", recipe.line, recipe.title))?;
        print(&format!("{:5.1} s  {}", started.elapsed().as_secs_f64(), recipe.title));
    }
    print(&format!("{} recipes work", recipes.len()));
    Ok(())
}

async fn run(recipe: &Recipe) -> anyhow::Result<()> {
    let session = Session::start().await?;
    for (profile, account) in PROFILES {
        session.daemon().sign_in(profile, account).await;
    }
    for block in &recipe.blocks {
        let code = block.code.as_str();
        let (program, options) = match block.language {
            Language::Sh => ("bash", vec!["-euo", "pipefail", "-c", code]),
            Language::Python => ("python3", vec!["-c", code]),
        };
        let run = session.run(program, &options, &[("ACCOUNT", "plus")]).await;
        let stdout = run.with_context(|| format!("the block in line {} failed", block.line))?;
        if let Some(expected) = &block.expected {
            let stdout = String::from_utf8_lossy(&stdout);
            ensure!(
                is_output(expected, &stdout),
                "the block in line {} printed\n{stdout}\nnot\n{expected}",
                block.line
            );
        }
    }
    Ok(())
}

/// Whether the output has these lines, where `…` stands for any text.
fn is_output(expected: &str, output: &str) -> bool {
    let (expected, output): (Vec<_>, Vec<_>) =
        (expected.trim_end().lines().collect(), output.trim_end().lines().collect());
    expected.len() == output.len()
        && expected.iter().zip(output).all(|(pattern, line)| matches(pattern, line))
}

fn matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.trim_end().split('…');
    let line = line.trim_end();
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    let has_gap = parts.peek().is_some();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    has_gap || rest.is_empty()
}

/// The recipes of the page: its sections with programs.
fn parse(page: &str) -> anyhow::Result<Vec<Recipe>> {
    let mut recipes: Vec<Recipe> = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            recipes.push(Recipe { title: title.to_owned(), line: index + 1, blocks: Vec::new() });
        }
        let Some(language) = line.strip_prefix("```") else { continue };
        let code: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let code = code.join("\n");
        let recipe =
            recipes.last_mut().with_context(|| format!("{PAGE}:{}: a block of no recipe", index + 1))?;
        let language = match (language, recipe.blocks.last_mut()) {
            ("sh", _) => Language::Sh,
            ("python", _) => Language::Python,
            ("text", Some(block)) if block.expected.is_none() => {
                block.expected = Some(code);
                continue;
            }
            _ => bail!("{PAGE}:{}: a block is sh, python, or text after one of these", index + 1),
        };
        recipe.blocks.push(Block { language, line: index + 1, code, expected: None });
    }
    recipes.retain(|recipe| !recipe.blocks.is_empty());
    Ok(recipes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_split_into_recipes() {
        let recipes = parse("# A\n\n## B\n\n```sh\nc\nd\n```\n```text\ne\n```\n## F\ng\n").unwrap();
        let block = Block {
            language: Language::Sh,
            line: 5,
            code: "c\nd".to_owned(),
            expected: Some("e".to_owned()),
        };
        assert_eq!(recipes, [Recipe { title: "B".to_owned(), line: 3, blocks: vec![block] }]);
        assert!(parse("## A\n```text\nb\n```\n").is_err());
        assert!(parse("## A\n```ruby\nb\n```\n").is_err());
    }

    #[test]
    fn output_is_compared_line_by_line() {
        assert!(is_output("a … c\nd", "a b c\nd\n"));
        assert!(!is_output("a … c", "a b d\n"));
        assert!(!is_output("a", "a\nb\n"));
        assert!(!is_output("a", "a b\n"));
        assert!(is_output("…", "anything\n"));
        assert!(is_output("a…b…", "a1b2\n"));
        assert!(!is_output("a…b…c", "a1c\n"));
    }
}
