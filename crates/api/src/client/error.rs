//! The error of a request.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::{ErrorCode, Problem};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket: start the daemon.
    #[error("authd does not answer on {}: {source}", socket.display())]
    NoDaemon {
        /// The socket that was tried.
        socket: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The listener runs as another user, so nothing was sent. Name the socket of your own daemon,
    /// or run the program as the daemon's user.
    #[error("{} is served by another user (uid {uid}), not by uid {own}; nothing was sent", socket.display())]
    OtherUser {
        /// The socket that was tried.
        socket: PathBuf,
        /// The user that the listener runs as.
        uid: u32,
        /// The user that this program runs as.
        own: u32,
    },
    /// The daemon rejected the request. The problem says why and what to do.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The connection failed, or the listener is not authd: retry, then read the daemon's log.
    #[error("cannot read the response on {}: {detail}", socket.display())]
    Broken {
        /// The socket that was tried.
        socket: PathBuf,
        /// What is wrong with the response.
        detail: String,
    },
}

impl ClientError {
    pub(crate) fn broken(socket: &Path, detail: impl fmt::Display) -> Self {
        Self::Broken { socket: socket.to_path_buf(), detail: detail.to_string() }
    }

    /// The exit code for a program that ends because of this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoDaemon { .. } => ErrorCode::ShuttingDown.exit_code(),
            Self::OtherUser { .. } => ErrorCode::Forbidden.exit_code(),
            Self::Problem(problem) => problem.code.exit_code(),
            Self::Broken { .. } => ErrorCode::Internal.exit_code(),
        }
    }
}
