//! Checks of `--profile` that clap cannot express: the command uses it, and names no other profile.

use authd_api::{ErrorCode, Problem, ProfileName};

use super::{Cli, Command};

/// What a command line says about the profile.
enum ProfileUse<'a> {
    /// The command has one profile, and this argument for it.
    Argument(Option<&'a ProfileName>),
    /// The command has one profile, and no argument for it.
    Option,
    /// `--profile` has no meaning there.
    None,
}

/// The profile that a command line names.
pub(crate) enum Named<'a> {
    /// The command uses no profile, or not one alone.
    Unused,
    /// The command uses a profile and the line names none.
    Nothing,
    /// The line names this one.
    Profile(&'a ProfileName),
}

/// The profile that the line names, as the option or as the argument of the command.
pub(crate) fn named(cli: &Cli) -> Named<'_> {
    let argument = match profile_use(&cli.command) {
        ProfileUse::None => return Named::Unused,
        ProfileUse::Argument(argument) => argument,
        ProfileUse::Option => None,
    };
    argument.or(cli.common.profile.as_ref()).map_or(Named::Nothing, Named::Profile)
}

/// Fails if `--profile` is used with a command that ignores it, or beside another profile.
pub(crate) fn check(cli: &Cli) -> Result<(), Problem> {
    let Some(option) = &cli.common.profile else { return Ok(()) };
    let refuse = |detail: String, hint: &str| Err(Problem::new(ErrorCode::BadRequest, detail).hint(hint));
    match profile_use(&cli.command) {
        ProfileUse::Argument(Some(argument)) if argument != option => refuse(
            format!("two profiles are named: \"{argument}\" and, with --profile, \"{option}\""),
            "name one",
        ),
        ProfileUse::Argument(_) | ProfileUse::Option => Ok(()),
        ProfileUse::None => refuse("--profile has no meaning for this command".to_owned(), "leave it out"),
    }
}

fn profile_use(command: &Command) -> ProfileUse<'_> {
    match command {
        Command::Login(args) if args.resume.is_some() || args.cancel.is_some() => ProfileUse::None,
        Command::Logout(args) if args.all => ProfileUse::None,
        Command::Quota(args) if args.all || args.best => ProfileUse::None,
        Command::Login(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Logout(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Headers(args) | Command::Token(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Status(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Refresh(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Url(profile) | Command::Check(profile) | Command::Env { profile, .. } => {
            ProfileUse::Argument(profile.name.as_ref())
        }
        Command::Quota(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Share(args) => ProfileUse::Argument(args.profile.name.as_ref()),
        Command::Ask(_)
        | Command::Audit(_)
        | Command::Import { .. }
        | Command::Export { .. }
        | Command::Codex(_)
        | Command::GitCredential(_)
        | Command::Exec(_) => ProfileUse::Option,
        Command::Logins
        | Command::Profiles
        | Command::Use(_)
        | Command::Rename { .. }
        | Command::Store(_)
        | Command::Doctor
        | Command::Service(_)
        | Command::Providers(_)
        | Command::Mcp(_)
        | Command::Shares
        | Command::Unshare(_)
        | Command::Socket
        | Command::Completions { .. }
        | Command::Man { .. } => ProfileUse::None,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn profile_option_is_refused_where_it_is_ignored_or_contradicted() {
        for (line, refused) in [
            ("token -p work", false),
            ("token work -p work", false),
            ("token default -p work", true),
            ("-p work token default", true),
            ("status default -p work", true),
            ("login work -p home", true),
            ("ask -p work What?", false),
            ("codex install -p work", false),
            ("logout -p work --all", true),
            ("quota -p work", false),
            ("quota --best -p work", true),
            ("quota --all -p work", true),
            ("login --resume lg_1 -p work", true),
            ("audit -p work", false),
            ("doctor -p work", true),
            ("profiles -p work", true),
            ("logins -p work", true),
            ("store status -p work", true),
            ("service status -p work", true),
            ("use home -p work", true),
            ("rename a b -p work", true),
        ] {
            let words = ["authctl"].into_iter().chain(line.split_whitespace());
            assert_eq!(check(&Cli::parse_from(words)).is_err(), refused, "{line}");
        }
    }
}
