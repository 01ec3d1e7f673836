//! What a store can do, and how it can fail. Every call may block; only a worker thread makes them.

use std::{fmt, io};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::Key;

/// The kinds of store.
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

/// Why a call failed. None of these means that a record does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The user has to unlock it; then it works again by itself.
    #[error("the keychain is locked: {detail}")]
    Locked {
        /// What is locked.
        detail: String,
    },
    /// It cannot be reached or read, or it does not keep what it is given. It is tried again.
    #[error("the credential store is unavailable: {detail}")]
    Unavailable {
        /// The cause, with the path if it is a file.
        detail: String,
    },
    /// The store does not do this; trying again changes nothing.
    #[error("this store cannot do that: {detail}")]
    Refused {
        /// Why, and what can be done.
        detail: String,
    },
    /// One record cannot be opened; the others are not affected.
    #[error("the record {key} cannot be opened: {detail}")]
    Damaged {
        /// The record's key; of several, separated by commas.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl StoreError {
    /// A failed file system call; its message names the path.
    pub(crate) fn unavailable(error: impl Into<io::Error>) -> Self {
        Self::Unavailable { detail: error.into().to_string() }
    }
}

/// The content of a store.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    /// The keys of our records.
    pub(crate) keys: Vec<Key>,
    /// Names of entries that are none of this version's records.
    pub(crate) unknown: Vec<String>,
}

/// What sealing everything with a new key did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RekeyReport {
    /// How many records were sealed with the new key.
    pub records: usize,
    /// Keys of records that no key opens; they were left as they are.
    pub damaged: Vec<String>,
}

/// A store.
pub(crate) trait Backend: Send {
    /// Its kind.
    fn kind(&self) -> Kind;
    /// The record under a key. `None` is the store's own "not found"; a failed read is an error.
    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError>;
    /// Keeps a record under a key, durably; the label is for people.
    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError>;
    /// Deletes the record under a key, if there is one.
    fn delete(&mut self, key: &Key) -> Result<(), StoreError>;
    /// Everything it holds, or an error.
    fn list(&mut self) -> Result<Entries, StoreError>;
    /// Seals everything with a new key.
    fn rekey(&mut self) -> Result<RekeyReport, StoreError>;
    /// Whether [`Self::recover`] has something to do.
    fn is_unfinished(&self) -> bool {
        false
    }
    /// Finishes what an earlier run began.
    fn recover(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Deletes all our records.
    fn clear(&mut self) -> Result<(), StoreError> {
        self.list()?.keys.iter().try_for_each(|key| self.delete(key))?;
        // A probe that was interrupted is not listed.
        self.delete(&Key::probe())
    }
    /// Where it keeps records, for people.
    fn description(&self) -> String;

    /// Saves and reads back, because some keychains cut long values or forget them.
    fn save_verified(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        self.save(key, label, record)?;
        let detail = match self.load(key)? {
            Some(read) if read.expose_secret() == record.expose_secret() => return Ok(()),
            Some(_) => "it returned something else than was written",
            None => "it did not keep what was written",
        };
        Err(StoreError::Unavailable { detail: detail.to_owned() })
    }

    /// Writes, reads back and deletes; a store that does not do all three is unavailable.
    fn probe(&mut self) -> Result<(), StoreError> {
        let key = Key::probe();
        self.save_verified(&key, "authd: probe (may be deleted)", &SecretString::from("authd probe"))?;
        self.delete(&key)
    }
}
