//! The configuration: as written, and as meant. Every key has a default, an unknown key is refused with
//! its path, and every value is checked before anything is touched. The reference is config/authd.toml.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_oauth::{ClientIdentity, ModeWish, Network, Provider};

mod machine;
mod written;

pub use written::LogFormat;
use written::Written;

/// The longest configuration that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The configuration, as meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The provider.
    pub(crate) provider: Provider,
    /// Whom requests name as their client.
    pub(crate) client: ClientIdentity,
    /// The `OpenAI-Organization` header.
    pub(crate) organization: Option<String>,
    /// The `OpenAI-Project` header.
    pub(crate) project: Option<String>,
    /// The callback server.
    pub(crate) callback: Callback,
    /// Logins.
    pub(crate) login: Login,
    /// Refreshes.
    pub(crate) refresh: Refresh,
    /// The store.
    pub(crate) store: Store,
    /// The way out.
    pub(crate) network: Network,
    /// The socket.
    pub(crate) socket: Socket,
    /// The log.
    pub log: Log,
}

/// The callback server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    /// Its ports, in the order they are tried.
    pub(crate) ports: Vec<u16>,
    /// How long its port is left to another program that asks for it.
    pub(crate) yield_for: Duration,
    /// How long a person has for a login.
    pub(crate) login_lifetime: Duration,
}

/// Logins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// The mode, when a login asks for none.
    pub(crate) mode: ModeWish,
    /// The workspaces that are accepted; empty for any.
    pub(crate) workspaces: Vec<String>,
}

/// Refreshes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refresh {
    /// How much longer a credential must last when a request says nothing.
    pub(crate) min_ttl: Duration,
    /// How long a request waits for a refresh.
    pub(crate) wait: Duration,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Store {
    kind: authd_store::Wish,
    deadline: Duration,
    service: String,
    passphrase_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    memory_control: Option<PathBuf>,
}

/// The socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// How many connections one process may hold.
    pub(crate) max_connections: usize,
    /// How long a connection may be silent.
    pub(crate) header_timeout: Duration,
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// What is logged, in the words of tracing-subscriber's `EnvFilter`.
    pub(crate) filter: String,
    /// How it looks.
    pub(crate) format: LogFormat,
}

/// A configuration that cannot be used. The message says where and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Make the file readable, or remove it: without one, all defaults hold.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Mend the file.
    #[error("{}: {detail}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Where in it, what is wrong, and what is allowed.
        detail: String,
    },
}

impl Config {
    /// Reads a file; one that is not there means all defaults.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
        let text = match fs::metadata(path) {
            Ok(found) if found.len() > MAX_FILE => {
                return Err(unreadable(io::Error::other("it is larger than 1 MiB")));
            }
            Ok(_) => fs::read_to_string(path).map_err(unreadable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(unreadable(error)),
        };
        Self::parse(&text).map_err(|detail| ConfigError::Wrong { path: path.to_path_buf(), detail })
    }

    /// What a text means, or what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = Written::parse(text)?;
        written.meant()
    }
}

impl Default for Config {
    fn default() -> Self {
        Written::default().meant().expect("a test parses the defaults")
    }
}

impl Store {
    /// The store's own configuration, for the files below a state directory.
    pub(crate) fn for_state_dir(&self, state_dir: &Path) -> authd_store::Config {
        authd_store::Config {
            kind: self.kind,
            state_dir: state_dir.to_path_buf(),
            service: self.service.clone(),
            key: authd_store::KeySource {
                credentials_directory: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
                passphrase_file: self.passphrase_file.clone(),
                key_file: self.key_file.clone().unwrap_or_else(|| state_dir.join("store.key")),
            },
            deadline: self.deadline,
            memory_control: self.memory_control.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
