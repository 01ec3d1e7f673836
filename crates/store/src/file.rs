//! age-encrypted files, one a record: what a machine without a keychain uses. They open with the stock
//! `age` tool. Against programs of the same user a key beside the files protects nothing; it protects
//! backups and stray reads. A passphrase or a systemd credential protects more.

use std::{
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use age::{scrypt, x25519};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    Key,
    backend::{Backend, Kind, StoreError},
    private,
};

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
    identity: Option<x25519::Identity>,
}

impl Files {
    /// The files below a state directory. Nothing is opened yet.
    pub(crate) fn new(state_dir: PathBuf, source: KeySource) -> Self {
        Self { state_dir, source, identity: None }
    }

    fn directory(&self) -> PathBuf {
        self.state_dir.join("store")
    }

    fn path(&self, key: &Key) -> PathBuf {
        self.directory().join(format!("{key}.age"))
    }

    /// The identity that opens the files, made at the first use.
    fn identity(&mut self) -> Result<x25519::Identity, StoreError> {
        if let Some(identity) = &self.identity {
            return Ok(identity.clone());
        }
        private::ensure_private_dir(&self.state_dir).map_err(|error| unavailable(&error))?;
        private::ensure_private_dir(&self.directory()).map_err(|error| unavailable(&error))?;
        let credential =
            self.source.credentials_directory.as_ref().map(|directory| directory.join("authd-key"));
        let given = credential.filter(|path| path.exists()).or_else(|| self.source.passphrase_file.clone());
        let identity = match given {
            Some(path) => self.read_given(&path)?,
            None => from_key_file(&self.source.key_file)?,
        };
        self.identity = Some(identity.clone());
        Ok(identity)
    }

    /// A given text is an identity, or the passphrase of one that we keep. Deriving a key from a
    /// passphrase is slow on purpose; it is done once.
    fn read_given(&self, path: &Path) -> Result<x25519::Identity, StoreError> {
        let text = read_secret(path)?;
        if let Some(identity) = identity_in(&text) {
            return Ok(identity);
        }
        let passphrase = SecretString::from(text.expose_secret().trim());
        let kept = self.state_dir.join("store.identity.age");
        if kept.exists() {
            let sealed = fs::read(&kept).map_err(|error| unavailable(&error))?;
            let opened = age::decrypt(&scrypt::Identity::new(passphrase), &sealed).map_err(|error| {
                StoreError::Locked {
                    detail: format!("the passphrase in {} does not fit: {error}", path.display()),
                }
            })?;
            let opened = SecretString::from(String::from_utf8_lossy(&opened).into_owned());
            return identity_in(&opened).ok_or_else(|| StoreError::Unavailable {
                detail: format!("{} holds no identity", kept.display()),
            });
        }
        let identity = x25519::Identity::generate();
        let text = identity.to_string();
        let sealed = age::encrypt(&scrypt::Recipient::new(passphrase), text.expose_secret().as_bytes())
            .map_err(|error| StoreError::Unavailable { detail: error.to_string() })?;
        private::atomic_write(&kept, &sealed).map_err(|error| unavailable(&error))?;
        Ok(identity)
    }
}

impl Backend for Files {
    fn kind(&self) -> Kind {
        Kind::File
    }

    fn load(&mut self, key: &Key) -> Result<Option<SecretString>, StoreError> {
        let identity = self.identity()?;
        let path = self.path(key);
        let damaged = |detail: String| StoreError::Damaged { key: key.to_string(), detail };
        let sealed = match read_bounded(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable(&error)),
        };
        let opened = age::decrypt(&identity, &sealed).map_err(|error| damaged(error.to_string()))?;
        let text = String::from_utf8(opened).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
        Ok(Some(text.into()))
    }

    fn save(&mut self, key: &Key, _: &str, record: &SecretString) -> Result<(), StoreError> {
        let recipient = self.identity()?.to_public();
        let sealed = age::encrypt(&recipient, record.expose_secret().as_bytes())
            .map_err(|error| StoreError::Unavailable { detail: error.to_string() })?;
        private::atomic_write(&self.path(key), &sealed).map_err(|error| unavailable(&error))
    }

    fn delete(&mut self, key: &Key) -> Result<(), StoreError> {
        match fs::remove_file(self.path(key)) {
            Ok(()) => private::sync_dir(&self.directory()).map_err(|error| unavailable(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unavailable(&error)),
        }
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
}

fn from_key_file(path: &Path) -> Result<x25519::Identity, StoreError> {
    if path.exists() {
        return identity_in(&read_secret(path)?).ok_or_else(|| StoreError::Unavailable {
            detail: format!("{} holds no identity", path.display()),
        });
    }
    let identity = x25519::Identity::generate();
    let text = format!(
        "# The key of authd's encrypted files. Whoever can read it can read them.\n# public key: {}\n{}\n",
        identity.to_public(),
        identity.to_string().expose_secret()
    );
    private::atomic_write(path, text.as_bytes()).map_err(|error| unavailable(&error))?;
    Ok(identity)
}

/// The identity in a file's text, which may have comments beside it.
fn identity_in(text: &SecretString) -> Option<x25519::Identity> {
    let mut lines = text.expose_secret().lines().map(str::trim);
    lines.find_map(|line| x25519::Identity::from_str(line).ok())
}

fn read_secret(path: &Path) -> Result<SecretString, StoreError> {
    let bytes = read_bounded(path)
        .map_err(|error| StoreError::Unavailable { detail: format!("{}: {error}", path.display()) })?;
    let text = String::from_utf8(bytes)
        .map_err(|_| StoreError::Unavailable { detail: format!("{} is not UTF-8", path.display()) })?;
    Ok(text.into())
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
