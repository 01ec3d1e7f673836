//! The lock that makes a daemon the only one on its socket. The kernel releases it when the process
//! ends. The store locks the state directory ([`authd_store::StateDir`]).

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use authd_store::private;

/// How often the lock is tried while programs look at it.
const TRIES: u32 = 100;

/// The pause between two tries. `authctl` looks at the lock for a few microseconds.
const PAUSE: Duration = Duration::from_millis(5);

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
    match try_lock(&file, || thread::sleep(PAUSE)) {
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

/// Takes the lock unless another daemon has it. `authctl` takes a shared lock for a moment, to see
/// whether a daemon runs: then the lock is tried again after the pause.
fn try_lock(file: &File, mut pause: impl FnMut()) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            result => return result,
        }
        // This fails if a daemon has the lock.
        file.try_lock_shared()?;
        file.unlock().map_err(TryLockError::Error)?;
        pause();
    }
    Err(TryLockError::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_tried_again_while_a_program_looks_at_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authd.lock");
        let open = || private::open_private(&path).unwrap();
        let reader = open();
        reader.lock_shared().unwrap();
        let mut pauses = 0;
        let own = open();
        try_lock(&own, || {
            pauses += 1;
            reader.unlock().unwrap();
        })
        .unwrap();
        assert_eq!(pauses, 1);
        let refused = try_lock(&open(), || panic!("another daemon has the lock"));
        assert!(matches!(refused, Err(TryLockError::WouldBlock)), "{refused:?}");
    }

    #[test]
    fn lock_that_others_keep_is_not_waited_for_without_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("authd.lock");
        let reader = private::open_private(&path).unwrap();
        reader.lock_shared().unwrap();
        let refused = try_lock(&private::open_private(&path).unwrap(), || {});
        assert!(matches!(refused, Err(TryLockError::WouldBlock)), "{refused:?}");
    }
}
