//! The verbs that programs run for every request, parsed by themselves. clap makes the arguments of all
//! verbs before it parses one, which would be most of the time that `authctl token` takes. What is read
//! here means what it means to the whole grammar; whatever is not, help and mistakes too, is left to that.

use std::ffi::OsString;

use clap::Parser;

use super::{Cli, Common, CredentialArgs, Verb};

#[derive(Parser)]
struct Brief {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    args: CredentialArgs,
}

/// The command line, if it begins with one of those verbs and nothing is wrong with it.
pub(super) fn parse(line: impl IntoIterator<Item = OsString>) -> Option<Cli> {
    let mut line = line.into_iter();
    let program = line.next()?;
    let verb = match line.next()?.to_str()? {
        "headers" => Verb::Headers,
        "token" => Verb::Token,
        _ => return None,
    };
    let Brief { common, args } = Brief::try_parse_from(std::iter::once(program).chain(line)).ok()?;
    Some(Cli { common, verb: verb(args) })
}
