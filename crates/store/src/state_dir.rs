//! The state directory and its lock. One authd owns the directory at a time, because two owners of
//! one refresh token would invalidate it. The lock is on the directory itself, so it does not
//! depend on the files in it.

use std::{
    fs::{self, File, Metadata, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::watch;
use tracing::warn;

use crate::private;

/// Files whose temporary files are removed after a crash: nothing depends on the new content before
/// it has replaced the old one.
const REPLACEABLE: [&str; 7] = [
    "store.json",
    "store.key",
    "store.identity.age",
    "codex.json",
    "shares.json",
    "providers.json",
    "index.json",
];

/// The process id and the socket of the owner.
const PID_FILE: &str = "authd.pid";

/// A locked state directory. Clones share the lock. Dropping the last clone releases it.
#[derive(Clone, Debug)]
pub struct StateDir(Arc<StateDirInner>);

#[derive(Debug)]
struct StateDirInner {
    path: PathBuf,
    /// The locked directory.
    locked: Mutex<File>,
    /// How often the directory was created again.
    recreated: watch::Sender<u32>,
}

/// Why a state directory cannot be opened. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another process owns the directory.
    #[error(
        "another authd{}{} owns the logins in {}; stop it first, or choose another AUTHD_STATE_DIR",
        holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        socket.as_ref().map(|socket| format!(" with the socket {}", socket.display())).unwrap_or_default(),
        path.display()
    )]
    AlreadyOwned {
        /// The owner's process id, from `authd.pid`.
        holder: Option<u32>,
        /// The owner's socket, from the same file.
        socket: Option<PathBuf>,
        /// The directory.
        path: PathBuf,
    },
    /// Another user owns the directory or can enter it.
    #[error("{detail}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and the remedy, with the path.
        detail: String,
    },
    /// The directory cannot be created, read or locked.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl StateDir {
    /// Creates the directory if it does not exist, locks it, and removes temporary files that a
    /// crash left.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, StateDirError> {
        let path = path.into();
        let locked = Mutex::new(lock(&path)?);
        for name in REPLACEABLE {
            if let Err(error) = private::remove(&private::temporary(&path.join(name))) {
                warn!(%error, "temporary file of an interrupted run cannot be removed");
            }
        }
        Ok(Self(Arc::new(StateDirInner { path, locked, recreated: watch::Sender::new(0) })))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Writes our socket into `authd.pid`, for the error message of another process.
    pub fn name_socket(&self, socket: &Path) {
        write_pid(self.path(), Some(socket));
    }

    /// Changes when [`Self::ensure`] created the directory again. Its files must be written again.
    pub fn recreated(&self) -> watch::Receiver<u32> {
        self.0.recreated.subscribe()
    }

    /// Makes sure before a write that the path is still the directory that we locked. If it was
    /// removed or replaced, creates and locks it again. Fails if another process owns the new one.
    pub fn ensure(&self) -> io::Result<()> {
        let path = self.path();
        let mut locked = self.0.locked.lock().unwrap_or_else(PoisonError::into_inner);
        match fs::metadata(path) {
            Ok(found) if is_same(&found, &locked.metadata()?) => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(private::at(path, &error)),
            Ok(_) | Err(_) => {}
        }
        *locked = lock(path).map_err(io::Error::other)?;
        warn!(path = %path.display(), "state directory was removed or replaced; created and locked again");
        self.0.recreated.send_modify(|count| *count += 1);
        Ok(())
    }
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Creates and locks a directory. Writes our process id into it, for the error message of another
/// process.
fn lock(path: &Path) -> Result<File, StateDirError> {
    let io = |source| StateDirError::Io { path: path.to_path_buf(), source };
    loop {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let directory = File::open(path).map_err(io)?;
        let found = directory.metadata().map_err(io)?;
        private::check_private(path, &found)
            .map_err(|detail| StateDirError::Unsafe { path: path.to_path_buf(), detail })?;
        match directory.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = fs::read_to_string(path.join(PID_FILE)).unwrap_or_default();
                let mut lines = text.lines();
                let holder = lines.next().and_then(|line| line.trim().parse().ok());
                let socket = lines.next().map(PathBuf::from);
                return Err(StateDirError::AlreadyOwned { holder, socket, path: path.to_path_buf() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        // The directory may have been replaced between opening and locking.
        match fs::metadata(path) {
            Ok(current) if is_same(&current, &found) => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io(error)),
            Ok(_) | Err(_) => continue,
        }
        write_pid(path, None);
        return Ok(directory);
    }
}

fn write_pid(state_dir: &Path, socket: Option<&Path>) {
    let path = state_dir.join(PID_FILE);
    let socket = socket.map(|socket| format!("{}\n", socket.display())).unwrap_or_default();
    let written = private::open_private(&path).and_then(|mut file| {
        file.set_len(0)?;
        write!(file, "{}\n{socket}", std::process::id())
    });
    if let Err(error) = written {
        warn!(%error, path = %path.display(), "process id file cannot be written");
    }
}
