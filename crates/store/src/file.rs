//! age-encrypted files, one a record: what a machine without a keychain uses. They open with the stock
//! `age` tool. Against programs of the same user a key beside the files protects nothing; it protects
//! backups and stray reads. A passphrase or a systemd credential protects more.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use self::identity::Identities;
use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
    private,
};

mod identity;

/// The longest file that is read, in bytes: records have ten thousand.
const MAX_FILE: u64 = 1 << 20;

/// Where the identity that opens the files comes from; the first that is there is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// systemd's credentials; `authd-key` in it is the one (`LoadCredentialEncrypted=`).
    pub credentials_directory: Option<PathBuf>,
    /// A file with a passphrase, or an identity.
    pub passphrase_file: Option<PathBuf>,
    /// A file with an identity, made at the first use.
    pub key_file: PathBuf,
}

/// Records as files.
pub(crate) struct Files {
    state_dir: PathBuf,
    source: KeySource,
    identities: Option<Identities>,
}

impl Files {
    /// The files below a state directory. Nothing is opened yet.
    pub(crate) fn new(state_dir: PathBuf, source: KeySource) -> Self {
        Self { state_dir, source, identities: None }
    }

    fn directory(&self) -> PathBuf {
        self.state_dir.join("store")
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory().join(format!("{key}.age"))
    }

    fn identities(&mut self) -> Result<&mut Identities, StoreError> {
        let found = if let Some(found) = self.identities.take() {
            found
        } else {
            private::ensure_private_dir(&self.state_dir).map_err(|error| unavailable(&error))?;
            private::ensure_private_dir(&self.directory()).map_err(|error| unavailable(&error))?;
            Identities::find(&self.source, &self.state_dir)?
        };
        Ok(self.identities.insert(found))
    }
}

impl Files {
    /// A crash between the writing of a record and its taking its place leaves the newer one beside the
    /// older. If it is whole, which its seal tells, it is the one that counts.
    fn finish_interrupted_save(&mut self, path: &Path) -> Result<(), StoreError> {
        let temporary = private::temporary(path);
        let Ok(sealed) = read_bounded(&temporary) else { return Ok(()) };
        let whole = self.identities()?.open(&sealed).is_ok();
        let finished =
            if whole { private::take_place(&temporary, path) } else { private::remove(&temporary) };
        finished.map_err(|error| unavailable(&error))
    }
}

impl Backend for Files {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let path = self.path(key);
        self.finish_interrupted_save(&path)?;
        let damaged = |detail: String| StoreError::Damaged { key: key.to_string(), detail };
        let sealed = match read_bounded(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        };
        let opened = self.identities()?.open(&sealed).map_err(|error| damaged(error.to_string()))?;
        let text = String::from_utf8(opened).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
        Ok(Some(text.into()))
    }

    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        let sealed = self.identities()?.seal(record)?;
        private::atomic_write(&self.path(key), &sealed).map_err(|error| unavailable(&error))
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        let path = self.path(key);
        if !path.exists() && !private::temporary(&path).exists() {
            return Ok(());
        }
        let removed = private::remove(&private::temporary(&path)).and_then(|()| private::remove(&path));
        removed.and_then(|()| private::sync_dir(&self.directory())).map_err(|error| unavailable(&error))
    }

    fn list(&mut self) -> Result<Vec<Key>, StoreError> {
        let entries = match fs::read_dir(self.directory()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unavailable(&error)),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        Ok(names.filter_map(|name| Key::parse(name.strip_suffix(".age")?)).collect())
    }

    /// The new key is there before the first file is sealed with it, and the old one until the last.
    fn rekey(&mut self) -> Result<(), StoreError> {
        self.identities()?.renew()?;
        for key in self.list()? {
            if let Some(record) = self.load(&key)? {
                self.save(&key, "", &record)?;
            }
        }
        self.identities()?.retire()
    }

    fn described(&self) -> String {
        let key = self.identities.as_ref().map(Identities::described).unwrap_or_default();
        format!("age-encrypted files in {}, {key}", self.directory().display())
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > MAX_FILE {
        return Err(io::Error::other("the file is larger than any of ours"));
    }
    fs::read(path)
}

fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable { detail: error.to_string() }
}
