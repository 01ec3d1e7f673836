//! Every way a verb ends before its time, and the exit code that tells so. It prints nothing.

use std::{io, process::ExitCode};

use authd_api::{ClientError, ErrorCode, PathError, Problem};

/// Why a verb did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Tell the person: what happened, and what to do about it.
    Problem(Box<Problem>),
    /// The same, with an exit code that shells give a meaning of their own.
    Exit(u8, Box<Problem>),
    /// All is told already: end with this exit code.
    Told(u8),
    /// Nobody reads the answer any more: end quietly.
    NobodyReads,
    /// The person called it off: end quietly.
    CalledOff,
}

impl Failure {
    /// A problem that is found here and not told by the daemon.
    pub(crate) fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Problem::new(code, detail).into()
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Problem(problem) => problem.code.exit_code(),
            Self::Exit(code, _) | Self::Told(code) => *code,
            Self::NobodyReads => 0,
            // 128 + SIGINT, as shells count.
            Self::CalledOff => 130,
        })
    }

    /// What to tell, if anything.
    pub(crate) fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) | Self::Exit(_, problem) => Some(problem),
            Self::Told(_) | Self::NobodyReads | Self::CalledOff => None,
        }
    }

    /// The same, to be told later; one that ends quietly is nothing to tell.
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Self::Problem(problem) | Self::Exit(_, problem) => *problem,
            Self::Told(_) | Self::NobodyReads | Self::CalledOff => {
                Problem::new(ErrorCode::Internal, "it was called off")
            }
        }
    }

    /// Whether this is because no daemon listens.
    pub(crate) fn is_no_daemon(&self) -> bool {
        self.problem().is_some_and(|problem| problem.kind == NO_DAEMON)
    }
}

/// What marks a [`Problem`] that no daemon told.
const NO_DAEMON: &str = "urn:authd:problem:no_daemon";

/// No daemon answers. On the wire there is no code for it, since nobody is there to send one.
pub(crate) fn no_daemon(detail: String) -> Problem {
    let problem = Problem::new(ErrorCode::ShuttingDown, detail);
    Problem { kind: NO_DAEMON.to_owned(), title: "No daemon".to_owned(), ..problem }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let detail = error.to_string();
        match error {
            ClientError::NoDaemon { .. } => {
                no_daemon(detail).hint("start it: systemctl --user start authd, or: authd &").into()
            }
            ClientError::OtherUser { .. } => Problem::new(ErrorCode::Forbidden, detail)
                .hint("name the socket of your own daemon with --socket or AUTHD_SOCKET")
                .into(),
            ClientError::Problem(problem) => Self::Problem(problem),
            ClientError::Broken { .. } => {
                Problem::new(ErrorCode::Internal, detail).hint("try again, then look at authd's log").into()
            }
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::new(ErrorCode::BadRequest, error.to_string())
    }
}

impl From<io::Error> for Failure {
    /// An answer that could not be written; other calls of the system name themselves.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::new(ErrorCode::Internal, format!("the answer could not be written: {error}")),
        }
    }
}
