//! Where a Codex home keeps its login: in its file, or, if its user wants that of Codex, in an item of the
//! keychain. (`cli_auth_credentials_store`; protocol.md tells what each setting does.)

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_oauth::{CodexLogin, Intent, Record, codex};
use authd_store::{Key, Store, StoreError, private};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{error::CodexHomeError, homes::ManagedHomes};
use crate::{blocking::blocking, clock};

/// The name of Codex's login file in its home.
pub(super) const FILE: &str = "auth.json";

/// The longest login file, in bytes: real ones have five thousand.
const MAX_FILE: u64 = 1 << 20;

/// How long a look at a Codex home may take that other profiles wait for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a login is kept.
#[derive(Clone, Debug)]
pub(super) enum LoginLocation {
    /// In this file.
    File(PathBuf),
    /// In the keychain, for this home.
    Item { home: PathBuf, keychain: Store },
}

/// What was found where a home keeps its login.
pub(super) struct FoundLogin {
    /// Where it is, or would be.
    pub(super) location: LoginLocation,
    /// The login's text, if there is one.
    pub(super) text: Option<SecretString>,
    /// The keychain is locked: there may be one all the same.
    pub(super) locked: Option<StoreError>,
}

impl FoundLogin {
    /// Looks as Codex does that is told to look everywhere, but for the file before the keychain: which
    /// one this home uses shows in which one is there.
    pub(super) async fn look(
        file: PathBuf,
        keychain: impl FnOnce() -> Store,
    ) -> Result<Self, CodexHomeError> {
        let location = LoginLocation::File(file);
        if let Some(text) = location.read().await? {
            return Ok(Self { location, text: Some(text), locked: None });
        }
        let item = LoginLocation::Item { home: location.home().to_path_buf(), keychain: keychain() };
        match item.read().await {
            Ok(Some(text)) => Ok(Self { location: item, text: Some(text), locked: None }),
            Err(CodexHomeError::Store(locked @ StoreError::Locked { .. })) => {
                Ok(Self { location, text: None, locked: Some(locked) })
            }
            // Most machines that have no such item have no keychain either.
            Ok(None) | Err(_) => Ok(Self { location, text: None, locked: None }),
        }
    }
}

/// Whether the grant of a record whose export or import was interrupted belongs here: the place that the record names is
/// looked at. An error: that cannot be told now.
pub(crate) async fn is_owned_here(
    record: &Record,
    homes: &ManagedHomes,
    ours: &Store,
) -> Result<bool, StoreError> {
    let (home, path, item) = match &record.intent {
        Some(Intent::ExportTo { home, path, item } | Intent::ImportFrom { home, path, item, .. }) => {
            (home, path, *item)
        }
        Some(Intent::RenameTo { .. } | Intent::CopyOf { .. } | Intent::DiscardCopy { .. }) | None => {
            return Ok(true);
        }
    };
    let location = LoginLocation::of(home, path, item, || homes.keychain(ours));
    let unread = |failure: CodexHomeError| match failure {
        CodexHomeError::Store(error) => error,
        other => StoreError::Unavailable { detail: format!("{}: {other:?}", path.display()) },
    };
    let read = async {
        location.clear_temporary().await;
        location.read().await
    };
    // A home on a file system that does not answer must not keep all profiles from being known.
    let Ok(there) = tokio::time::timeout(PATIENCE, read).await else {
        let detail = format!("{} cannot be read within {} s", path.display(), PATIENCE.as_secs());
        return Err(StoreError::Unavailable { detail });
    };
    let there = there.map_err(unread)?;
    let there = there.and_then(|text| match codex::parse(text.expose_secret(), clock::now()) {
        Ok(CodexLogin::Grant(grant)) => Some(*grant),
        Ok(CodexLogin::External | CodexLogin::SignedOut) | Err(_) => None,
    });
    let Some(there) = there.filter(|there| there.identity.is_same(&record.grant.identity)) else {
        // Nothing of the grant is there: an export did not come about, and an import took it.
        return Ok(true);
    };
    Ok(match &record.intent {
        Some(Intent::ImportFrom { token, .. }) => {
            let is = |grant: &authd_oauth::Grant, token: &str| {
                grant.secrets.refresh_token().is_some_and(|held| held.fingerprint() == token)
            };
            // Ours, if it was rotated here. If it may have been, and is not at the other place either, it is sent again.
            !is(&record.grant, token) || (record.journal.is_some() && is(&there, token))
        }
        // The grant was written there, and may have been rotated by Codex since.
        _ => false,
    })
}

impl LoginLocation {
    /// The location that an intent or the list of homes names.
    pub(super) fn of(home: &Path, path: &Path, item: bool, keychain: impl FnOnce() -> Store) -> Self {
        if item {
            Self::Item { home: home.to_path_buf(), keychain: keychain() }
        } else {
            Self::File(path.to_path_buf())
        }
    }

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
    pub(super) async fn read(&self) -> Result<Option<SecretString>, CodexHomeError> {
        match self {
            Self::File(path) => {
                let file = path.clone();
                let read = blocking(move || {
                    let Some(bytes) = private::read_bounded(&file, MAX_FILE)? else { return Ok(None) };
                    String::from_utf8(bytes).map(Some).map_err(|_| io::Error::other("it is not UTF-8"))
                });
                let text = read.await.map_err(|error| CodexHomeError::File(path.clone(), error))?;
                Ok(text.map(SecretString::from))
            }
            Self::Item { home, keychain } => {
                keychain.load(&item(home).await).await.map_err(CodexHomeError::Store)
            }
        }
    }

    /// Keeps a text here, whole or not at all. After an error it may be here all the same.
    pub(super) async fn write(&self, text: SecretString) -> io::Result<()> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                blocking(move || private::atomic_write(&path, text.expose_secret().as_bytes())).await
            }
            // The item is Codex's, and keeps the label that Codex gave it.
            Self::Item { home, keychain } => {
                keychain.save(&item(home).await, "", text).await.map_err(io::Error::other)
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

    /// Removes what a write that was interrupted left beside the file.
    pub(super) async fn clear_temporary(&self) {
        if let Self::File(path) = self {
            let temporary = private::temporary(path);
            // The next write does it otherwise.
            drop(blocking(move || private::remove(&temporary)).await);
        }
    }

    /// Keeps nothing here.
    async fn clear(&self) -> io::Result<()> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                blocking(move || private::remove(&path).map(drop)).await
            }
            Self::Item { home, keychain } => {
                keychain.delete(&item(home).await).await.map_err(io::Error::other)
            }
        }
    }
}

/// Whether two texts are the same one.
pub(super) fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) == other.map(ExposeSecret::expose_secret)
}

/// The key of what was in a home before we supplied it, in our own store.
pub(super) fn before(home: &Path) -> Key {
    Key::codex(&digest(home))
}

/// The key of Codex's item for a home.
async fn item(home: &Path) -> Key {
    let home = home.to_path_buf();
    let canonical = blocking({
        let home = home.clone();
        move || fs::canonicalize(home)
    });
    Key::foreign(format!("cli|{}", digest(canonical.await.as_deref().unwrap_or(&home))))
}

/// Sixteen hexadecimal digits that stand for a path.
fn digest(path: &Path) -> String {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The login file of a given path, completed by `file`; without one, that of the user's own home.
pub(super) fn login_file(
    named: Option<PathBuf>,
    file: impl FnOnce(PathBuf) -> PathBuf,
) -> Result<PathBuf, CodexHomeError> {
    match named {
        Some(path) if path.is_relative() => Err(CodexHomeError::Relative(path)),
        Some(path) => Ok(file(path)),
        None => {
            let home =
                std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(CodexHomeError::NoHome)?;
            Ok(PathBuf::from(home).join(".codex").join(FILE))
        }
    }
}
