//! The Unix socket, bound with mode 0600 or inherited from systemd, and the user of a connection.

use std::{
    fs, io,
    os::unix::{fs::FileTypeExt, net::UnixListener as StdListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use authd_store::private;
use tokio::net::{UnixListener, unix::UCred};

use super::{client_stream::ClientListener, socket_lock::SocketLock};

/// The listening socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: ClientListener,
    pub(crate) file: SocketFile,
}

/// The file of the socket. A clone is the same file.
#[derive(Clone, Debug)]
pub(crate) struct SocketFile(Arc<OwnedFile>);

#[derive(Debug)]
struct OwnedFile {
    path: PathBuf,
    /// Whether it was removed, or is not ours: an inherited socket is removed by systemd.
    is_gone: AtomicBool,
}

impl SocketFile {
    /// Removes the file once. Must not be called first when another daemon may have the path.
    pub(crate) fn remove(&self) {
        if !self.0.is_gone.swap(true, Ordering::Relaxed) {
            drop(fs::remove_file(&self.0.path));
        }
    }
}

/// Why the socket was not opened. Each message contains the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another file has the path.
    #[error("{} is not a socket, and authd does not remove other files; move it away", .0.display())]
    Occupied(PathBuf),
    /// The system refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

impl Socket {
    /// Listens on `path`, or on an inherited socket. The owner of the lock may remove an existing
    /// socket, because its daemon has ended.
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
            // The directory is private, so no other user can connect between the two calls.
            let listener = StdListener::bind(path).map_err(io)?;
            fs::set_permissions(path, private::mode(0o600)).map_err(io)?;
            listener
        };
        listener.set_nonblocking(true).map_err(io)?;
        let listener = UnixListener::from_std(listener).map_err(io)?;
        Ok(Self {
            listener: ClientListener::Unix(listener),
            file: SocketFile(Arc::new(OwnedFile {
                path: path.to_path_buf(),
                is_gone: AtomicBool::new(is_inherited),
            })),
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.file.remove();
    }
}

/// Whether the peer runs as the daemon's user.
pub(crate) fn peer_is_own(peer: &UCred) -> bool {
    peer.uid() == rustix::process::geteuid().as_raw()
}

/// Removes the socket of a daemon that has ended.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            fs::remove_file(path).map_err(|source| SocketError::Io { path: path.to_path_buf(), source })
        }
        Ok(_) => Err(SocketError::Occupied(path.to_path_buf())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SocketError::Io { path: path.to_path_buf(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn socket_of_a_successor_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/authd.sock");
        let lock = SocketLock::take(&path).unwrap();
        let first = Socket::open(&path, None, &lock).unwrap();
        let (file, clone) = (first.file.clone(), first.file.clone());
        file.remove();
        assert!(!path.exists());
        drop(lock);

        let lock = SocketLock::take(&path).unwrap();
        let second = Socket::open(&path, None, &lock).unwrap();
        // A server of the first daemon that ends late, and every other owner of its file.
        drop(first);
        clone.remove();
        drop((file, clone));
        std::os::unix::net::UnixStream::connect(&path).unwrap();
        drop(second);
        assert!(!path.exists());
    }
}
