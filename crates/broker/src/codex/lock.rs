//! The locks that the Codex CLI (0.171.0) takes while it changes a login: `auth.lock` in its home,
//! then `auth.json.lock` beside the login file, both with flock(2). Only a [`LockedLogin`] can be
//! written, so that no Codex process reads a login between our decision and our write.

use std::{
    ffi::OsString,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use authd_store::private;
use rustix::{fs::Access, io::Errno};
use secrecy::{ExposeSecret, SecretString};

use super::{
    error::CodexHomeError,
    location::{FILE, LoginLocation, item_key, resolve},
};
use crate::blocking::blocking;

/// Longest wait for a lock, as in Codex.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The wait between two attempts to take a lock.
const POLL: Duration = Duration::from_millis(50);

/// A login that no Codex process changes until this value is dropped.
pub(super) struct LockedLogin {
    location: LoginLocation,
    /// The file behind all symbolic links.
    target: PathBuf,
    /// The kernel releases a lock when its file is closed.
    _locks: [File; 2],
}

impl LockedLogin {
    /// Takes both locks. Fails if one is held for too long, or if the file cannot be replaced.
    pub(super) async fn take(location: LoginLocation) -> Result<Self, CodexHomeError> {
        if location.is_home_missing().await {
            return Err(CodexHomeError::HomeMissing(location.home().to_path_buf()));
        }
        let home = lock(location.home().join("auth.lock")).await?;
        let file =
            if location.is_item() { location.home().join(FILE) } else { location.path().to_path_buf() };
        let target = blocking(move || resolve(&file)).await.map_err(|error| location.error(error))?;
        let mut name = OsString::from(&target);
        name.push(".lock");
        let commit = lock(name.into()).await?;
        check_replaceable(target.clone()).await?;
        Ok(Self { location, target, _locks: [home, commit] })
    }

    pub(super) fn location(&self) -> &LoginLocation {
        &self.location
    }

    pub(super) async fn read(&self) -> Result<Option<SecretString>, CodexHomeError> {
        self.location.read().await
    }

    /// Replaces the login atomically; a symbolic link stays. After an error the new login may be
    /// there.
    pub(super) async fn write(&self, text: SecretString) -> io::Result<()> {
        match &self.location {
            LoginLocation::File(_) => {
                let path = self.target.clone();
                blocking(move || private::atomic_write(&path, text.expose_secret().as_bytes())).await
            }
            // An existing item keeps the label that Codex gave it.
            LoginLocation::Item { home, keychain } => {
                keychain.save(&item_key(home).await, "", text).await.map_err(io::Error::other)
            }
        }
    }

    /// Writes the original login, or deletes the current one if there was no original.
    pub(super) async fn restore(&self, original: Option<SecretString>) -> io::Result<()> {
        if let Some(text) = original {
            return self.write(text).await;
        }
        match &self.location {
            LoginLocation::File(path) => {
                let (path, target) = (path.clone(), self.target.clone());
                // The link first: a link to nothing is an error.
                blocking(move || private::remove(&path).and_then(|_| private::remove(&target)).map(drop))
                    .await
            }
            LoginLocation::Item { home, keychain } => {
                keychain.delete(&item_key(home).await).await.map_err(io::Error::other)
            }
        }
    }
}

/// Waits for a lock and takes it. Lock files stay, because a deleted one excludes no other process.
async fn lock(path: PathBuf) -> Result<File, CodexHomeError> {
    let attempts = async {
        loop {
            let path = path.clone();
            match blocking(move || try_lock(&path)).await {
                Ok(None) => tokio::time::sleep(POLL).await,
                Ok(Some(file)) => return Ok(file),
                Err(error) => return Err(error),
            }
        }
    };
    match tokio::time::timeout(LOCK_TIMEOUT, attempts).await {
        Ok(Ok(file)) => Ok(file),
        Ok(Err(error)) => Err(CodexHomeError::File(path, error)),
        Err(_) => Err(CodexHomeError::Locked(path)),
    }
}

fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = private::open_private(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Fails if a new file would not replace the login everywhere, or if its owner has forbidden it.
async fn check_replaceable(path: PathBuf) -> Result<(), CodexHomeError> {
    let file = path.clone();
    let found = blocking(move || match fs::metadata(&file) {
        Ok(found) => {
            let access = rustix::fs::access(&file, Access::WRITE_OK);
            let readonly =
                found.permissions().readonly() || matches!(access, Err(Errno::ACCESS | Errno::ROFS));
            Ok(Some((found.nlink(), readonly)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    match found.await {
        Ok(Some((_, true))) => Err(CodexHomeError::ReadOnly(path)),
        Ok(Some((links, false))) if links > 1 => Err(CodexHomeError::HardLinked(path, links)),
        Ok(_) => Ok(()),
        Err(error) => Err(CodexHomeError::File(path, error)),
    }
}
