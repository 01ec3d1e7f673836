//! Why a request has no answer to use.

use std::{io, path::PathBuf};

use crate::{ErrorCode, Problem};

/// Why there is no answer to use.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Start the daemon: nothing listens on the socket.
    #[error("no authd answers on {}: {source}", socket.display())]
    NoDaemon {
        /// The socket that was tried.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Name the socket of your own daemon, or run the program as the user that the daemon runs as: the
    /// listener on this one runs as another user, so nothing was sent to it.
    #[error("{} is served by another user (uid {uid}), not by uid {own}; nothing was sent", socket.display())]
    OtherUser {
        /// The socket that was tried.
        socket: PathBuf,
        /// The user that the listener runs as.
        uid: u32,
        /// The user that this program runs as.
        own: u32,
    },
    /// The daemon refused: the problem says why and what to do.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The connection broke, or what answers is not authd: try again, then look at its log.
    #[error("the answer on {} could not be read: {detail}", socket.display())]
    Broken {
        /// The socket that was tried.
        socket: PathBuf,
        /// What was wrong with the answer.
        detail: String,
    },
}

impl ClientError {
    /// The exit code of a program that ends because of this.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoDaemon { .. } => ErrorCode::ShuttingDown.exit_code(),
            Self::OtherUser { .. } => ErrorCode::Forbidden.exit_code(),
            Self::Problem(problem) => problem.code.exit_code(),
            Self::Broken { .. } => ErrorCode::Internal.exit_code(),
        }
    }
}
