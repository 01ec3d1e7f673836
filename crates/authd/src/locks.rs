//! What makes a daemon the only one on its socket. The lock is the system's, so it goes with the process, however it
//! ends. The lock on the state directory is the store's ([`authd_store::StateDir`]).

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use authd_store::private;

/// The lock on a socket, until this is dropped.
#[derive(Debug)]
pub(crate) struct SocketLock {
    _file: File,
}

/// Why it cannot be had; each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Use the daemon that is there.
    #[error("another authd{holder} already serves {}; stop it first, or choose another socket", path.display())]
    Serves {
        /// `" (process 123)"`, if it said so.
        holder: String,
        /// The socket.
        path: PathBuf,
    },
    /// See the message.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SocketLock {
    /// Takes the lock, or says which process has it. The directory is made private before.
    pub(crate) fn take(socket: &Path) -> Result<Self, LockError> {
        let serves = |holder| LockError::Serves { holder, path: socket.to_path_buf() };
        Ok(Self { _file: lock(&socket.with_extension("lock"), serves)? })
    }
}

/// Takes a lock, and writes our process id into its file for the next one to read; or tells who has it.
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
