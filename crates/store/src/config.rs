//! The configuration of a store.

use std::{fmt, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

/// The kinds of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The operating system's keychain.
    Keychain,
    /// age-encrypted files.
    File,
    /// Memory: records are lost when the process ends.
    Memory,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keychain => "keychain",
            Self::File => "file",
            Self::Memory => "memory",
        })
    }
}

/// The kind of store that the configuration selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorePreference {
    /// The keychain if it works, otherwise files.
    #[default]
    Auto,
    /// The keychain.
    Keychain,
    /// age-encrypted files.
    File,
    /// Memory: records are lost when the daemon ends.
    Memory,
}

impl StorePreference {
    /// The kind of store, unless it depends on the machine.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Keychain => Some(Kind::Keychain),
            Self::File => Some(Kind::File),
            Self::Memory => Some(Kind::Memory),
        }
    }
}

/// Where the identity that decrypts the files comes from. The first source that exists is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// systemd's credentials directory; used if it contains `authd-key`
    /// (`LoadCredentialEncrypted=`).
    pub credentials_directory: Option<PathBuf>,
    /// A file with a passphrase or an identity. If it is configured, it must exist.
    pub passphrase_file: Option<PathBuf>,
    /// A file with an identity, created at first use.
    pub key_file: PathBuf,
}

/// The configuration of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The preferred kind of store.
    pub kind: StorePreference,
    /// The service name of the keychain's items.
    pub service: String,
    /// Where the key of the files comes from.
    pub key: KeySource,
    /// The longest time that a call may take.
    pub deadline: Duration,
    /// A file that injects faults into the memory store.
    pub memory_control: Option<PathBuf>,
}
