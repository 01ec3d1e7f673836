//! The manual pages: `clap_mangen` writes the name, the synopsis and the options, and this module
//! the head and the sections that readers look for.

use std::{
    io::{self, Write},
    path::Path,
};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::{cli::Cli, owned_file};

/// The date of the last change of the pages. A fixed one, so that a build is reproducible.
const DATE: &str = "2026-11-26";

/// The longest line of the source, in bytes.
const WIDTH: usize = 79;

/// The page of the whole program.
pub(crate) fn main_page() -> io::Result<Vec<u8>> {
    page(&Cli::command())
}

/// Writes a page for each command. Replaces `clap_mangen::generate_to`, which follows symbolic
/// links.
pub(crate) fn write_all(directory: &Path) -> io::Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    write(&command, directory)
}

fn write(command: &Command, directory: &Path) -> io::Result<()> {
    command.get_subcommands().try_for_each(|command| write(command, directory))?;
    let path = directory.join(Man::new(command.clone()).get_filename());
    owned_file::create_public(&path)?.write_all(&page(command)?)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let name = command.get_display_name().unwrap_or("authctl").to_owned();
    let is_main = name == "authctl";
    let mut body = Vec::new();
    man.render_name_section(&mut body)?;
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    man.render_options_section(&mut body)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut body)?;
    }
    let head = format!(
        ".TH {} 1 {DATE} \"authctl {}\" \"User Commands\"\n.ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n",
        name.to_uppercase(),
        env!("CARGO_PKG_VERSION")
    );
    let mut text = head + &wrapped(&without_preamble(&String::from_utf8_lossy(&body)));
    let after = after_help(&command.get_after_help().map(ToString::to_string).unwrap_or_default());
    text += &after;
    if is_main {
        text += ENVIRONMENT_AND_FILES;
    } else {
        if !after.contains(".SH EXIT STATUS") {
            text += ".SH EXIT STATUS\nThe exit codes of all commands are in\n.BR authctl (1).\n";
        }
        text += ".SH SEE ALSO\n.BR authctl (1),\n.BR authd (1)\n";
    }
    Ok(text.into_bytes())
}

/// The sections without the definitions that each begins with, and without breaks beside a space.
fn without_preamble(text: &str) -> String {
    let is_preamble = |line: &&str| line.starts_with(".ie ") || line.starts_with(".el ");
    let lines = text.lines().filter(|line| !is_preamble(line));
    let text: String = lines.map(|line| format!("{}\n", line.trim_end())).collect();
    text.replace(".br\n\n.br\n", ".sp\n")
}

/// The text with lines that fit the source. A line that begins with a dot is a request, and stays.
fn wrapped(text: &str) -> String {
    let mut wrapped = String::new();
    for line in text.lines() {
        if line.starts_with(['.', '\'']) {
            wrapped += &format!("{line}\n");
            continue;
        }
        let mut length = 0;
        for word in line.split(' ') {
            let word = if length > 0 && length + 1 + word.len() > WIDTH {
                wrapped.push('\n');
                length = 0;
                // A dot or an apostrophe would begin a request.
                if word.starts_with(['.', '\'']) { format!("\\&{word}") } else { word.to_owned() }
            } else if length > 0 {
                format!(" {word}")
            } else {
                word.to_owned()
            };
            length += word.len();
            wrapped += &word;
        }
        wrapped.push('\n');
    }
    wrapped
}

/// The examples, the exit codes and the remarks at the end of a `--help`, as sections.
fn after_help(help: &str) -> String {
    let (mut examples, mut exit_codes, mut notes) = (String::new(), String::new(), String::new());
    for paragraph in help.split("\n\n") {
        if let Some(text) = paragraph.strip_prefix("Examples:\n") {
            examples += &literal(text);
        } else if let Some(text) = paragraph.strip_prefix("Exit codes:\n") {
            let codes =
                text.lines().flat_map(|line| line.trim().split("; ")).filter_map(|code| code.split_once(' '));
            exit_codes +=
                &codes.map(|(code, text)| format!(".TP\n{code}\n{}\n", escaped(text))).collect::<String>();
        } else if !paragraph.is_empty() {
            notes += &paragraph.lines().map(|line| escaped(line) + "\n").collect::<String>();
        }
    }
    let sections = [("NOTES", notes), ("EXIT STATUS", exit_codes), ("EXAMPLES", examples)];
    let sections = sections.iter().filter(|(_, text)| !text.is_empty());
    sections.map(|(title, text)| format!(".SH {title}\n{}", wrapped(text))).collect()
}

/// Examples, with the command in bold and its meaning below it.
fn literal(text: &str) -> String {
    let example = |line: &str| {
        let (command, meaning) = line.trim().split_once("  ").unwrap_or((line.trim(), ""));
        let meaning = escaped(meaning.trim());
        let meaning = if meaning.is_empty() { meaning } else { meaning + "\n" };
        format!(".TP\n\\fB{}\\fR\n{meaning}", escaped(command))
    };
    text.lines().map(example).collect()
}

fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('"', "\\(dq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

const ENVIRONMENT_AND_FILES: &str = r#".SH ENVIRONMENT
.TP
.B AUTHCTL_PROFILE
The profile of commands without one.
.TP
.B AUTHD_SOCKET
The socket of the daemon.
.TP
.B AUTHD_SOCKET_UID
The user of the daemon, if not the own one: in a container the daemon behind
the socket of a share may have another number.
.TP
.BR AUTHD_CONFIG ", " AUTHD_STATE_DIR
The configuration and the state directory of a daemon that
.B authctl login
starts.
.TP
.B CODEX_HOME
The home directory of the Codex CLI.
.TP
.B BROWSER
The commands that open a page, with colons between them; %s stands for the
page.
.TP
.BR LC_ALL ", " LC_CTYPE ", " LANG
If the locale is not UTF\-8, the output has ASCII symbols.
.TP
.BR NO_COLOR ", " TERM ", " COLUMNS
No colours; no overwritten lines if the terminal is dumb; the width of tables.
.SH FILES
.TP
.I $XDG_RUNTIME_DIR/authd/authd.sock
The socket;
.B authctl socket
prints its path.
.TP
.I $XDG_CONFIG_HOME/authd/authd.toml
The configuration of the daemon.
.TP
.I $XDG_STATE_HOME/authd
The state of the daemon, and authd.log if
.B authctl login
started it.
.SH SEE ALSO
.BR authd (1)
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_wrapped_and_no_word_becomes_a_request() {
        let text = format!(".SH NAME\n{} .dot 'quote\n", "x".repeat(WIDTH - 1));
        assert_eq!(wrapped(&text), format!(".SH NAME\n{}\n\\&.dot 'quote\n", "x".repeat(WIDTH - 1)));
    }

    /// The words of a text, without the markup of a manual page.
    fn words(text: &str) -> String {
        let characters = [("\\*(Aq", "'"), ("\\(aq", "'"), ("\\(dq", "\""), ("\\&", ""), ("\\-", "-")];
        let mut text = text.to_owned();
        for (markup, character) in characters {
            text = text.replace(markup, character);
        }
        for font in ["\\fB", "\\fI", "\\fR"] {
            text = text.replace(font, "");
        }
        text.replace("\\e", "\\").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Each option, description, example and remark of a command's `--help` is in its page.
    fn compare(command: &Command) {
        let page = words(&String::from_utf8(page(command).unwrap()).unwrap());
        let mut texts: Vec<String> = command.get_about().map(ToString::to_string).into_iter().collect();
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            texts.extend(argument.get_long().map(|long| format!("--{long}")));
            if argument.get_id() != "help" {
                let help = argument.get_long_help().or_else(|| argument.get_help());
                texts.extend(help.map(ToString::to_string));
            }
        }
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines().filter(|line| !line.ends_with(':')) {
            texts.extend(line.trim().split("  ").flat_map(|part| part.split("; ")).map(str::to_owned));
        }
        for text in texts.iter().map(|text| words(text)) {
            assert!(
                page.contains(&text),
                "{}: the page does not contain: {text}\n{page}",
                command.get_name()
            );
        }
        command.get_subcommands().for_each(compare);
    }

    #[test]
    fn pages_say_what_the_help_says() {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        compare(&command);
    }
}
