//! The interface of a kind of store. Every call may block, so only a worker thread makes calls.

use secrecy::{ExposeSecret, SecretString};

use crate::{Key, Kind, StoreError, listing::Entries};

/// The result of encrypting all records with a new key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RekeyReport {
    /// How many records were encrypted with the new key.
    pub records: usize,
    /// Keys of records that could not be decrypted. They are unchanged.
    pub damaged: Vec<String>,
}

/// One kind of store.
pub(crate) trait Backend: Send {
    fn kind(&self) -> Kind;
    /// Reads a record. `None` is the store's own "not found"; a failed read is an error.
    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError>;
    /// Writes a record durably. The label is shown to the user.
    fn save(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError>;
    /// Deletes a record if it exists.
    fn delete(&mut self, key: &Key) -> Result<(), StoreError>;
    /// Lists all records, or fails.
    fn list(&mut self) -> Result<Entries, StoreError>;
    /// Encrypts all records with a new key.
    fn rekey(&mut self) -> Result<RekeyReport, StoreError>;
    /// Whether [`Self::recover`] has something to do.
    fn is_unfinished(&self) -> bool {
        false
    }
    /// Finishes operations that an earlier run did not finish.
    fn recover(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// Deletes all our records.
    fn clear(&mut self) -> Result<(), StoreError> {
        self.list()?.keys.iter().try_for_each(|key| self.delete(key))?;
        // The record of an interrupted probe is not listed.
        self.delete(&Key::probe())
    }
    /// Where the store keeps records, as shown to the user.
    fn description(&self) -> String;

    /// Saves a record and reads it back, because some keychains truncate or drop long values.
    fn save_verified(&mut self, key: &Key, label: &str, record: &SecretString) -> Result<(), StoreError> {
        self.save(key, label, record)?;
        match self.load(key)? {
            Some(read) if read.expose_secret() == record.expose_secret() => Ok(()),
            Some(_) => Err(StoreError::unavailable("it returned something else than was written")),
            None => Err(StoreError::unavailable("it did not save what was written")),
        }
    }

    /// Writes, reads back and deletes a test record.
    fn probe(&mut self) -> Result<(), StoreError> {
        let key = Key::probe();
        self.save_verified(&key, "authd: probe (may be deleted)", &SecretString::from("authd probe"))?;
        self.delete(&key)
    }
}
