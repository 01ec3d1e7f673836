//! Output: results go to stdout, messages for users to stderr. The only file that writes to
//! either.

use std::{
    borrow::Cow,
    io::{self, IsTerminal, Write},
};

use authd_api::Problem;
use serde::Serialize;

use crate::{
    cli::Common,
    env,
    error::{CliError, CliResult},
    qr_code, sanitize,
};

/// The output that the options and the terminal call for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) quiet: bool,
    pub(crate) json: bool,
    verbose: bool,
    /// stderr is a terminal on which a line can be overwritten.
    can_overwrite: bool,
    /// The locale has more characters than those of ASCII.
    unicode: bool,
    pub(crate) stdout_style: Style,
    pub(crate) stderr_style: Style,
}

/// Writes colours if it is `true`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style(pub(crate) bool);

#[expect(clippy::unused_self, reason = "all output goes through an Output")]
impl Output {
    pub(crate) fn new(common: &Common) -> Self {
        let capable = std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let colour = capable && env::var("NO_COLOR").is_none();
        Self {
            quiet: common.quiet,
            json: common.json,
            verbose: common.verbose,
            can_overwrite: capable && io::stderr().is_terminal(),
            unicode: env::is_utf8_locale(),
            stdout_style: Style(colour && io::stdout().is_terminal()),
            stderr_style: Style(colour && io::stderr().is_terminal()),
        }
    }

    /// Writes bytes to stdout unchanged.
    pub(crate) fn write(self, bytes: &[u8]) -> CliResult {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| CliError::stdout(&error))
    }

    /// Writes text for users to stdout, without control characters other than the colours.
    pub(crate) fn print(self, text: &str) -> CliResult {
        self.print_verbatim(&self.in_locale(text))
    }

    /// Writes the text of a program or a model to stdout: its symbols stay.
    pub(crate) fn print_verbatim(self, text: &str) -> CliResult {
        self.write(self.stdout_style.sanitize(text).as_bytes())
    }

    /// The text with the symbols of this program in ASCII if the locale has no others. Each has the
    /// width of its symbol.
    fn in_locale(self, text: &str) -> Cow<'_, str> {
        if self.unicode || text.is_ascii() {
            return text.into();
        }
        let ascii = |c| match c {
            '✓' => '+',
            '✗' => 'x',
            '→' => '>',
            '…' => '~',
            '█' => '#',
            '░' => '-',
            sanitize::REPLACEMENT => '?',
            other => other,
        };
        text.chars().map(ascii).collect::<String>().into()
    }

    /// The frames of an animation of one character.
    pub(crate) fn spinner(self) -> &'static str {
        if self.unicode { "⠁⠂⠄⡀⢀⠠⠐⠈" } else { "|/-\\" }
    }

    /// The columns of the terminal; `None` if stdout is none.
    pub(crate) fn width(self) -> Option<usize> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let variable = || env::var("COLUMNS")?.to_str()?.parse().ok();
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
        variable().or(size).filter(|columns| *columns > 0).or(Some(80))
    }

    /// The columns and lines of a terminal at stderr that shows colours and symbols.
    pub(crate) fn canvas(self) -> Option<(usize, usize)> {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
        let is_able = self.unicode && self.stderr_style.0;
        is_able.then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
    }

    /// Writes JSON to stdout in one line.
    pub(crate) fn print_json_line(self, value: &impl Serialize) -> CliResult {
        let mut text = serde_json::to_string(value).expect("every message has a JSON form");
        text.push('\n');
        self.write(text.as_bytes())
    }

    /// Writes JSON to stdout.
    pub(crate) fn print_json(self, value: &impl Serialize) -> CliResult {
        let mut text = serde_json::to_string_pretty(value).expect("every message has a JSON form");
        text.push('\n');
        self.write(text.as_bytes())
    }

    /// Writes the result of a command to stdout: as JSON with `--json`, else as text.
    pub(crate) fn result(self, value: &impl Serialize, text: impl FnOnce() -> String) -> CliResult {
        if self.json { self.print_json(value) } else { self.print(&text()) }
    }

    /// Reports a change: as a message for users and, with `--json`, as the new state on stdout.
    pub(crate) fn done(self, message: &str, state: &impl Serialize) -> CliResult {
        self.info(message);
        if self.json { self.print_json(state) } else { Ok(()) }
    }

    /// A message for users, suppressed by `--quiet`.
    pub(crate) fn info(self, message: &str) {
        if !self.quiet {
            self.always(message);
        }
    }

    /// A message for users that `--verbose` adds.
    pub(crate) fn verbose(self, message: &str) {
        if self.verbose {
            self.always(message);
        }
    }

    /// A message for users that even `--quiet` shows, because the user has to act on it.
    pub(crate) fn always(self, message: &str) {
        // There is no other place to report that stderr is closed.
        let message = self.in_locale(message);
        drop(writeln!(io::stderr().lock(), "{}", self.stderr_style.sanitize(&message)));
    }

    /// A line that the next one overwrites, on a terminal only. An empty one clears it.
    pub(crate) fn transient(self, line: &str) {
        if self.can_overwrite && !self.quiet {
            drop(write!(io::stderr().lock(), "\r\x1b[K{}", sanitize::line(line)));
        }
    }

    /// A problem and its hint.
    pub(crate) fn error(self, problem: &Problem) {
        self.always(&format!("{} {}", self.stderr_style.red("authctl:"), problem.detail));
        if let Some(hint) = &problem.hint {
            self.always(&format!("{} {hint}", self.stderr_style.bold("hint:")));
        }
    }

    /// The error that ends the program: on stderr and, with `--json`, on stdout.
    pub(crate) fn failure(self, error: &CliError) {
        let Some(problem) = error.problem() else { return };
        self.error(problem);
        if self.json {
            drop(self.print_json(problem));
        }
    }
}

impl Style {
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

    /// The text without escape sequences, other than those that this style writes.
    fn sanitize(self, text: &str) -> Cow<'_, str> {
        const OWN: [&str; 6] = ["\x1b[0m", "\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", qr_code::COLOURS];
        sanitize::text(text, if self.0 { &OWN } else { &[] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitizing_keeps_own_colours_only_where_colours_are_on() {
        let (on, off) = (Style(true), Style(false));
        for colour in [Style::bold, Style::red, Style::green, Style::yellow] {
            let coloured = colour(on, "text");
            assert_eq!(on.sanitize(&coloured), coloured);
            assert_ne!(off.sanitize(&coloured), coloured);
        }
        assert_eq!(on.sanitize("\x1b[8mhidden"), "\u{FFFD}[8mhidden");
    }
}
