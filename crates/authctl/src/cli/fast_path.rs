//! A parser for the two commands that programs run before every request, `headers` and `token`.
//! clap builds the arguments of all commands before it parses one, which takes a fifth of the time
//! of `authctl token`. A line that this parser accepts means the same to clap; a property test
//! compares the two. All other lines, help and usage errors among them, go to clap.

use std::{ffi::OsString, str::FromStr};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser,
};

use super::{Cli, Command, Common, CredentialArgs, ProfileArg};

/// Parses a valid line of one of these commands; `None` leaves the line to clap.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Option<Cli> {
    let mut args = args.into_iter().skip(1);
    let command = match args.next()?.to_str()? {
        "headers" => Command::Headers,
        "token" => Command::Token,
        _ => return None,
    };
    let (mut profile, mut socket, mut name, mut min_ttl, mut timeout) = (None, None, None, None, None);
    let (mut json, mut quiet, mut verbose) = (None, None, None);
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().ok()? {
        match arg {
            Short('p') | Long("profile") => set_once(&mut profile, parse_value(&value(&mut parser)?)?)?,
            Long("socket") => set_once(&mut socket, value(&mut parser)?.into())?,
            Long("min-ttl") => set_once(&mut min_ttl, parse_value(&value(&mut parser)?)?)?,
            Long("timeout") => set_once(&mut timeout, parse_value(&value(&mut parser)?)?)?,
            Long("json") => set_once(&mut json, ())?,
            Short('q') | Long("quiet") => set_once(&mut quiet, ())?,
            Short('v') | Long("verbose") => set_once(&mut verbose, ())?,
            Value(value) => set_once(&mut name, parse_value(&value)?)?,
            Short(_) | Long(_) => return None,
        }
    }
    if quiet.is_some() && verbose.is_some() {
        return None;
    }
    let common =
        Common { profile, json: json.is_some(), socket, quiet: quiet.is_some(), verbose: verbose.is_some() };
    let args = CredentialArgs { profile: ProfileArg { name }, min_ttl, timeout };
    Some(Cli { common, command: command(args) })
}

fn set_once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// The value of an option, unless it looks like an option itself.
fn value(parser: &mut Parser) -> Option<OsString> {
    parser.value().ok().filter(|value| !value.is_empty() && !value.as_encoded_bytes().starts_with(b"-"))
}

fn parse_value<T: FromStr>(value: &OsString) -> Option<T> {
    value.to_str()?.parse().ok()
}
