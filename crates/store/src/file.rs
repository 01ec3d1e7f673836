//! A store of age-encrypted files, one for each record, for machines without a keychain. The
//! standard `age` tool decrypts them. A key in the same directory does not protect against programs
//! of the same user; it protects backups and accidental reads. A passphrase or a systemd credential
//! protects more.

use std::path::PathBuf;

use age::DecryptError;
use secrecy::SecretString;
use tracing::warn;

use self::{
    directory::{Scan, directory, scan},
    identity::{Identities, MAX_FILE},
};
use crate::{
    Key, KeySource, Kind, StateDir, StoreError,
    backend::{Backend, RekeyReport},
    listing::Entries,
    private,
};

mod directory;
mod identity;

pub(crate) use self::directory::has_records;

/// Records as files.
pub(crate) struct Files {
    state_dir: StateDir,
    source: KeySource,
    /// Read at first use. A failure is not cached.
    identities: Option<Identities>,
}

/// The result of recovering a save that was interrupted before its rename.
#[derive(PartialEq, Eq)]
enum SaveRecovery {
    /// There was none, or it was incomplete and has been removed.
    Nothing,
    /// It was complete, and has replaced the record.
    Completed,
    /// It is encrypted with a key that we do not have. It stays.
    UnknownKey,
}

impl Files {
    /// The files of a state directory. Nothing is opened yet.
    pub(crate) fn new(state_dir: StateDir, source: KeySource) -> Self {
        Self { state_dir, source, identities: None }
    }

    fn directory(&self) -> PathBuf {
        directory(self.state_dir.path())
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory().join(format!("{key}.age"))
    }

    fn identities(&mut self) -> Result<&mut Identities, StoreError> {
        let identities = if let Some(identities) = self.identities.take() {
            identities
        } else {
            self.ensure_directory()?;
            private::ensure_private_dir(&self.directory())?;
            Identities::find(&self.source, self.state_dir.path())?
        };
        Ok(self.identities.insert(identities))
    }

    /// Creates the directories again if they were removed.
    fn ensure_directory(&self) -> Result<(), StoreError> {
        let directory = self.directory();
        self.state_dir.ensure()?;
        if private::is_absent(&directory)? {
            private::ensure_private_dir(&directory)?;
            private::sync(self.state_dir.path())?;
        }
        Ok(())
    }

    /// A crash between the write of a record and its rename leaves a temporary file, which is newer
    /// than the record. A complete one replaces the record; an incomplete one is removed.
    fn recover_save(&mut self, key: &Key) -> Result<SaveRecovery, StoreError> {
        let path = self.path(key);
        let temporary = private::temporary(&path);
        let Some(encrypted) = private::read_bounded(&temporary, MAX_FILE)? else {
            return Ok(SaveRecovery::Nothing);
        };
        let decrypted = self.identities()?.decrypt(&encrypted).map(drop);
        if let Err(DecryptError::NoMatchingKeys | DecryptError::UnknownFormat) = decrypted {
            warn!(path = %temporary.display(), "interrupted save is encrypted with another key; not removed");
            return Ok(SaveRecovery::UnknownKey);
        }
        self.ensure_directory()?;
        if decrypted.is_err() {
            private::remove(&temporary)?;
            return Ok(SaveRecovery::Nothing);
        }
        private::sync(&temporary)?;
        private::replace(&temporary, &path)?;
        Ok(SaveRecovery::Completed)
    }
}

impl Backend for Files {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let recovery = self.recover_save(key)?;
        let path = self.path(key);
        let Some(encrypted) = private::read_bounded(&path, MAX_FILE)? else {
            return match recovery {
                SaveRecovery::UnknownKey => {
                    Err(StoreError::damaged(key, "its first save is encrypted with another key"))
                }
                SaveRecovery::Nothing | SaveRecovery::Completed => Ok(None),
            };
        };
        let damaged = |detail: &dyn std::fmt::Display| {
            StoreError::damaged(key, format_args!("{}: {detail}", path.display()))
        };
        let decrypted = self.identities()?.decrypt(&encrypted).map_err(|error| damaged(&error))?;
        let text = String::from_utf8(decrypted).map_err(|_| damaged(&"not UTF-8"))?;
        Ok(Some(text.into()))
    }

    /// Also writes removed directories and a removed key again. A record that is encrypted with a
    /// key that exists only in memory would be lost at the next start.
    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        self.ensure_directory()?;
        let identities = self.identities()?;
        identities.restore_if_removed()?;
        let encrypted = identities.encrypt(record)?;
        if encrypted.len() as u64 > MAX_FILE {
            return Err(StoreError::refused(format!("the record {key} is longer than {MAX_FILE} bytes")));
        }
        Ok(private::atomic_write(&self.path(key), &encrypted)?)
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        self.state_dir.ensure()?;
        let path = self.path(key);
        let had_temporary = private::remove(&private::temporary(&path))?;
        if private::remove(&path)? || had_temporary {
            private::sync(&self.directory())?;
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Entries, StoreError> {
        let Scan { mut keys, interrupted, mut unknown } = scan(&self.directory())?;
        for key in interrupted {
            match self.recover_save(&key)? {
                SaveRecovery::Nothing => {}
                SaveRecovery::Completed => drop(keys.insert(key)),
                SaveRecovery::UnknownKey => unknown.push(format!(".{key}.age.tmp")),
            }
        }
        keys.remove(&Key::probe());
        Ok(Entries { keys: keys.into_iter().collect(), unknown })
    }

    /// Writes the new key before encrypting the first file with it, and removes the old key after
    /// the last file. Damaged records stay as they are. After any other error the old key stays,
    /// too.
    fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        let keys = self.list()?.keys;
        self.ensure_directory()?;
        self.identities()?.begin_rekey()?;
        let mut report = RekeyReport::default();
        for key in keys {
            match self.load(&key) {
                Ok(None) => {}
                Ok(Some(record)) => {
                    self.save_verified(&key, "", &record)?;
                    report.records += 1;
                }
                Err(StoreError::Damaged { key, detail }) => {
                    warn!(key, detail, "damaged record not encrypted with the new key");
                    report.damaged.push(key);
                }
                Err(error) => return Err(error),
            }
        }
        self.identities()?.finish_rekey()?;
        Ok(report)
    }

    fn is_unfinished(&self) -> bool {
        self.identities.as_ref().is_some_and(Identities::is_unfinished)
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        if has_records(self.state_dir.path())? && self.identities()?.is_unfinished() {
            self.rekey()?;
        }
        Ok(())
    }

    /// Needs no key, because nothing is decrypted.
    fn clear(&mut self) -> Result<(), StoreError> {
        let Scan { keys, interrupted, .. } = scan(&self.directory())?;
        keys.iter().chain(&interrupted).try_for_each(|key| self.delete(key))
    }

    fn description(&self) -> String {
        let key = self.identities.as_ref().map(|identities| format!(", {}", identities.description()));
        format!("age-encrypted files in {}{}", self.directory().display(), key.unwrap_or_default())
    }
}
