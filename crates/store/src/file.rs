//! age-encrypted files, one for each record: the store of a machine without a keychain. The stock `age` tool
//! opens them. Against programs of the same user a key beside the files protects nothing; it protects
//! backups and stray reads. A passphrase or a systemd credential protects more.

use std::{fs::File, path::PathBuf};

use age::DecryptError;
use secrecy::SecretString;
use tracing::warn;

pub use self::identity::KeySource;
use self::{
    directory::{Scan, directory, scan},
    identity::{Identities, MAX_FILE},
};
use crate::{
    Key, StateDir,
    backend::{Backend, Entries, Kind, RekeyReport, StoreError},
    private,
};

mod directory;
mod identity;

pub(crate) use self::directory::holds_records;

/// Records as files.
pub(crate) struct Files {
    state_dir: StateDir,
    source: KeySource,
    /// Read at the first use; a failure is not kept.
    identities: Option<Identities>,
}

/// What is left of a save that was interrupted before its rename.
#[derive(PartialEq, Eq)]
enum Interrupted {
    /// Nothing now: there was none, or it was incomplete and has been removed.
    Nothing,
    /// It was complete, and is the record now.
    Finished,
    /// It is sealed for a key that we do not have, and stays.
    Kept,
}

impl Files {
    /// The files below a state directory. Nothing is opened yet.
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
        let found = if let Some(found) = self.identities.take() {
            found
        } else {
            self.ensure_directory()?;
            private::ensure_private_dir(&self.directory()).map_err(StoreError::unavailable)?;
            Identities::find(&self.source, self.state_dir.path())?
        };
        Ok(self.identities.insert(found))
    }

    /// Creates the directories again if they were removed.
    fn ensure_directory(&self) -> Result<(), StoreError> {
        let directory = self.directory();
        let ensured = self.state_dir.ensure().and_then(|()| {
            if private::is_absent(&directory)? {
                private::ensure_private_dir(&directory)?;
                private::sync_dir(self.state_dir.path())?;
            }
            Ok(())
        });
        ensured.map_err(StoreError::unavailable)
    }

    /// A crash between writing a record and renaming it leaves a temporary file, which is newer than the
    /// record. If it opens, it takes the record's place; if it is incomplete, it is removed.
    fn finish_interrupted_save(&mut self, key: &Key) -> Result<Interrupted, StoreError> {
        let path = self.path(key);
        let temporary = private::temporary(&path);
        let read = private::read_bounded(&temporary, MAX_FILE).map_err(StoreError::unavailable)?;
        let Some(sealed) = read else { return Ok(Interrupted::Nothing) };
        let opened = self.identities()?.open(&sealed).map(drop);
        if let Err(DecryptError::NoMatchingKeys | DecryptError::UnknownFormat) = opened {
            warn!(path = %temporary.display(), "interrupted save is sealed for another key; it is kept");
            return Ok(Interrupted::Kept);
        }
        self.ensure_directory()?;
        let complete = opened.is_ok();
        let result = if complete {
            let written = File::open(&temporary).and_then(|file| file.sync_all());
            written.and_then(|()| private::replace(&temporary, &path))
        } else {
            private::remove(&temporary).map(drop)
        };
        result.map_err(StoreError::unavailable)?;
        Ok(if complete { Interrupted::Finished } else { Interrupted::Nothing })
    }
}

impl Backend for Files {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let interrupted = self.finish_interrupted_save(key)?;
        let damaged = |detail: String| StoreError::Damaged { key: key.to_string(), detail };
        let path = self.path(key);
        let Some(sealed) = private::read_bounded(&path, MAX_FILE).map_err(StoreError::unavailable)? else {
            return match interrupted {
                Interrupted::Kept => Err(damaged("its first save is sealed for another key".to_owned())),
                Interrupted::Nothing | Interrupted::Finished => Ok(None),
            };
        };
        let opened = self.identities()?.open(&sealed);
        let opened = opened.map_err(|error| damaged(format!("{}: {error}", path.display())))?;
        let text = String::from_utf8(opened).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
        Ok(Some(text.into()))
    }

    /// Directories and the key are written again if they were removed: a record that is sealed with a key
    /// that is only in memory is lost at the next start.
    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        self.ensure_directory()?;
        let identities = self.identities()?;
        identities.restore_if_removed()?;
        let sealed = identities.seal(record)?;
        if sealed.len() as u64 > MAX_FILE {
            let detail = format!("the record {key} is longer than {MAX_FILE} bytes");
            return Err(StoreError::Refused { detail });
        }
        private::atomic_write(&self.path(key), &sealed).map_err(StoreError::unavailable)
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        self.state_dir.ensure().map_err(StoreError::unavailable)?;
        let path = self.path(key);
        let removed = private::remove(&private::temporary(&path))
            .and_then(|temporary| Ok(private::remove(&path)? || temporary));
        let durable = removed.and_then(|any| if any { private::sync_dir(&self.directory()) } else { Ok(()) });
        durable.map_err(StoreError::unavailable)
    }

    fn list(&mut self) -> Result<Entries, StoreError> {
        let Scan { mut keys, interrupted, mut unknown } = scan(&self.directory())?;
        for key in interrupted {
            match self.finish_interrupted_save(&key)? {
                Interrupted::Nothing => {}
                Interrupted::Finished => drop(keys.insert(key)),
                Interrupted::Kept => unknown.push(format!(".{key}.age.tmp")),
            }
        }
        keys.remove(&Key::probe());
        Ok(Entries { keys: keys.into_iter().collect(), unknown })
    }

    /// The new key is written before the first file is sealed with it, and the old one is kept until the
    /// last is. Damaged records stay as they are; any other error keeps the old key.
    fn rekey(&mut self) -> Result<RekeyReport, StoreError> {
        let keys = self.list()?.keys;
        self.ensure_directory()?;
        self.identities()?.renew()?;
        let mut report = RekeyReport::default();
        for key in keys {
            match self.load(&key) {
                Ok(None) => {}
                Ok(Some(record)) => {
                    self.save_verified(&key, "", &record)?;
                    report.records += 1;
                }
                Err(StoreError::Damaged { key, detail }) => {
                    warn!(key, detail, "damaged record is not sealed with the new key");
                    report.damaged.push(key);
                }
                Err(error) => return Err(error),
            }
        }
        self.identities()?.retire()?;
        Ok(report)
    }

    fn is_unfinished(&self) -> bool {
        self.identities.as_ref().is_some_and(Identities::is_unfinished)
    }

    fn recover(&mut self) -> Result<(), StoreError> {
        if holds_records(self.state_dir.path())? && self.identities()?.is_unfinished() {
            self.rekey()?;
        }
        Ok(())
    }

    /// No key is needed to delete, so nothing is opened.
    fn clear(&mut self) -> Result<(), StoreError> {
        let Scan { keys, interrupted, .. } = scan(&self.directory())?;
        keys.iter().chain(&interrupted).try_for_each(|key| self.delete(key))
    }

    fn description(&self) -> String {
        let key = self.identities.as_ref().map(|found| format!(", {}", found.description()));
        format!("age-encrypted files in {}{}", self.directory().display(), key.unwrap_or_default())
    }
}
