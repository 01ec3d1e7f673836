//! The configuration: as written, and as meant. Every key has a default, an unknown key is refused with
//! its path, and every value is checked before anything is touched. The reference is config/authd.toml.
//!
//! It opens no file that it names and binds nothing: whether a proxy answers is found out by whoever
//! needs it.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use authd_oauth::{ClientIdentity, ModePreference, Network, Provider};
use serde::Deserialize;

mod meant;
mod places;
mod surroundings;
mod written;

use surroundings::Surroundings;
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
    /// The model for questions that name none.
    pub(crate) model: Option<String>,
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
    /// What is done when a person has to do something.
    pub(crate) hooks: crate::hooks::Hooks,
    /// The log.
    pub log: Log,
}

/// The callback server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    /// Its ports, in the order they are tried; 0 is any free one.
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
    pub(crate) mode: ModePreference,
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
    kind: authd_store::StorePreference,
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
    /// What is logged, as tracing-subscriber's `Targets` reads it.
    pub(crate) filter: String,
    /// How it looks.
    pub(crate) format: LogFormat,
}

/// How the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// Without the time under journald, which knows it; else with the time.
    #[default]
    Auto,
    /// Without the time.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// Somebody named it: if it is not there, its name is wrong. Else that means all defaults.
    pub named: bool,
}

/// A configuration that cannot be used. The message says where, what is wrong, and what is allowed.
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
    /// Mend the file at the place that is named.
    #[error("{}: {message}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        message: Complaint,
    },
}

/// What is wrong in a text, in a sentence that begins with the line and the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    line: Option<usize>,
    said: String,
}

impl Config {
    /// Reads the file.
    pub fn load(source: &Source) -> Result<Self, ConfigError> {
        let path = || source.path.clone();
        let text = match read(&source.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !source.named => Ok(String::new()),
            text => text.map_err(|source| ConfigError::Unreadable { path: path(), source }),
        }?;
        Self::parse(&text).map_err(|message| ConfigError::Wrong { path: path(), message })
    }

    /// What a text means here, in this environment and on this machine.
    pub fn parse(text: &str) -> Result<Self, Complaint> {
        Self::meant_in(&Surroundings::here(), text)
    }

    fn meant_in(surroundings: &Surroundings, text: &str) -> Result<Self, Complaint> {
        let (written, places) = Written::parse(text)?;
        written.meant(surroundings).map_err(|wrong| Complaint {
            line: places.line_of(&wrong.key),
            said: format!("{} {}", wrong.key, wrong.what),
        })
    }
}

impl Default for Config {
    /// The defaults, with nothing taken from the environment or the machine.
    fn default() -> Self {
        Written::default()
            .meant(&Surroundings::default())
            .expect("defaults are constants, and tests read them")
    }
}

impl Store {
    /// Says so if another store than the wanted one holds the credentials: the first write settled it.
    pub(crate) fn compare(&self, remembered: Option<authd_store::Kind>) {
        if let (Some(wanted), Some(held)) = (self.kind.kind(), remembered)
            && wanted != held
        {
            tracing::warn!(%held, %wanted, "another store holds the credentials; to move them: authctl store migrate");
        }
    }

    /// The store's own configuration, for the files below a state directory.
    pub(crate) fn for_state_dir(&self, state_dir: &Path) -> authd_store::Config {
        authd_store::Config {
            kind: self.kind,
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

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.said)
    }
}

/// The text of a file.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let length = File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if length as u64 > MAX_FILE {
        return Err(io::Error::other("it is longer than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8"))
}

#[cfg(test)]
mod tests;
