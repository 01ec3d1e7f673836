//! Where the socket, the configuration and the state are, on each platform. It creates none of them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use directories::BaseDirs;

/// The three places, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The configuration file; it may be absent.
    pub config: PathBuf,
    /// The state directory: which store is used, and encrypted files if the file store is in use.
    pub state_dir: PathBuf,
}

/// A place that cannot be used; the message says how to choose another.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Set `HOME`, or name the places one by one.
    #[error("no home directory: set HOME, or AUTHD_SOCKET, AUTHD_CONFIG and AUTHD_STATE_DIR")]
    NoHome,
    /// Choose a shorter path.
    #[error(
        "the socket's path is {length} bytes long, and the system allows {MAX_SOCKET_PATH}: {path}\n\
         choose a shorter one with AUTHD_SOCKET or --socket"
    )]
    TooLong {
        /// Its length in bytes.
        length: usize,
        /// The path.
        path: String,
    },
    /// Use an absolute path: the daemon and its clients have different working directories.
    #[error("the socket's path must be absolute: {0}\nname it from the root with AUTHD_SOCKET or --socket")]
    Relative(String),
}

/// The longest socket path, in bytes, on every platform: macOS holds 104 with the closing NUL.
const MAX_SOCKET_PATH: usize = 103;

impl Paths {
    /// The places that this process's environment says.
    pub fn from_env() -> Result<Self, PathError> {
        Self::resolve(
            |name| std::env::var_os(name).filter(|value| !value.is_empty()),
            BaseDirs::new().as_ref(),
        )
    }

    /// The places of a process that was told of no others, as one that a service manager starts.
    pub fn of_service() -> Result<Self, PathError> {
        Self::resolve(|_| None, BaseDirs::new().as_ref())
    }

    /// The same with another socket, as `--socket` names it.
    pub fn with_socket(mut self, socket: Option<PathBuf>) -> Result<Self, PathError> {
        if let Some(socket) = socket {
            self.socket = checked_socket(socket)?;
        }
        Ok(self)
    }

    fn resolve(env: impl Fn(&str) -> Option<OsString>, dirs: Option<&BaseDirs>) -> Result<Self, PathError> {
        let path = |name: &str| env(name).map(PathBuf::from);
        let home = || dirs.ok_or(PathError::NoHome);
        let socket = match path("AUTHD_SOCKET") {
            Some(socket) => socket,
            None => home().map(|home| default_socket(home.runtime_dir(), home.cache_dir()))?,
        };
        let config = match path("AUTHD_CONFIG") {
            Some(config) => config,
            None => home()?.config_dir().join("authd/authd.toml"),
        };
        let state_dir = match path("AUTHD_STATE_DIR") {
            Some(state_dir) => state_dir,
            None => default_state(home()?),
        };
        Ok(Self { socket: checked_socket(socket)?, config, state_dir })
    }
}

/// The runtime directory where there is one; else a short path below the user's cache, which is
/// private to the user on every platform and never another user's to squat on, as `/tmp` would be.
fn default_socket(runtime: Option<&Path>, cache: &Path) -> PathBuf {
    runtime.unwrap_or(cache).join("authd/authd.sock")
}

fn default_state(dirs: &BaseDirs) -> PathBuf {
    dirs.state_dir().unwrap_or_else(|| dirs.data_local_dir()).join("authd")
}

fn checked_socket(socket: PathBuf) -> Result<PathBuf, PathError> {
    let length = socket.as_os_str().len();
    if length > MAX_SOCKET_PATH {
        return Err(PathError::TooLong { length, path: shown(&socket) });
    }
    if socket.is_relative() {
        return Err(PathError::Relative(shown(&socket)));
    }
    Ok(socket)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(pairs: &[(&str, &str)]) -> Result<Paths, PathError> {
        let env = |name: &str| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Paths::resolve(env, None)
    }

    #[test]
    fn the_environment_decides_when_it_names_all_three() {
        let all = [("AUTHD_SOCKET", "/r/s"), ("AUTHD_CONFIG", "/c"), ("AUTHD_STATE_DIR", "/s")];
        let paths = resolve(&all).unwrap();
        assert_eq!(paths.socket, Path::new("/r/s"));
        assert_eq!((paths.config.as_path(), paths.state_dir.as_path()), (Path::new("/c"), Path::new("/s")));
    }

    #[test]
    fn without_a_home_the_message_names_the_variables() {
        assert_eq!(resolve(&[("AUTHD_SOCKET", "/r/s")]), Err(PathError::NoHome));
        assert!(PathError::NoHome.to_string().contains("AUTHD_STATE_DIR"));
    }

    #[test]
    fn without_a_runtime_directory_as_on_a_mac_the_socket_is_in_the_cache() {
        let (run, cache) = (Path::new("/run/user/1"), Path::new("/Users/me/Library/Caches"));
        assert_eq!(default_socket(Some(run), cache), Path::new("/run/user/1/authd/authd.sock"));
        assert_eq!(default_socket(None, cache), Path::new("/Users/me/Library/Caches/authd/authd.sock"));
    }

    #[test]
    fn a_socket_path_must_be_absolute_and_short() {
        let long = format!("/{}", "x".repeat(MAX_SOCKET_PATH));
        let error = resolve(&[("AUTHD_SOCKET", &long), ("AUTHD_CONFIG", "/c"), ("AUTHD_STATE_DIR", "/s")]);
        assert!(matches!(error, Err(PathError::TooLong { length: 104, .. })));
        let error = resolve(&[("AUTHD_SOCKET", "s"), ("AUTHD_CONFIG", "/c"), ("AUTHD_STATE_DIR", "/s")]);
        assert_eq!(error, Err(PathError::Relative("s".into())));
    }
}
