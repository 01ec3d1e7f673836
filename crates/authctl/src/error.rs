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

    pub(crate) fn is_no_daemon(&self) -> bool {
        self.problem().is_some_and(|problem| problem.kind == NO_DAEMON)
    }
}

/// The `type` of a problem that the client reports itself: no daemon was there to send it.
const NO_DAEMON: &str = "urn:authd:problem:no_daemon";

pub(crate) fn no_daemon(detail: String) -> Problem {
    let problem = Problem::new(ErrorCode::ShuttingDown, detail);
    Problem { kind: NO_DAEMON.to_owned(), title: "No daemon".to_owned(), ..problem }
}

impl From<Problem> for CliError {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let detail = error.to_string();
        let problem = match error {
            ClientError::Problem(problem) => return Self::Problem(problem),
            ClientError::NoDaemon { .. } => {
                no_daemon(detail).hint("start it: systemctl --user start authd, or: authd &")
            }
            ClientError::OtherUser { .. } => Problem::new(ErrorCode::Forbidden, detail)
                .hint("name the socket of your own daemon with --socket or AUTHD_SOCKET"),
            ClientError::Broken { .. } => {
                Problem::new(ErrorCode::Internal, detail).hint("try again, then read the log of authd")
            }
        };
        problem.into()
    }
}

impl From<PathError> for CliError {
    fn from(error: PathError) -> Self {
        Self::new(ErrorCode::BadRequest, error.to_string())
    }
}

/// For errors of stdout alone: other I/O errors need a message that names the file or the program.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::StdoutClosed,
            _ => Self::new(ErrorCode::Internal, format!("cannot write to stdout: {error}")),
        }
    }
}
