//! The one file that writes to stdout and stderr: answers to the one, words for people to the other. What
//! is written is decided elsewhere.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use authd_api::Problem;
use serde::Serialize;

use crate::{cli::Common, failure::Failure, printable};

/// Clears the screen, and begins at its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Where the words go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    quiet: bool,
    verbose: bool,
    json: bool,
    /// Whether stderr is a terminal that can take a line back.
    redraws: bool,
    /// Colours for what goes to stdout and to stderr.
    answer: Paint,
    words: Paint,
}

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(pub(crate) bool);

#[expect(clippy::unused_self, reason = "whoever may write holds an Out")]
impl Out {
    /// As the command line and the terminal want it.
    pub(crate) fn new(common: &Common) -> Self {
        let capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let wanted = capable && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            quiet: common.quiet,
            verbose: common.verbose,
            json: common.json,
            redraws: capable && io::stderr().is_terminal(),
            answer: Paint(wanted && io::stdout().is_terminal()),
            words: Paint(wanted && io::stderr().is_terminal()),
        }
    }

    /// Whether the answer is to be JSON.
    pub(crate) fn wants_json(self) -> bool {
        self.json
    }

    /// Whether a person wants to see no more than needed.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// The colours of an answer.
    pub(crate) fn paint(self) -> Paint {
        self.answer
    }

    /// The colours of words for people.
    pub(crate) fn words(self) -> Paint {
        self.words
    }

    /// The answer, to stdout, in words: without control characters but those of our own colours.
    pub(crate) fn answer(self, text: &str) -> Result<(), Failure> {
        self.bytes(self.answer.printable(text).as_bytes())
    }

    /// Makes room for the next answer: on a terminal all of the screen, elsewhere an empty line.
    pub(crate) fn clear(self, screen: bool) -> Result<(), Failure> {
        self.bytes(if screen { CLEAR } else { "\n" }.as_bytes())
    }

    /// The answer, to stdout, byte for byte.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// The answer as JSON, to stdout, for programs and people alike.
    pub(crate) fn json(self, message: &impl Serialize) -> Result<(), Failure> {
        let mut text =
            serde_json::to_string_pretty(message).expect("the contract's messages have a JSON form");
        text.push('\n');
        self.bytes(text.as_bytes())
    }

    /// A line for people, unless they want quiet.
    pub(crate) fn say(self, line: &str) {
        if !self.quiet {
            self.insist(line);
        }
    }

    /// A line for people, on a terminal, whose place the next one takes; an empty one clears it.
    pub(crate) fn pass(self, line: &str) {
        if self.redraws && !self.quiet {
            drop(write!(io::stderr().lock(), "\r\x1b[K{}", printable::value(line)));
        }
    }

    /// A line that people who want more get.
    pub(crate) fn explain(self, line: &str) {
        if self.verbose {
            self.insist(line);
        }
    }

    /// A line for people that even quiet ones need.
    pub(crate) fn insist(self, line: &str) {
        // Nothing is left to do when stderr is closed.
        drop(writeln!(io::stderr().lock(), "{}", self.words.printable(line)));
    }

    /// What went wrong: words to stderr and, for programs that want JSON, the problem to stdout.
    pub(crate) fn fail(self, failure: &Failure) {
        let Some(problem) = failure.problem() else { return };
        self.complain(problem);
        if self.json {
            drop(self.json(problem));
        }
    }

    /// A problem in words.
    pub(crate) fn complain(self, problem: &Problem) {
        self.insist(&format!("{} {}", self.words.red("authctl:"), problem.detail));
        if let Some(hint) = &problem.hint {
            self.insist(&format!("{} {hint}", self.words.bold("hint:")));
        }
    }
}

impl Paint {
    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The text with no escape sequence in it but those that this type writes, if it does.
    fn printable(self, text: &str) -> Cow<'_, str> {
        const OWN: [&str; 5] = ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m"];
        printable::text(text, if self.0 { &OWN } else { &[] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_is_printable_where_colours_are_wanted() {
        let (on, off) = (Paint(true), Paint(false));
        for paint in [Paint::bold, Paint::red, Paint::green, Paint::yellow] {
            let painted = paint(on, "words");
            assert_eq!(on.printable(&painted), painted);
            assert_ne!(off.printable(&painted), painted);
        }
        assert_eq!(on.printable("\x1b[8mhidden"), "\u{FFFD}[8mhidden");
    }
}
