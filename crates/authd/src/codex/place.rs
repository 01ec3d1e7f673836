//! Where a Codex home keeps its login: in its file, or, if its user wants that of Codex, in an item of the
//! keychain. (`cli_auth_credentials_store`; protocol.md tells what each setting does.)

use std::{
    fs::{self, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use authd_store::{Key, Store, StoreError, private};
use rustix::fs::OFlags;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::CodexFailure;

/// The name of Codex's login file in its home.
pub(super) const FILE: &str = "auth.json";

/// The name of Codex's items in the keychain.
pub(super) const SERVICE: &str = "Codex Auth";

/// The longest login file, in bytes: real ones have five thousand.
const MAX_FILE: u64 = 1 << 20;

/// Where a login is kept.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In this file.
    File(PathBuf),
    /// In the keychain, for this home.
    Item { home: PathBuf, keychain: Store },
}

/// What was found where a home keeps its login.
pub(super) struct Found {
    /// Where it is, or would be.
    pub(super) place: Place,
    /// The login's text, if there is one.
    pub(super) text: Option<SecretString>,
    /// The keychain is locked: there may be one all the same.
    pub(super) locked: Option<StoreError>,
}

impl Found {
    /// Looks as Codex does that is told to look everywhere, but for the file before the keychain: which
    /// one this home uses shows in which one is there.
    pub(super) async fn look(file: PathBuf, keychain: impl FnOnce() -> Store) -> Result<Self, CodexFailure> {
        let place = Place::File(file);
        if let Some(text) = place.read().await? {
            return Ok(Self { place, text: Some(text), locked: None });
        }
        let item = Place::Item { home: place.home().to_path_buf(), keychain: keychain() };
        match item.read().await {
            Ok(Some(text)) => Ok(Self { place: item, text: Some(text), locked: None }),
            Err(CodexFailure::Store(locked @ StoreError::Locked { .. })) => {
                Ok(Self { place, text: None, locked: Some(locked) })
            }
            // Most machines that have no such item have no keychain either.
            Ok(None) | Err(_) => Ok(Self { place, text: None, locked: None }),
        }
    }
}

impl Place {
    /// The home.
    pub(super) fn home(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(path),
            Self::Item { home, .. } => home,
        }
    }

    /// The path to tell a person: the file, or the home whose item it is.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Item { home, .. } => home,
        }
    }

    /// Whether it is an item of the keychain.
    pub(super) fn is_item(&self) -> bool {
        matches!(self, Self::Item { .. })
    }

    /// The text that is kept here, if there is any.
    pub(super) async fn read(&self) -> Result<Option<SecretString>, CodexFailure> {
        match self {
            Self::File(path) => {
                let text = read_bounded(path).map_err(|error| CodexFailure::File(path.clone(), error))?;
                Ok(text.map(SecretString::from))
            }
            Self::Item { home, keychain } => keychain.load(&item(home)).await.map_err(CodexFailure::Store),
        }
    }

    /// Keeps a text here, whole or not at all.
    pub(super) async fn write(&self, text: SecretString) -> io::Result<()> {
        match self {
            Self::File(path) => private::atomic_write(path, text.expose_secret().as_bytes()),
            // The item is Codex's, and keeps the label that Codex gave it.
            Self::Item { home, keychain } => {
                keychain.save(&item(home), "", text).await.map_err(io::Error::other)
            }
        }
    }

    /// Keeps again what was kept here before: this text, or nothing.
    pub(super) async fn put_back(&self, before: Option<SecretString>) -> io::Result<()> {
        match before {
            Some(text) => self.write(text).await,
            None => self.clear().await,
        }
    }

    /// Whether it is this text that is kept here, or nothing.
    pub(super) async fn holds(&self, text: Option<&SecretString>) -> bool {
        let there = self.read().await;
        there.is_ok_and(|there| same(there.as_ref(), text))
    }

    /// Keeps nothing here.
    async fn clear(&self) -> io::Result<()> {
        match self {
            Self::File(path) => private::remove(path),
            Self::Item { home, keychain } => keychain.delete(&item(home)).await.map_err(io::Error::other),
        }
    }
}

/// Whether two texts are the same one.
pub(super) fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) == other.map(ExposeSecret::expose_secret)
}

/// Whoever names a path may name anything: a pipe that nobody writes to must not hold up the daemon, nor a
/// device without an end fill its memory. Such a thing opens at once like this, and is not read.
fn read_bounded(path: &Path) -> io::Result<Option<String>> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    let length = file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE { Err(io::Error::other("it is longer than 1 MiB")) } else { Ok(Some(text)) }
}

/// The key of what was in a home before we supplied it, in our own store.
pub(super) fn before(home: &Path) -> Key {
    Key::codex(&digest(home))
}

/// The key of Codex's item for a home.
fn item(home: &Path) -> Key {
    let canonical = fs::canonicalize(home);
    Key::foreign(format!("cli|{}", digest(canonical.as_deref().unwrap_or(home))))
}

/// Sixteen hexadecimal digits that stand for a path.
fn digest(path: &Path) -> String {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
