//! What a place for secrets can do, and how it can fail. Every call may block; the worker's thread is
//! the only one that makes them.

use std::fmt;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::Key;

/// The kinds of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The operating system's keychain.
    Keychain,
    /// age-encrypted files.
    File,
    /// Nothing survives the process.
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

/// Why a store did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Ask the person to unlock it; then it goes on by itself.
    #[error("the keychain is locked: {detail}")]
    Locked {
        /// What it said.
        detail: String,
    },
    /// Try again later: it is not there, does not answer, or does not answer truthfully.
    #[error("the credential store is unavailable: {detail}")]
    Unavailable {
        /// What it said.
        detail: String,
    },
    /// Do what it says: this store cannot do that.
    #[error("this store cannot do that: {detail}")]
    Refused {
        /// Why, and what can be done.
        detail: String,
    },
    /// Leave it as it is: this one record cannot be opened.
    #[error("the record {key} cannot be opened: {detail}")]
    Damaged {
        /// Which one.
        key: String,
        /// What was wrong with it.
        detail: String,
    },
}

/// A place for secrets.
pub(crate) trait Backend: Send {
    /// Which kind it is.
    fn kind(&self) -> Kind;
    /// The record under a key.
    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError>;
    /// Keeps a record under a key; the label is for people.
    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError>;
    /// Forgets the record under a key, if there is one.
    fn delete(&mut self, key: &Key) -> Result<(), StoreError>;
    /// All keys.
    fn list(&mut self) -> Result<Vec<Key>, StoreError>;
    /// Seals everything with a new key.
    fn rekey(&mut self) -> Result<(), StoreError>;
    /// Where it keeps things, for people.
    fn described(&self) -> String;
}
