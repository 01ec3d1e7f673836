//! The verbs that programs run for every request, parsed by hand. clap makes the arguments of all verbs
//! before it parses one, and even one verb's alone take it a fifth of the time of `authctl token`. What is
//! read here means what it means to the whole grammar; whatever is not, help and mistakes too, is left to that.

use std::{ffi::OsString, str::FromStr};

use lexopt::{
    Arg::{Long, Short, Value},
    Parser,
};

use super::{Cli, Common, CredentialArgs, One, Verb};

/// The command line, if it begins with one of those verbs and nothing is wrong with it.
pub(super) fn parse(line: impl IntoIterator<Item = OsString>) -> Option<Cli> {
    let mut line = line.into_iter().skip(1);
    let verb = match line.next()?.to_str()? {
        "headers" => Verb::Headers,
        "token" => Verb::Token,
        _ => return None,
    };
    let (mut profile, mut socket, mut name, mut min_ttl) = (None, None, None, None);
    let (mut json, mut quiet, mut verbose) = (None, None, None);
    let mut words = Parser::from_args(line);
    while let Some(word) = words.next().ok()? {
        match word {
            Short('p') | Long("profile") => once(&mut profile, parsed(&value(&mut words)?)?)?,
            Long("socket") => once(&mut socket, value(&mut words)?.into())?,
            Long("min-ttl") => once(&mut min_ttl, parsed(&value(&mut words)?)?)?,
            Long("json") => once(&mut json, ())?,
            Short('q') | Long("quiet") => once(&mut quiet, ())?,
            Short('v') | Long("verbose") => once(&mut verbose, ())?,
            Value(word) => once(&mut name, parsed(&word)?)?,
            Short(_) | Long(_) => return None,
        }
    }
    if quiet.is_some() && verbose.is_some() {
        return None;
    }
    let common =
        Common { profile, json: json.is_some(), socket, quiet: quiet.is_some(), verbose: verbose.is_some() };
    Some(Cli { common, verb: verb(CredentialArgs { one: One { name }, min_ttl }) })
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// An option's value; one that looks like an option is for the whole grammar to judge.
fn value(words: &mut Parser) -> Option<OsString> {
    words.value().ok().filter(|value| !value.is_empty() && !value.as_encoded_bytes().starts_with(b"-"))
}

fn parsed<T: FromStr>(word: &OsString) -> Option<T> {
    word.to_str()?.parse().ok()
}
