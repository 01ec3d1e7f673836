//! The Unix socket: bound privately, or taken over from systemd; and each connection's peer. What is
//! said on it is the server's business.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixListener as StdListener},
    path::{Path, PathBuf},
};

use authd_store::private;
use tokio::net::{UnixListener, UnixStream};

use crate::locks::SocketLock;

/// The socket, listened on; removed when nobody listens on it any more.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Where connections come from.
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// systemd's socket is systemd's to remove.
    inherited: bool,
}

/// Why there is no socket; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Move what is there.
    #[error("{} is not a socket; authd does not remove what it did not make", .0.display())]
    Occupied(PathBuf),
    /// See the message.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Socket {
    /// Listens on `path`, or on the socket that systemd has opened there for us. Whoever has the locks may
    /// remove a socket that is there: its daemon is gone.
    pub(crate) fn open(
        path: &Path,
        inherited: Option<StdListener>,
        _: &SocketLock,
    ) -> Result<Self, SocketError> {
        let io = |source| SocketError::Io { path: path.to_path_buf(), source };
        let is_inherited = inherited.is_some();
        let listener = if let Some(listener) = inherited {
            listener
        } else {
            remove_stale(path)?;
            // The directory is private, so nobody can connect between the two calls.
            let listener = StdListener::bind(path).map_err(io)?;
            fs::set_permissions(path, private::mode(0o600)).map_err(io)?;
            listener
        };
        listener.set_nonblocking(true).map_err(io)?;
        let listener = UnixListener::from_std(listener).map_err(io)?;
        Ok(Self { listener, path: path.to_path_buf(), inherited: is_inherited })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.inherited {
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether the peer runs as the user who runs us.
pub(crate) fn is_own(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}

/// The process at the other end, if the system tells.
pub(crate) fn peer_pid(stream: &UnixStream) -> Option<i32> {
    stream.peer_cred().ok()?.pid()
}

/// Removes the socket of a daemon that is gone.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            fs::remove_file(path).map_err(|source| SocketError::Io { path: path.to_path_buf(), source })
        }
        Ok(_) => Err(SocketError::Occupied(path.to_path_buf())),
        Err(_) => Ok(()),
    }
}
