//! The lock that makes a daemon the only one on its socket. The kernel releases it when the process
//! ends. The store locks the state directory ([`authd_store::StateDir`]).

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use authd_store::private;

/// The lock on a socket; released when dropped.
#[derive(Debug)]
pub(crate) struct SocketLock {
    _file: File,
}

/// Why the socket was not locked. Each message contains the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another daemon has the lock.
    #[error("another authd{holder} already serves {}; stop it first, or choose another socket", path.display())]
    Serves {
        /// `" (process 123)"`, if known.
        holder: String,
        /// The socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
}

impl SocketLock {
    /// Takes the lock and makes its directory private.
    pub(crate) fn take(socket: &Path) -> Result<Self, LockError> {
        let serves = |holder| LockError::Serves { holder, path: socket.to_path_buf() };
        Ok(Self { _file: lock(&socket.with_extension("lock"), serves)? })
    }
}

/// Takes a lock and writes the process id into its file.
fn lock(path: &Path, taken: impl FnOnce(String) -> LockError) -> Result<File, LockError> {
    let io = |source| LockError::Io { path: path.to_path_buf(), source };
    if let Some(directory) = path.parent() {
        private::ensure_private_dir(directory).map_err(io)?;
    }
    let mut file = private::open_private(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            drop(file.take(32).read_to_string(&mut text));
            let holder = text.trim().parse::<u32>().map(|pid| format!(" (process {pid})"));
            return Err(taken(holder.unwrap_or_default()));
        }
        Err(TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}
