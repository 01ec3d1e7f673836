//! Completion scripts: those of `clap_complete`, with the names of the profiles from the daemon and
//! the commands of the machine.

use clap::{Arg, Command, CommandFactory, builder::PossibleValuesParser};
use clap_complete::Shell;

use crate::cli::Cli;

/// Stands for the profiles in a generated script.
const PROFILES: &str = "@PROFILES@";
/// Stands for the commands after `exec`.
const COMMANDS: &str = "@COMMANDS@";

/// Prints a name a line, and nothing without a daemon.
const LIST_PROFILES: &str = "authctl profiles --quiet 2>/dev/null";

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> String {
    let mut command = with_placeholders(Cli::command());
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "authctl", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => script
            .replace(PROFILES, &format!("$({LIST_PROFILES})"))
            .replace(COMMANDS, "$(compgen -c -- \"${cur}\")"),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script, &command),
        _ => script.replace(PROFILES, "").replace(COMMANDS, ""),
    }
}

/// Gives the arguments whose values are known at run time only a placeholder as their value.
fn with_placeholders(command: Command) -> Command {
    let value = |arg: Arg| match placeholder(&arg) {
        Some(placeholder) => arg.value_parser(PossibleValuesParser::new([placeholder])),
        None => arg,
    };
    command.mut_args(value).mut_subcommands(with_placeholders)
}

fn placeholder(arg: &Arg) -> Option<&'static str> {
    let value_name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    match (arg.get_id().as_str(), value_name) {
        ("profile", _) | (_, "PROFILE") => Some(PROFILES),
        (_, "COMMAND") => Some(COMMANDS),
        _ => None,
    }
}

fn zsh(script: &str) -> String {
    let profiles =
        format!("_authctl_profiles() {{\n    compadd -- ${{(f)\"$({LIST_PROFILES})\"}}\n}}\n\n_authctl() {{");
    let script = script.replace(&format!("({PROFILES})"), "_authctl_profiles");
    script.replace(&format!("({COMMANDS})"), "_normal").replacen("_authctl() {", &profiles, 1)
}

/// The generator for fish leaves positional arguments out.
fn fish(script: &str, command: &Command) -> String {
    let profiles = format!("({LIST_PROFILES})");
    let mut script = script.replace(&format!("{PROFILES}\\t''"), &profiles);
    for subcommand in command.get_subcommands() {
        let values = subcommand.get_positionals().find_map(placeholder);
        let name = subcommand.get_name();
        let condition = format!("complete -c authctl -n \"__fish_authctl_using_subcommand {name}\"");
        match values {
            Some(PROFILES) => script += &format!("{condition} -f -a \"{profiles}\"\n"),
            Some(_) => script += &format!("{FISH_COMMAND}{condition} -f -a \"(__fish_authctl_command)\"\n"),
            None => {}
        }
    }
    script
}

/// Completes the words after `--` as a command line of their own.
const FISH_COMMAND: &str = "
function __fish_authctl_command
    set -l words (commandline -opc)
    set -l at (contains -i -- -- $words); or return
    set -e words[1..$at]
    complete -C (string join ' ' -- (string escape -- $words) (commandline -ct))
end

";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_script_has_a_placeholder() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let script = script(shell);
            assert!(!script.contains("@PROFILES") && !script.contains("@COMMANDS"), "{shell}");
        }
    }
}
