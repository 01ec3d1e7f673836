//! The pages of the repository show command lines that exist.

use std::{fs, path::Path};

use clap::{CommandFactory as _, error::ErrorKind};

use super::Cli;

/// The command lines in a page: code that begins with `authctl`, in a line of a block or in a text.
fn command_lines(page: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_block = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            is_block = !is_block;
        } else if is_block {
            lines.extend(line.match_indices("authctl ").map(|(at, _)| line[at..].to_owned()));
        } else {
            lines.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    lines.retain(|line| line.starts_with("authctl "));
    lines
}

/// The words of a command line, up to a character that ends it in a shell or in a text.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for character in line.chars().chain([' ']) {
        match (character, quote) {
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            (' ', None) => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
            }
            ('|' | '>' | '<' | ';' | '&' | '#' | ')' | '\\' | '…' | '(' | '[', None) => break,
            _ => word.push(character),
        }
    }
    words
}

/// What is wrong with a command line, except its values: those of a page are examples.
fn fault(line: &str) -> Option<String> {
    let error = Cli::command().try_get_matches_from(words(line)).err()?;
    let is_fault = matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict
    );
    is_fault.then(|| error.to_string())
}

#[test]
fn pages_show_command_lines_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let mut pages = vec![root.join("README.md")];
    for directory in ["docs", "examples"] {
        pages.extend(fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().path()));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    let mut count = 0;
    for page in pages {
        for line in command_lines(&fs::read_to_string(&page).unwrap()) {
            let fault = fault(&line);
            assert_eq!(fault, None, "{}: {line}", page.display());
            count += 1;
        }
    }
    assert!(count > 100, "only {count} command lines were found");
}

#[test]
fn faults_of_a_command_line_are_found() {
    let page =
        "`authctl login --devise` and `authctl status`\n```sh\nx=$(authctl headers -p NAME) # authctl\n```\n";
    let lines = command_lines(page);
    assert_eq!(lines, ["authctl login --devise", "authctl status", "authctl headers -p NAME) # authctl"]);
    let faults: Vec<_> = lines.iter().map(|line| fault(line).is_some()).collect();
    assert_eq!(faults, [true, false, false]);
    assert!(fault("authctl quota --best --all").is_some() && fault("authctl stats").is_some());
}
