//! The profile that a command uses: of the command line, of the environment, or of the directory.

mod directory;

use std::path::{Path, PathBuf};

use authd_api::{ErrorCode, ProfileName};
use serde::Serialize;

pub(crate) use self::directory::ProfileFile;
use crate::{
    cli::{Cli, profile_option},
    env,
    error::{CliError, CliResult},
    output::Output,
};

/// The variable that names the profile.
pub(crate) const VARIABLE: &str = "AUTHCTL_PROFILE";

/// The value of the variable for the default profile of the daemon.
const DEFAULT: &str = "-";

/// The profile that a command uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Selection {
    /// `None` is the default profile of the daemon.
    pub(crate) profile: Option<ProfileName>,
    #[serde(flatten)]
    pub(crate) source: Source,
}

/// Where the name of the profile comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub(crate) enum Source {
    /// Nothing names a profile.
    #[default]
    Default,
    /// The command line.
    CommandLine,
    /// `AUTHCTL_PROFILE`.
    Environment,
    /// The file of this path.
    File {
        /// The path.
        path: PathBuf,
    },
}

impl Selection {
    /// The profile of a command: the one that it names, else that of the environment, else that of
    /// the nearest file upward. Nothing is read for a command that uses no profile.
    pub(crate) fn of(cli: &Cli, out: Output) -> CliResult<Self> {
        match profile_option::named(cli) {
            profile_option::Named::Unused => Ok(Self::default()),
            profile_option::Named::Profile(name) => {
                Ok(Self { profile: Some(name.clone()), source: Source::CommandLine })
            }
            profile_option::Named::Nothing => Self::of_surroundings(out),
        }
    }

    fn of_surroundings(out: Output) -> CliResult<Self> {
        if let Some(value) = env::var(VARIABLE) {
            let value = value.to_string_lossy();
            let error = |error| CliError::new(ErrorCode::BadRequest, format!("{VARIABLE} is {error}"));
            let profile = if value == DEFAULT { None } else { Some(value.parse().map_err(error)?) };
            return Ok(Self { profile, source: Source::Environment });
        }
        Ok(match ProfileFile::find_here(out)? {
            Some(ProfileFile { path, profile }) => {
                Self { profile: Some(profile), source: Source::File { path } }
            }
            None => Self::default(),
        })
    }

    /// The file that names the profile.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.source {
            Source::File { path } => Some(path),
            Source::Default | Source::CommandLine | Source::Environment => None,
        }
    }

    /// The profile, unless it comes from a file: for commands that choose by something else than
    /// the directory.
    pub(crate) fn explicit(&self) -> Option<&ProfileName> {
        self.profile.as_ref().filter(|_| self.file().is_none())
    }

    /// Adds the file to an error about the profile that it names.
    pub(crate) fn explain(&self, error: CliError) -> CliError {
        let Some(path) = self.file() else { return error };
        let CliError::Problem(mut problem) = error else { return error };
        let path = path.display();
        if problem.code == ErrorCode::ProfileUnknown && problem.profile == self.profile {
            problem.detail += &format!("; the name is in {path}");
        } else if problem.code == ErrorCode::Forbidden {
            // The socket of a share has one profile, and its holder does not know the name.
            let remedy = format!("export {VARIABLE}={DEFAULT}");
            let hint = format!("the profile is the one in {path}; for that of the socket: {remedy}");
            return problem.hint(hint).into();
        }
        CliError::Problem(problem)
    }
}
