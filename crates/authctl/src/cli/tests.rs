//! Tests of the grammar and of the help text.

use clap::{CommandFactory, Parser};
use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn parse_fast(line: &str) -> Option<Cli> {
    fast_path::parse(line.split_whitespace().map(OsString::from))
}

#[test]
fn definition_is_valid() {
    Cli::command().debug_assert();
}

#[test]
fn help_text_matches_snapshot() {
    let mut command = Cli::command();
    command.build();
    insta::assert_snapshot!("authctl", command.render_help());
    let all: String = command
        .get_subcommands_mut()
        .filter(|command| command.get_name() != "help")
        .map(|command| {
            format!("$ authctl {} --help\n{}\n", command.get_name().to_owned(), command.render_help())
        })
        .collect();
    insta::assert_snapshot!("commands", all);
}

#[test]
fn common_options_work_before_and_after_the_command() {
    for line in ["authctl -p work --json token", "authctl token --json --profile work"] {
        let cli = parse(line).unwrap();
        assert_eq!(cli.common.profile.as_ref().map(ProfileName::as_str), Some("work"), "{line}");
        assert!(cli.common.json, "{line}");
    }
}

#[test]
fn exec_passes_options_to_its_command() {
    for (line, is_raw) in [
        ("authctl exec -p work -- env -p --json", false),
        ("authctl exec env -p --json", false),
        ("authctl exec --raw env -p --json", true),
    ] {
        let Command::Exec(args) = parse(line).unwrap().command else { panic!("{line}") };
        assert_eq!(
            (args.raw, &*args.command),
            (is_raw, &["env", "-p", "--json"].map(Into::into)[..]),
            "{line}"
        );
    }
}

#[test]
fn invalid_lines_are_usage_errors() {
    for (line, kind) in [
        ("authctl exec", ErrorKind::MissingRequiredArgument),
        ("authctl exec --raw --compat responses true", ErrorKind::ArgumentConflict),
        ("authctl login --device --paste", ErrorKind::ArgumentConflict),
        ("authctl login --no-wait --resume lg_1", ErrorKind::ArgumentConflict),
        ("authctl logout work --all", ErrorKind::ArgumentConflict),
        ("authctl -q -v status", ErrorKind::ArgumentConflict),
        ("authctl login ../etc", ErrorKind::ValueValidation),
        ("authctl login --resume ../../status", ErrorKind::ValueValidation),
        ("authctl token --min-ttl -5", ErrorKind::UnknownArgument),
    ] {
        assert_eq!(parse(line).map(|cli| cli.command).unwrap_err().kind(), kind, "{line}");
    }
}

#[test]
fn help_of_an_unknown_command_suggests_one() {
    for (line, suggestion) in [("authctl help tokn", "'token'"), ("authctl help codex instal", "'install'")] {
        let args = || line.split_whitespace().map(OsString::from);
        let error = suggest_after_help(Cli::try_parse_from(args()).unwrap_err(), args());
        assert!(error.to_string().contains(suggestion), "{error}");
    }
}

#[test]
fn fast_path_takes_valid_credential_commands_only() {
    for line in [
        "authctl token",
        "authctl headers work",
        "authctl token --min-ttl 300 -p work -q",
        "authctl token --min-ttl 5m --timeout 9s",
        "a token --socket=/s",
    ] {
        assert!(parse_fast(line).is_some(), "{line}");
    }
    for line in ["authctl", "authctl status", "authctl -q token", "authctl token --help", "authctl token a b"]
    {
        assert!(parse_fast(line).is_none(), "{line}");
    }
}

proptest! {
    #[test]
    fn fast_path_agrees_with_clap(line in credential_lines()) {
        if let Some(cli) = fast_path::parse(line.iter().map(OsString::from)) {
            prop_assert_eq!(format!("{cli:?}"), format!("{:?}", Cli::try_parse_from(&line).unwrap()));
        }
    }
}

/// Lines that begin with a credential command, followed by arguments of it and by invalid ones.
fn credential_lines() -> impl Strategy<Value = Vec<&'static str>> {
    const ARGS: &str = "work|a b||..|help|token|-|--|-h|--help|-V|-=|--js|-1|7|+7|0x7|-p|-pwork|-p=w|-p-q|\
        --profile|--profile=a|--profile=|--min-ttl|--min-ttl=5|--min-ttl=5m|--timeout|--timeout=500ms|5m|--socket|--socket=|/s|--json|--json=|-q|\
        --quiet|-qp|-v|-qv|--verbose";
    let arg = prop::sample::select(ARGS.split('|').collect::<Vec<_>>());
    let command = prop::sample::select(vec!["token", "headers"]);
    (command, prop::collection::vec(arg, 0..6))
        .prop_map(|(command, args)| [vec!["authctl", command], args].concat())
}
