//! The command line as people type it, and the help they read.

use clap::{CommandFactory, Parser, error::ErrorKind};
use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

fn refused(line: &str) -> ErrorKind {
    parse(line).map(|cli| cli.verb).unwrap_err().kind()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn help_is_pinned() {
    let mut command = Cli::command();
    command.build();
    insta::assert_snapshot!("authctl", command.render_help());
    let all: String = command
        .get_subcommands_mut()
        .filter(|verb| verb.get_name() != "help")
        .map(|verb| {
            let help = verb.render_help();
            format!("$ authctl {} --help\n{help}\n", verb.get_name())
        })
        .collect();
    insta::assert_snapshot!("verbs", all);
}

#[test]
fn options_go_before_and_after_the_verb() {
    for line in ["authctl -p work --json token", "authctl token --json --profile work"] {
        let cli = parse(line).unwrap();
        assert_eq!(cli.common.profile.as_ref().map(ProfileName::as_str), Some("work"), "{line}");
        assert!(cli.common.json, "{line}");
    }
}

#[test]
fn exec_leaves_the_command_its_own_options() {
    let Verb::Exec { command } = parse("authctl exec -p work -- env -p --json").unwrap().verb else {
        panic!()
    };
    assert_eq!(command, ["env", "-p", "--json"]);
    assert_eq!(refused("authctl exec"), ErrorKind::MissingRequiredArgument);
}

#[test]
fn contradictions_are_bad_usage() {
    assert_eq!(refused("authctl login --device --paste"), ErrorKind::ArgumentConflict);
    assert_eq!(refused("authctl login --no-wait --resume lg_1"), ErrorKind::ArgumentConflict);
    assert_eq!(refused("authctl logout work --all"), ErrorKind::ArgumentConflict);
    assert_eq!(refused("authctl -q -v status"), ErrorKind::ArgumentConflict);
    assert_eq!(refused("authctl login ../etc"), ErrorKind::ValueValidation);
    assert_eq!(refused("authctl login --resume ../../status"), ErrorKind::ValueValidation);
    assert_eq!(refused("authctl token --min-ttl -5"), ErrorKind::UnknownArgument);
}

#[test]
fn what_programs_run_is_parsed_by_itself() {
    for line in [
        "authctl token",
        "authctl headers work",
        "authctl token --min-ttl 300 -p work -q",
        "a token --socket=/s",
    ] {
        assert!(brief(line).is_some(), "{line}");
    }
    for line in ["authctl", "authctl status", "authctl -q token", "authctl token --help", "authctl token a b"]
    {
        assert!(brief(line).is_none(), "{line}");
    }
}

proptest! {
    #[test]
    fn what_is_parsed_by_itself_means_the_same(line in lines()) {
        if let Some(cli) = brief::parse(line.iter().map(OsString::from)) {
            prop_assert_eq!(format!("{cli:?}"), format!("{:?}", Cli::try_parse_from(&line).unwrap()));
        }
    }
}

fn brief(line: &str) -> Option<Cli> {
    brief::parse(line.split_whitespace().map(OsString::from))
}

/// Lines that begin with a credential verb, of words that mean something to it, or nearly.
fn lines() -> impl Strategy<Value = Vec<&'static str>> {
    let word = prop::sample::select(vec![
        "work",
        "a b",
        "",
        "..",
        "help",
        "token",
        "-",
        "--",
        "-h",
        "--help",
        "-V",
        "-=",
        "--js",
        "-1",
        "7",
        "+7",
        "0x7",
        "-p",
        "-pwork",
        "-p=w",
        "-p-q",
        "--profile",
        "--profile=a",
        "--profile=",
        "--min-ttl",
        "--min-ttl=5",
        "--socket",
        "--socket=",
        "/s",
        "--json",
        "--json=",
        "-q",
        "--quiet",
        "-qp",
        "-v",
        "-qv",
        "--verbose",
    ]);
    let verb = prop::sample::select(vec!["token", "headers"]);
    (verb, prop::collection::vec(word, 0..6))
        .prop_map(|(verb, words)| [vec!["authctl", verb], words].concat())
}
