//! The identities that decrypt the files, and the file that holds them. The first identity
//! encrypts. The others only decrypt, so that a rekey may be interrupted at any moment.

use std::{
    iter,
    path::{Path, PathBuf},
};

use age::{DecryptError, scrypt, x25519};
use secrecy::{ExposeSecret, SecretString};

use super::directory::{directory, has_records};
use crate::{
    KeySource, StoreError, private,
    sealing::{SealingKey, decrypt},
};

/// The longest file that is read, in bytes. A record has about 10,000.
pub(super) const MAX_FILE: u64 = 1 << 20;

/// The scrypt work factor (log2 of N) of a passphrase's key. OWASP's password storage guide
/// recommends 17, which takes 128 MiB. Without it age would measure the machine, and the result
/// would depend on the load at that moment.
const WORK_FACTOR: u8 = 17;

/// The highest work factor that is accepted from a file.
const MAX_WORK_FACTOR: u8 = 22;

/// Identities, and the file that holds them.
pub(super) struct Identities {
    key: SealingKey,
    file: IdentityFile,
}

enum IdentityFile {
    /// Our file, not encrypted.
    Plain(PathBuf),
    /// Our file, encrypted with the passphrase in another file.
    Encrypted { path: PathBuf, passphrase: SecretString, passphrase_file: PathBuf },
    /// A file that the user or systemd writes.
    External(PathBuf),
}

impl Identities {
    /// Reads the identities of a state directory. Creates them only if neither their file nor an
    /// encrypted record exists.
    pub(super) fn find(source: &KeySource, state_dir: &Path) -> Result<Self, StoreError> {
        if let Some(directory) = &source.credentials_directory {
            let path = directory.join("authd-key");
            if let Some(text) = read_secret(&path)? {
                return Self::from_secret(path, &text, state_dir);
            }
        }
        if let Some(path) = &source.passphrase_file {
            let text = read_secret(path)?.ok_or_else(|| {
                StoreError::unavailable(format!(
                    "{} does not exist; restore it, or correct store.passphrase_file in the configuration",
                    path.display()
                ))
            })?;
            return Self::from_secret(path.clone(), &text, state_dir);
        }
        // No record was encrypted with this key: the rename comes before the first use.
        private::remove(&private::temporary(&source.key_file)).ok();
        let file = IdentityFile::Plain(source.key_file.clone());
        match read_secret(&source.key_file)? {
            Some(text) => Self::parse(&text, file),
            None => Self::create(file, state_dir),
        }
    }

    /// Creates the first identity of a state directory.
    fn create(file: IdentityFile, state_dir: &Path) -> Result<Self, StoreError> {
        if has_records(state_dir)? {
            let (key, records) = (file.path().display(), directory(state_dir));
            let records = records.display();
            return Err(StoreError::unavailable(format!(
                "{key} does not exist, but {records} contains encrypted records; restore the key or correct \
                 the configuration of the key; to give up these records, move {records} away"
            )));
        }
        let first = x25519::Identity::generate();
        let key = SealingKey { first, older: Vec::new() };
        file.write(&key)?;
        Ok(Self { key, file })
    }

    /// Uses a text that is an identity, or the passphrase of an identity file of ours. Deriving a
    /// key from a passphrase is slow on purpose, so it is done once.
    fn from_secret(source: PathBuf, text: &SecretString, state_dir: &Path) -> Result<Self, StoreError> {
        if SealingKey::parse(text).is_some() {
            return Self::parse(text, IdentityFile::External(source));
        }
        let passphrase = SecretString::from(text.expose_secret().trim());
        let path = state_dir.join("store.identity.age");
        let Some(encrypted) = private::read_bounded(&path, MAX_FILE)? else {
            let file = IdentityFile::Encrypted { path, passphrase, passphrase_file: source };
            return Self::create(file, state_dir);
        };
        let mut identity = scrypt::Identity::new(passphrase.clone());
        identity.set_max_work_factor(MAX_WORK_FACTOR);
        let text = decrypt(&encrypted, iter::once(&identity as _)).map_err(|error| {
            let (source, path) = (source.display(), path.display());
            StoreError::Locked { detail: format!("the passphrase in {source} does not open {path}: {error}") }
        })?;
        let text = SecretString::from(String::from_utf8_lossy(&text).into_owned());
        Self::parse(&text, IdentityFile::Encrypted { path, passphrase, passphrase_file: source })
    }

    fn parse(text: &SecretString, file: IdentityFile) -> Result<Self, StoreError> {
        match SealingKey::parse(text) {
            Some(key) => Ok(Self { key, file }),
            None => Err(StoreError::unavailable(format!(
                "{} holds no identity; restore it from a backup",
                file.path().display()
            ))),
        }
    }

    /// Writes the identities again if their file was removed.
    pub(super) fn restore_if_removed(&self) -> Result<(), StoreError> {
        if !self.file.is_external() && matches!(private::is_absent(self.file.path()), Ok(true)) {
            self.file.write(&self.key)?;
        }
        Ok(())
    }

    /// Whether an interrupted rekey left an older identity in a file of ours.
    pub(super) fn is_unfinished(&self) -> bool {
        !self.key.older.is_empty() && !self.file.is_external()
    }

    /// Encrypts a text with the first identity.
    pub(super) fn encrypt(&self, text: &SecretString) -> Result<Vec<u8>, StoreError> {
        self.key.seal(text)
    }

    /// Decrypts with whichever identity fits.
    pub(super) fn decrypt(&self, encrypted: &[u8]) -> Result<Vec<u8>, DecryptError> {
        self.key.decrypt(encrypted)
    }

    /// Puts a new identity first, unless an interrupted rekey has done so. Encrypt all records
    /// again before [`Self::finish_rekey`].
    pub(super) fn begin_rekey(&mut self) -> Result<(), StoreError> {
        if !self.key.older.is_empty() {
            return Ok(());
        }
        if let IdentityFile::External(path) = &self.file {
            return Err(StoreError::refused(format!(
                "its key comes from {}: insert a new one before the present one there, and try again",
                path.display()
            )));
        }
        self.change(SealingKey { first: x25519::Identity::generate(), older: vec![self.key.first.clone()] })
    }

    /// Removes all identities but the first.
    pub(super) fn finish_rekey(&mut self) -> Result<(), StoreError> {
        self.change(SealingKey { first: self.key.first.clone(), older: Vec::new() })
    }

    /// Writes the identities before using them: a record that is encrypted with an identity that
    /// exists only in memory would be lost at the next start.
    fn change(&mut self, key: SealingKey) -> Result<(), StoreError> {
        self.file.write(&key)?;
        self.key = key;
        Ok(())
    }

    /// Where the key comes from, as shown to the user.
    pub(super) fn description(&self) -> String {
        let (kind, path) = match &self.file {
            IdentityFile::Plain(path) => ("key", path),
            IdentityFile::Encrypted { passphrase_file, .. } => ("passphrase", passphrase_file),
            IdentityFile::External(path) => ("identity", path),
        };
        format!("opened by the {kind} in {}", path.display())
    }
}

impl IdentityFile {
    fn path(&self) -> &Path {
        match self {
            Self::Plain(path) | Self::External(path) | Self::Encrypted { path, .. } => path,
        }
    }

    fn is_external(&self) -> bool {
        matches!(self, Self::External(_))
    }

    /// Writes the identities unless the file is external.
    fn write(&self, key: &SealingKey) -> Result<(), StoreError> {
        let mut text = format!(
            "# The key of authd's encrypted files: a program that reads it can open them.\n# public key: {}\n",
            key.first.to_public()
        );
        for identity in key.identities() {
            text += identity.to_string().expose_secret();
            text.push('\n');
        }
        let text = SecretString::from(text);
        let text = text.expose_secret().as_bytes();
        match self {
            Self::Plain(path) => private::atomic_write(path, text)?,
            Self::Encrypted { path, passphrase, .. } => {
                let mut recipient = scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(WORK_FACTOR);
                let encrypted = age::encrypt(&recipient, text).map_err(StoreError::unavailable)?;
                private::atomic_write(path, &encrypted)?;
            }
            Self::External(_) => {}
        }
        Ok(())
    }
}

/// Reads a text file. Returns `None` if it does not exist.
fn read_secret(path: &Path) -> Result<Option<SecretString>, StoreError> {
    let text = private::read_bounded(path, MAX_FILE)?.map(String::from_utf8).transpose();
    let text = text.map_err(|_| StoreError::unavailable(format!("{} is not UTF-8", path.display())))?;
    Ok(text.map(SecretString::from))
}
