//! The configuration of a store.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{KeySource, Kind};

/// Which store the configuration asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StorePreference {
    /// The keychain if one answers, else files.
    #[default]
    Auto,
    /// The keychain.
    Keychain,
    /// age-encrypted files.
    File,
    /// Nothing survives the daemon.
    Memory,
}

impl StorePreference {
    /// The store, if it does not depend on the machine.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Auto => None,
            Self::Keychain => Some(Kind::Keychain),
            Self::File => Some(Kind::File),
            Self::Memory => Some(Kind::Memory),
        }
    }
}

/// The configuration of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which store is preferred.
    pub kind: StorePreference,
    /// The service name of the keychain's items.
    pub service: String,
    /// Where the key of the files comes from.
    pub key: KeySource,
    /// How long a call may take.
    pub deadline: Duration,
    /// A file that injects faults into the memory store.
    pub memory_control: Option<PathBuf>,
}
