//! What makes a daemon the only one on its socket, and the only owner of the records in its state
//! directory: two owners of one refresh token would end its login. The locks are the system's, so they go
//! with the process, however it ends.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

use authd_store::private;

/// Both locks, until this is dropped: not before the last save.
#[derive(Debug)]
pub(crate) struct Locks {
    _socket: File,
    _state: File,
}

/// Why they cannot be had; each message says what to do.
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
    /// Use the daemon that is there, whatever socket it has.
    #[error(
        "another authd{holder} owns the logins in {}; stop it first, or choose another AUTHD_STATE_DIR",
        path.display()
    )]
    Owns {
        /// As above.
        holder: String,
        /// The state directory.
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

impl Locks {
    /// Takes both, or says who has one of them. Both directories are made private before.
    pub(crate) fn take(socket: &Path, state_dir: &Path) -> Result<Self, LockError> {
        let serves = |holder| LockError::Serves { holder, path: socket.to_path_buf() };
        let owns = |holder| LockError::Owns { holder, path: state_dir.to_path_buf() };
        Ok(Self {
            _socket: lock(&socket.with_extension("lock"), serves)?,
            _state: lock(&state_dir.join("state.lock"), owns)?,
        })
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
