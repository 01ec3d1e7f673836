//! The Unix socket: bound privately and exclusively, or taken over from systemd; and each connection's
//! peer. What is said on it is the server's business.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::{fs::FileTypeExt, net::UnixListener as StdListener},
    path::{Path, PathBuf},
};

use authd_store::private;
use tokio::net::{UnixListener, UnixStream};

/// The socket, listened on, and the lock that makes it ours alone.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Where connections come from.
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Held as long as we run: whoever holds it may remove a socket that is there.
    _lock: File,
    /// systemd's socket is systemd's to remove.
    inherited: bool,
}

/// Why there is no socket; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Use the daemon that is there.
    #[error("another authd{holder} already serves {}; stop it first, or choose another socket", path.display())]
    Held {
        /// `" (process 123)"`, if it said so.
        holder: String,
        /// The socket.
        path: PathBuf,
    },
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
    /// Listens on `path`, or on the socket that systemd has opened there for us.
    pub(crate) fn open(path: &Path, inherited: Option<StdListener>) -> Result<Self, SocketError> {
        let io = |source| SocketError::Io { path: path.to_path_buf(), source };
        let directory = path.parent().ok_or_else(|| io(io::ErrorKind::InvalidInput.into()))?;
        private::ensure_private_dir(directory).map_err(|error| io(io::Error::other(error.to_string())))?;
        let lock = lock(path)?;
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
        Ok(Self { listener, path: path.to_path_buf(), _lock: lock, inherited: is_inherited })
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

/// Takes the lock beside the socket, and writes our process id into it for the next one to read.
fn lock(path: &Path) -> Result<File, SocketError> {
    let io = |source| SocketError::Io { path: path.to_path_buf(), source };
    let mut file = private::open_private(&path.with_extension("lock")).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            drop(file.take(32).read_to_string(&mut text));
            let holder =
                text.trim().parse::<u32>().map(|pid| format!(" (process {pid})")).unwrap_or_default();
            return Err(SocketError::Held { holder, path: path.to_path_buf() });
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// Removes the socket of a daemon that is gone. The caller holds the lock, so none is alive.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => {
            fs::remove_file(path).map_err(|source| SocketError::Io { path: path.to_path_buf(), source })
        }
        Ok(_) => Err(SocketError::Occupied(path.to_path_buf())),
        Err(_) => Ok(()),
    }
}
