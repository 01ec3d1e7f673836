//! The paths of the socket, the configuration and the state on each platform. Creates none of them.

use std::{
    ffi::OsString,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use directories::BaseDirs;
use serde::{Deserialize, Serialize};

/// The daemon's paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The configuration file. It need not exist.
    pub config: PathBuf,
    /// The state directory: all files that the daemon writes, except the socket and its lock.
    pub state_dir: PathBuf,
}

/// The paths that `authd --print-paths` prints, with symbolic links resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedPaths {
    /// The state directory, then the other directories that the daemon writes to.
    pub writes: Vec<PathBuf>,
    /// The files that the daemon reads, except the configuration.
    pub reads: Vec<PathBuf>,
}

/// A path cannot be used. The message says how to choose another one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// There is no home directory: set `HOME`, or set all three paths.
    #[error("no home directory: set HOME, or AUTHD_SOCKET, AUTHD_CONFIG and AUTHD_STATE_DIR")]
    NoHome,
    /// The socket's path is too long: choose a shorter one.
    #[error(
        "the socket's path has {length} bytes, and the system allows {MAX_SOCKET_PATH}: {path}\n\
         set a shorter one with AUTHD_SOCKET or --socket"
    )]
    TooLong {
        /// The length in bytes.
        length: usize,
        /// The path.
        path: String,
    },
    /// The socket's path is relative. The daemon and its clients may have different working
    /// directories.
    #[error("the socket's path must be absolute: {0}\nset an absolute path with AUTHD_SOCKET or --socket")]
    Relative(String),
}

/// The longest socket path on every platform, in bytes. macOS allows 104 with the final NUL.
const MAX_SOCKET_PATH: usize = 103;

impl Paths {
    /// The paths for this process: environment variables, then the platform's defaults.
    pub fn from_env() -> Result<Self, PathError> {
        let env = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::resolve(env, BaseDirs::new().as_ref(), session_runtime_dir().as_deref())
    }

    /// The platform's default paths, as for a process that a service manager starts.
    pub fn of_service() -> Result<Self, PathError> {
        Self::resolve(|_| None, BaseDirs::new().as_ref(), session_runtime_dir().as_deref())
    }

    /// Replaces the socket's path, if one is given.
    pub fn with_socket(mut self, socket: Option<PathBuf>) -> Result<Self, PathError> {
        if let Some(socket) = socket {
            self.socket = check_socket(socket)?;
        }
        Ok(self)
    }

    fn resolve(
        env: impl Fn(&str) -> Option<OsString>,
        dirs: Option<&BaseDirs>,
        session: Option<&Path>,
    ) -> Result<Self, PathError> {
        let path = |name: &str, default: &dyn Fn(&BaseDirs) -> PathBuf| {
            env(name).map(PathBuf::from).or_else(|| dirs.map(default)).ok_or(PathError::NoHome)
        };
        let socket =
            path("AUTHD_SOCKET", &|dirs| default_socket(dirs.runtime_dir().or(session), dirs.cache_dir()))?;
        let config = path("AUTHD_CONFIG", &|dirs| dirs.config_dir().join("authd/authd.toml"))?;
        let state_dir = path("AUTHD_STATE_DIR", &|dirs| {
            dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("authd")
        })?;
        Ok(Self { socket: check_socket(socket)?, config, state_dir })
    }
}

/// The runtime directory that logind makes for each session's user. Programs without
/// `XDG_RUNTIME_DIR` use it, too: cron, `su` and some editors do not pass the variable on.
pub fn session_runtime_dir() -> Option<PathBuf> {
    if cfg!(target_os = "linux") {
        runtime_dir_below(Path::new("/run/user"), rustix::process::geteuid().as_raw())
    } else {
        None
    }
}

/// The directory of a user below `parent`, if it exists and belongs to that user.
fn runtime_dir_below(parent: &Path, uid: u32) -> Option<PathBuf> {
    let directory = parent.join(uid.to_string());
    let found = std::fs::symlink_metadata(&directory).ok()?;
    (found.is_dir() && found.uid() == uid).then_some(directory)
}

/// Uses the runtime directory if there is one, otherwise the user's cache directory. That has a
/// short path and is private to the user on every platform. In `/tmp` another user could create the
/// path first.
fn default_socket(runtime: Option<&Path>, cache: &Path) -> PathBuf {
    runtime.unwrap_or(cache).join("authd/authd.sock")
}

fn check_socket(socket: PathBuf) -> Result<PathBuf, PathError> {
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(PathError::TooLong { length, path: socket.display().to_string() });
    }
    if socket.is_relative() {
        return Err(PathError::Relative(socket.display().to_string()));
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(pairs: &[(&str, &str)]) -> Result<Paths, PathError> {
        let env = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Paths::resolve(env, None, None)
    }

    #[test]
    fn environment_variables_set_all_three_paths() {
        let all = [("AUTHD_SOCKET", "/r/s"), ("AUTHD_CONFIG", "/c"), ("AUTHD_STATE_DIR", "/s")];
        let paths = resolve(&all).unwrap();
        assert_eq!(paths.socket, Path::new("/r/s"));
        assert_eq!((paths.config.as_path(), paths.state_dir.as_path()), (Path::new("/c"), Path::new("/s")));
    }

    #[test]
    fn error_without_a_home_names_the_variables() {
        assert_eq!(resolve(&[("AUTHD_SOCKET", "/r/s")]), Err(PathError::NoHome));
        assert!(PathError::NoHome.to_string().contains("AUTHD_STATE_DIR"));
    }

    #[test]
    fn socket_is_in_the_cache_without_a_runtime_directory() {
        let (run, cache) = (Path::new("/run/user/1"), Path::new("/Users/me/Library/Caches"));
        assert_eq!(default_socket(Some(run), cache), Path::new("/run/user/1/authd/authd.sock"));
        assert_eq!(default_socket(None, cache), Path::new("/Users/me/Library/Caches/authd/authd.sock"));
    }

    #[test]
    fn session_runtime_directory_must_be_a_directory_of_the_user() {
        let parent = tempfile::tempdir().unwrap();
        let own = rustix::process::geteuid().as_raw();
        let directory = parent.path().join(own.to_string());
        assert_eq!(runtime_dir_below(parent.path(), own), None, "it does not exist");
        std::fs::create_dir(&directory).unwrap();
        assert_eq!(runtime_dir_below(parent.path(), own), Some(directory.clone()));
        let other = own + 1;
        std::fs::create_dir(parent.path().join(other.to_string())).unwrap();
        assert_eq!(runtime_dir_below(parent.path(), other), None, "it belongs to another user");
        std::fs::remove_dir(&directory).unwrap();
        std::os::unix::fs::symlink("/", &directory).unwrap();
        assert_eq!(runtime_dir_below(parent.path(), own), None, "it is a link");
    }

    #[test]
    fn socket_path_must_be_absolute_and_short() {
        let long = format!("/{}", "x".repeat(MAX_SOCKET_PATH));
        let error = resolve(&[("AUTHD_SOCKET", &long), ("AUTHD_CONFIG", "/c"), ("AUTHD_STATE_DIR", "/s")]);
        assert!(matches!(error, Err(PathError::TooLong { length: 104, .. })));
        let error = resolve(&[("AUTHD_SOCKET", "s"), ("AUTHD_CONFIG", "/c"), ("AUTHD_STATE_DIR", "/s")]);
        assert_eq!(error, Err(PathError::Relative("s".into())));
    }
}
