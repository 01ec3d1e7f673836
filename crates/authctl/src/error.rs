//! The ways in which a command fails, with the exit code of each.

use std::{io, process::ExitCode};

use authd_api::{ClientError, ErrorCode, PathError, Problem};

pub(crate) type CliResult<T = ()> = Result<T, CliError>;

#[derive(Debug)]
pub(crate) enum CliError {
    Problem(Box<Problem>),
    /// A problem whose exit code is not the one of its [`ErrorCode`].
    WithExitCode(u8, Box<Problem>),
    /// The output shows the problem already: only the exit code is left.
    Reported(u8),
    /// The reader of stdout has closed it. Not an error for the user.
    StdoutClosed,
    /// The user pressed Ctrl-C.
    Cancelled,
}

impl CliError {
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// The error of a write to stdout.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::StdoutClosed,
            _ => Self::new(ErrorCode::Internal, format!("cannot write to stdout: {error}")),
        }
    }

    /// The error of a call that this program needs for its own work.
    pub(crate) fn system(error: &io::Error) -> Self {
        Self::new(ErrorCode::Internal, format!("the system denies a resource to this program: {error}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Problem(problem) => problem.code.exit_code(),
            Self::WithExitCode(code, _) | Self::Reported(code) => *code,
            Self::StdoutClosed => 0,
            // 128 + SIGINT, as shells report it.
            Self::Cancelled => 130,
        })
    }

    /// The problem to show, if there is one.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) | Self::WithExitCode(_, problem) => Some(problem),
            Self::Reported(_) | Self::StdoutClosed | Self::Cancelled => None,
        }
    }

    /// The text of the problem; empty without one.
    pub(crate) fn detail(&self) -> &str {
        self.problem().map_or("", |problem| &problem.detail)
    }

    pub(crate) fn is_no_daemon(&self) -> bool {
        self.problem().is_some_and(|problem| problem.code == ErrorCode::NoDaemon)
    }

    /// Adds a hint to the error that no daemon listens, unless it has one.
    #[must_use]
    pub(crate) fn or_start_hint(self, hint: impl FnOnce() -> String) -> Self {
        match self {
            Self::Problem(problem) if problem.code == ErrorCode::NoDaemon && problem.hint.is_none() => {
                problem.hint(hint()).into()
            }
            other => other,
        }
    }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let (detail, code) = (error.to_string(), error.code());
        let hint = match error {
            ClientError::Problem(problem) => return Self::Problem(problem),
            // The hint depends on what is installed; `run` adds it.
            ClientError::NoDaemon { .. } => return Self::new(code, detail),
            ClientError::OtherUser { uid, .. } => {
                let hint = format!(
                    "{OWN_SOCKET}; in a container with the socket of a share, set AUTHD_SOCKET_UID={uid}"
                );
                return Problem::new(code, detail).hint(hint).into();
            }
            ClientError::Forbidden { owner: Some(_), .. } => OWN_SOCKET,
            ClientError::Forbidden { owner: None, .. } => {
                "a sandbox or the modes of a directory forbid it: run this outside of the sandbox, or let it \
                 connect to this Unix socket"
            }
            ClientError::Connect { .. } => {
                "correct the path of the socket, or the limit of open files of this program"
            }
            ClientError::Timeout { .. } => "if it is stopped or hangs, restart it; see also its log",
            ClientError::Broken { .. } => "try again, then read the log of authd",
        };
        Problem::new(code, detail).hint(hint).into()
    }
}

/// The hint for a socket of another user.
pub(crate) const OWN_SOCKET: &str =
    "name the socket of your own daemon with --socket or AUTHD_SOCKET, or correct XDG_RUNTIME_DIR";

impl From<PathError> for CliError {
    fn from(error: PathError) -> Self {
        Self::new(ErrorCode::BadRequest, error.to_string())
    }
}
