//! Where a Codex home keeps its login: in a file, or in an item of the keychain, as the setting
//! `cli_auth_credentials_store` of Codex says (docs/protocol.md).

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use authd_oauth::{CodexError, CodexLogin, Grant, codex};
use authd_store::{Key, Store, StoreError, private};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::error::CodexHomeError;
use crate::{blocking::blocking, clock};

pub(super) const FILE: &str = "auth.json";

/// Longest login file that is read, in bytes. Real ones have about 5,000.
const MAX_FILE: u64 = 1 << 20;

/// Most symbolic links that lead to a file, as in Linux.
const MAX_LINKS: usize = 40;

#[derive(Clone, Debug)]
pub(super) enum LoginLocation {
    File(PathBuf),
    /// The keychain item of this home.
    Item {
        home: PathBuf,
        keychain: Store,
    },
}

/// The login of a home, and where the home keeps it.
pub(super) struct FoundLogin {
    pub(super) location: LoginLocation,
    /// The text of the login, if one exists.
    pub(super) text: Option<SecretString>,
    /// Set if the keychain is locked, so that a login may exist.
    pub(super) locked: Option<StoreError>,
}

impl FoundLogin {
    /// Reads the file, then the keychain item. A home has only one of them, so this finds the right
    /// one whatever its setting is.
    pub(super) async fn read(
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
            // Most machines without such an item have no keychain either.
            Ok(None) | Err(_) => Ok(Self { location, text: None, locked: None }),
        }
    }
}

impl LoginLocation {
    /// The location that an intent or the list of homes names.
    pub(super) fn new(home: &Path, path: &Path, item: bool, keychain: impl FnOnce() -> Store) -> Self {
        if item {
            Self::Item { home: home.to_path_buf(), keychain: keychain() }
        } else {
            Self::File(path.to_path_buf())
        }
    }

    pub(super) fn home(&self) -> &Path {
        match self {
            Self::File(path) => path.parent().unwrap_or(path),
            Self::Item { home, .. } => home,
        }
    }

    /// The path for messages: the file, or the home of the item.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Item { home, .. } => home,
        }
    }

    /// Whether the home does not exist. An error is not an absence.
    pub(super) async fn is_home_missing(&self) -> bool {
        let home = self.home().to_path_buf();
        blocking(move || fs::exists(home)).await.is_ok_and(|exists| !exists)
    }

    pub(super) fn is_item(&self) -> bool {
        matches!(self, Self::Item { .. })
    }

    pub(super) async fn read(&self) -> Result<Option<SecretString>, CodexHomeError> {
        match self {
            Self::File(path) => {
                let file = path.clone();
                let read = blocking(move || {
                    let Some(bytes) = private::read_bounded(&file, MAX_FILE)? else { return Ok(None) };
                    String::from_utf8(bytes).map(Some).map_err(|_| io::Error::other("it is not UTF-8"))
                });
                let text = read.await.map_err(|error| self.error(error))?;
                Ok(text.map(SecretString::from))
            }
            Self::Item { home, keychain } => Ok(keychain.load(&item_key(home).await).await?),
        }
    }

    /// Deletes the temporary file of an interrupted write.
    pub(super) async fn clear_temporary(&self) {
        if let Self::File(path) = self {
            let path = path.clone();
            // After an error the next write deletes it.
            drop(blocking(move || private::remove(&private::temporary(&resolve(&path)?))).await);
        }
    }

    /// The target of the file, if that is a symbolic link.
    pub(super) async fn link(&self) -> Option<PathBuf> {
        let Self::File(path) = self else { return None };
        let path = path.clone();
        blocking(move || fs::read_link(path)).await.ok()
    }

    /// The same, for the list of homes.
    pub(super) async fn link_text(&self) -> Option<String> {
        self.link().await?.into_os_string().into_string().ok()
    }

    /// Makes a symbolic link again that was deleted. Anything else stays as it is, and a link to
    /// nothing is not made.
    pub(super) async fn relink(&self, target: &str) -> Result<(), CodexHomeError> {
        let Self::File(path) = self else { return Ok(()) };
        let (path, target) = (path.clone(), target.to_owned());
        let linked = blocking(move || match fs::metadata(path.parent().unwrap_or(&path).join(&target)) {
            Ok(_) => symlink(target, path),
            Err(_) => Ok(()),
        });
        let linked = async {
            match linked.await {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        };
        linked.await.map_err(|error| self.error(error))
    }

    /// When the file was last written.
    pub(super) async fn modified(&self) -> Option<Timestamp> {
        let Self::File(path) = self else { return None };
        let path = path.clone();
        let modified = blocking(move || fs::metadata(path)?.modified()).await.ok()?;
        Timestamp::try_from(modified).ok()
    }

    pub(super) fn error(&self, error: io::Error) -> CodexHomeError {
        CodexHomeError::File(self.path().to_path_buf(), error)
    }
}

/// The login file that a path names; without a path, the file of the user's own home. `complete`
/// makes a file of the path. The home is canonical, as in Codex: a home with two names is one home.
pub(super) async fn login_file(
    path: Option<PathBuf>,
    complete: impl FnOnce(PathBuf) -> PathBuf,
) -> Result<PathBuf, CodexHomeError> {
    let file = match path {
        Some(path) if path.is_relative() => return Err(CodexHomeError::Relative(path)),
        Some(path) => complete(path),
        None => {
            let home =
                std::env::var_os("HOME").filter(|home| !home.is_empty()).ok_or(CodexHomeError::NoHome)?;
            PathBuf::from(home).join(".codex").join(FILE)
        }
    };
    let name = file.clone();
    // A home that does not exist keeps the name that the caller uses.
    Ok(blocking(move || canonical_directory(&name)).await.unwrap_or(file))
}

/// The path with a canonical directory. The last component may be a link.
fn canonical_directory(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(fs::canonicalize(path.parent().unwrap_or(path))?.join(name))
}

pub(super) fn parse(text: &SecretString) -> Result<CodexLogin, CodexError> {
    codex::parse(text.expose_secret(), clock::now())
}

/// The grant in the text of a login, if it holds one.
pub(super) fn grant_in(text: &SecretString) -> Option<Grant> {
    match parse(text) {
        Ok(CodexLogin::Grant(grant)) => Some(*grant),
        Ok(CodexLogin::External | CodexLogin::SignedOut) | Err(_) => None,
    }
}

pub(super) fn is_same_text(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    one.map(ExposeSecret::expose_secret) == other.map(ExposeSecret::expose_secret)
}

/// The key of a home's original login in our store.
pub(super) fn original_key(home: &Path) -> Key {
    Key::codex(&digest(home))
}

/// The key of Codex's keychain item for a home.
pub(super) async fn item_key(home: &Path) -> Key {
    let home = home.to_path_buf();
    let canonical = blocking({
        let home = home.clone();
        move || fs::canonicalize(home)
    });
    Key::foreign(format!("cli|{}", digest(canonical.await.as_deref().unwrap_or(&home))))
}

/// Identifies a text without revealing it.
pub(super) fn fingerprint(text: &SecretString) -> String {
    hex(Sha256::digest(text.expose_secret()).iter().take(16))
}

/// The file behind the symbolic links of a path.
pub(super) fn resolve(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(&path).join(target),
            // It is not a link (EINVAL), or nothing.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::NotFound) => {
                return Ok(canonical_directory(&path).unwrap_or(path));
            }
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }
    Err(io::Error::other(format!("{}: too many symbolic links", path.display())))
}

/// The first 16 hexadecimal digits of the SHA-256 of a path.
fn digest(path: &Path) -> String {
    hex(Sha256::digest(path.as_os_str().as_encoded_bytes()).iter().take(8))
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
}
