//! The error of a request.

use std::{
    fmt, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::io::Errno;

use crate::{ErrorCode, Problem};

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens on the socket: start the daemon.
    #[error("no daemon listens on {}: {}", socket.display(), absence(source))]
    NoDaemon {
        /// The socket that was tried.
        socket: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The connection failed on the side of this program, which has too many open files for
    /// example. Whether a daemon listens is not known.
    #[error("cannot connect to {}: {source}", socket.display())]
    Connect {
        /// The socket that was tried.
        socket: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The system does not let this program connect. A sandbox forbids it, or the modes of the
    /// socket or of a directory above it do. Whether a daemon listens is not known.
    #[error(
        "this program may not connect to {}{}: {source}",
        socket.display(), owner.map(|uid| format!(", which belongs to another user (uid {uid})")).unwrap_or_default()
    )]
    Forbidden {
        /// The socket that was tried.
        socket: PathBuf,
        /// The owner of the socket or of its directory, if that is another user.
        owner: Option<u32>,
        /// The system's error.
        source: io::Error,
    },
    /// The listener runs as another user, so nothing was sent. Name the socket of your own daemon,
    /// or run the program as the daemon's user.
    #[error("{} is served by another user (uid {uid}), not by uid {expected}; nothing was sent", socket.display())]
    OtherUser {
        /// The socket that was tried.
        socket: PathBuf,
        /// The user that the listener runs as.
        uid: u32,
        /// The expected user: the one that this program runs as, or the one that it has named.
        expected: u32,
    },
    /// The daemon does not accept the connection in time: it hangs, or is stopped.
    #[error("authd does not accept connections on {}", socket.display())]
    Timeout {
        /// The socket that was tried.
        socket: PathBuf,
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

    /// The error of `connect`.
    pub(crate) fn connect(socket: &Path, source: io::Error) -> Self {
        let socket = socket.to_path_buf();
        match source.kind() {
            // systemd's `RestrictAddressFamilies=` forbids Unix sockets with the second error.
            io::ErrorKind::PermissionDenied => {
                Self::Forbidden { owner: other_owner(&socket), socket, source }
            }
            _ if source.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
                Self::Forbidden { owner: None, socket, source }
            }
            // The queue of a listener that accepts no connection is full.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout { socket },
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused => {
                Self::NoDaemon { socket, source }
            }
            _ => Self::Connect { socket, source },
        }
    }

    /// The code of the error, as in a [`Problem`].
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NoDaemon { .. } => ErrorCode::NoDaemon,
            Self::Forbidden { .. } | Self::OtherUser { .. } => ErrorCode::Forbidden,
            Self::Timeout { .. } => ErrorCode::Timeout,
            Self::Problem(problem) => problem.code,
            Self::Connect { .. } | Self::Broken { .. } => ErrorCode::Internal,
        }
    }

    /// The exit code for a program that ends because of this error.
    pub fn exit_code(&self) -> u8 {
        self.code().exit_code()
    }
}

/// Why nothing listens.
fn absence(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "a daemon that has ended left the socket behind",
        _ => "the socket does not exist",
    }
}

/// The owner of a socket that cannot be used, if it is another user. Without access to the socket,
/// the owner of its directory or of the one above, which is the runtime directory.
fn other_owner(socket: &Path) -> Option<u32> {
    let found = socket.ancestors().take(3).find_map(|path| std::fs::metadata(path).ok())?;
    Some(found.uid()).filter(|uid| *uid != rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn errors_of_connect_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let connect = || {
            let error = std::os::unix::net::UnixStream::connect(&socket).unwrap_err();
            ClientError::connect(&socket, error)
        };
        let absent = connect();
        assert!(absent.to_string().ends_with("the socket does not exist"), "{absent}");
        drop(UnixListener::bind(&socket).unwrap());
        let stale = connect();
        assert!(stale.to_string().ends_with("a daemon that has ended left the socket behind"), "{stale}");
        for (errno, code) in [
            (Errno::NOENT, ErrorCode::NoDaemon),
            (Errno::CONNREFUSED, ErrorCode::NoDaemon),
            (Errno::NOTDIR, ErrorCode::NoDaemon),
            (Errno::MFILE, ErrorCode::Internal),
            (Errno::PERM, ErrorCode::Forbidden),
            (Errno::ACCESS, ErrorCode::Forbidden),
            (Errno::AFNOSUPPORT, ErrorCode::Forbidden),
            (Errno::AGAIN, ErrorCode::Timeout),
        ] {
            let error = ClientError::connect(&socket, errno.into());
            assert_eq!((error.code(), error.exit_code()), (code, code.exit_code()), "{error}");
        }
    }

    #[test]
    fn forbidden_socket_of_another_user_names_the_owner() {
        let forbidden = |socket: &Path| ClientError::connect(socket, Errno::ACCESS.into()).to_string();
        let directory = tempfile::tempdir().unwrap();
        let own = forbidden(&directory.path().join("authd/authd.sock"));
        assert!(!own.contains("another user"), "{own}");
        let Ok(()) = std::os::unix::fs::chown(directory.path(), Some(65_534), None) else { return };
        let other = forbidden(&directory.path().join("authd/authd.sock"));
        assert!(other.contains("belongs to another user (uid 65534)"), "{other}");
    }
}
